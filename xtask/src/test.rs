//! `cargo xtask test`: every test there is, with what they need, and nothing left running.

use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::architecture;
use crate::context::{Context, Error, installed};
use crate::process::{self, Finished};
use crate::servers::{self, Needs};
use crate::tally::{self, Tally};

/// The whole run, build included, takes no longer than this unless told otherwise.
const LIMIT_MINUTES: u64 = 24;

/// The variable under which tests find the gateway's binary.
const BINARY_VARIABLE: &str = "HAPAX_TEST_BINARY";

/// Runs all tests and prints `N passed, N failed` as the very last line; true when none failed.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    let options = Options::parse(arguments)?;
    let deadline = Instant::now() + options.limit;
    let mut tally = Tally::default();
    if let Err(error) = everything(context, &options, deadline, &mut tally) {
        tally.one(&format!("failed to {error}"), false);
    }
    let left_over = context.reaper.left_over();
    if !left_over.is_empty() {
        tally.one(&format!("left running by a test: {}", left_over.join(", ")), false);
    }
    context.reaper.finish();
    println!();
    for failure in &tally.failures {
        println!("FAILED: {failure}");
    }
    println!("{}", tally.summary());
    Ok(tally.failed == 0)
}

/// Build, tests, doc-tests, architecture; a failed build ends it, a failed test does not.
fn everything(
    context: &Context,
    options: &Options,
    deadline: Instant,
    tally: &mut Tally,
) -> Result<(), Error> {
    let servers = servers::start(context, Needs::of_workspace(&context.root), deadline)?;
    let built = process::run(&context.reaper, &mut build(context), deadline)?;
    if !built.success {
        tally.one(&format!("build: {}", built.how), false);
        return Ok(());
    }
    let nextest = installed("cargo-nextest");
    let mut runner = if nextest { run_nextest(context) } else { run_cargo_test(context) };
    runner.args(&options.filters);
    let finished = run_tests(context, &mut runner, &servers.variables, deadline)?;
    let found = if nextest {
        tally::of_nextest(&finished.lines)
    } else {
        tally::of_cargo_test(&finished.lines)
    };
    tally.add("tests", &found, finished.success, &finished.how);
    if !options.filters.is_empty() {
        println!("documentation examples and architecture left out, because a filter was given");
        return Ok(());
    }
    let mut doc = context.cargo();
    doc.args(["test", "--locked", "--workspace", "--all-features", "--doc", "--no-fail-fast"]);
    let finished = run_tests(context, &mut doc, &servers.variables, deadline)?;
    let found = tally::of_cargo_test(&finished.lines);
    tally.add("documentation examples", &found, finished.success, &finished.how);
    let found = architecture::check(context)?;
    tally.add("architecture", &found, found.failed == 0, "failed");
    Ok(())
}

/// Everything at once, binaries included: tests of other crates run the gateway as a process.
fn build(context: &Context) -> Command {
    let mut command = context.cargo();
    command.args(["build", "--locked", "--workspace", "--all-features"]);
    command.args(["--bins", "--examples", "--lib", "--tests"]);
    command
}

fn run_nextest(context: &Context) -> Command {
    let mut command = context.cargo();
    command.args(["nextest", "run", "--locked", "--workspace", "--all-features"]);
    command.args(["--no-fail-fast", "--no-tests=pass"]);
    // Most of the time of most tests is waiting: for leases, time-outs and other processes.
    let threads = 2 * thread::available_parallelism().map_or(1, NonZeroUsize::get);
    command.arg(format!("--test-threads={threads}"));
    command
}

fn run_cargo_test(context: &Context) -> Command {
    println!("note: `cargo nextest` is not installed; `cargo test` has no limit per test");
    let mut command = context.cargo();
    command.args(["test", "--locked", "--workspace", "--all-features", "--no-fail-fast"]);
    command.args(["--bins", "--examples", "--lib", "--tests"]);
    command
}

fn run_tests(
    context: &Context,
    command: &mut Command,
    variables: &[(String, String)],
    deadline: Instant,
) -> Result<Finished, Error> {
    let variables = variables.iter().map(|(name, value)| (name, value));
    command.envs(variables).env(BINARY_VARIABLE, context.built("debug").join("hapax"));
    process::run(&context.reaper, context.reaper.mark(command), deadline)
}

struct Options {
    limit: Duration,
    filters: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Error> {
        let mut minutes = LIMIT_MINUTES;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--" => break,
                "--limit-minutes" => {
                    let value = rest.next().map(String::as_str).unwrap_or_default();
                    minutes = value.parse().map_err(|_| {
                        Error::new(format!("understand --limit-minutes `{value}`: give a number"))
                    })?;
                }
                other => {
                    let mend = "filters stand behind `--`";
                    return Err(Error::new(format!("understand the argument `{other}`: {mend}")));
                }
            }
        }
        Ok(Self { limit: Duration::from_secs(minutes * 60), filters: rest.cloned().collect() })
    }
}
