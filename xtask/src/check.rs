//! `cargo xtask check`: judges the tree and never writes to it.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::architecture;
use crate::context::{Context, Error, installed};
use crate::process;
use crate::tally::Tally;

const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs every check, also after one has failed; true when all of them passed.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    if !arguments.is_empty() {
        return Err(Error::new("understand the arguments: `check` takes none"));
    }
    let deadline = Instant::now() + LIMIT;
    let mut tally = Tally::default();
    for (name, mut command) in commands(context) {
        println!("== {name}");
        let finished = process::run(&context.reaper, &mut command, deadline)?;
        tally.one(name, finished.success);
    }
    println!("== architecture");
    let found = architecture::check(context)?;
    tally.add("architecture", &found, found.failed == 0, "failed");
    for (tool, what) in [("cargo-deny", "licences and advisories"), ("typos", "spelling")] {
        if !installed(tool) {
            println!("NOT CHECKED: {what}, because `{tool}` is not installed");
        }
    }
    for failure in &tally.failures {
        println!("FAILED: {failure}");
    }
    println!("{}", tally.summary());
    Ok(tally.failed == 0)
}

fn commands(context: &Context) -> Vec<(&'static str, Command)> {
    let cargo = |arguments: &[&str]| {
        let mut command = context.cargo();
        command.args(arguments);
        command
    };
    let mut docs = cargo(&["doc", "--locked", "--workspace", "--lib", "--all-features"]);
    docs.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    let mut commands = vec![
        ("formatting", cargo(&["fmt", "--all", "--check"])),
        (
            "lints",
            cargo(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        (
            "the core without its default features",
            cargo(&[
                "clippy",
                "--locked",
                "-p",
                "hapax",
                "--no-default-features",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        ("documentation", docs),
        (
            "documentation examples",
            cargo(&["test", "--locked", "--workspace", "--all-features", "--doc"]),
        ),
    ];
    if installed("cargo-deny") {
        let check = ["deny", "--locked", "check", "bans", "licenses", "sources"];
        commands.push(("licences and sources", cargo(&check)));
        // Apart, because it fetches a list: without a network only this one fails.
        commands.push(("advisories", cargo(&["deny", "--locked", "check", "advisories"])));
    }
    if installed("typos") {
        commands.push(("spelling", context.command("typos")));
    }
    commands
}
