//! `cargo xtask fix`: mends what tools can mend. The one verb that writes sources.

use std::time::{Duration, Instant};

use crate::context::{Context, Error, installed};
use crate::process;

const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs every mending tool; true when all of them succeeded.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    if !arguments.is_empty() {
        return Err(Error::new("understand the arguments: `fix` takes none"));
    }
    let deadline = Instant::now() + LIMIT;
    let mut clippy = context.cargo();
    clippy.args(["clippy", "--fix", "--workspace", "--all-targets", "--all-features"]);
    clippy.args(["--allow-dirty", "--allow-staged"]);
    let mut format = context.cargo();
    format.args(["fmt", "--all"]);
    let mut commands = vec![clippy, format];
    if installed("typos") {
        let mut typos = context.command("typos");
        typos.arg("--write-changes");
        commands.push(typos);
    } else {
        println!("spelling left alone: `typos` is not installed");
    }
    let mut success = true;
    for mut command in commands {
        success &= process::run(&context.reaper, &mut command, deadline)?.success;
    }
    Ok(success)
}
