//! `cargo xtask bench`: builds for release, then lets `hapax-bench` measure.

use std::fs;
use std::time::{Duration, Instant};

use crate::context::{Context, Error};
use crate::process;

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

/// `--long` fills stores with ten million keys, which takes most of it.
const BENCH_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

/// Builds gateway and bench, and passes the arguments on; true when the bench succeeded.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    let mut build = context.cargo();
    build.args(["build", "--locked", "--release", "-p", "hapax-bench", "-p", "hapax-proxy"]);
    if !process::run(&context.reaper, &mut build, Instant::now() + BUILD_LIMIT)?.success {
        return Ok(false);
    }
    // The servers under test stay in the bench's process group, so none outlives it.
    let mut bench = context.command(context.built("release").join("hapax-bench"));
    bench.arg("--hapax").arg(context.built("release").join("hapax")).args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--dir")) {
        // Among what was built: that is on a real disk, which a temporary folder may not be.
        let folder = context.built("bench");
        let doing = Error::doing(format!("create {}", folder.display()));
        fs::create_dir_all(&folder).map_err(doing)?;
        context.reaper.watch_folder(&folder);
        bench.arg("--dir").arg(folder);
    }
    Ok(process::run(&context.reaper, &mut bench, Instant::now() + BENCH_LIMIT)?.success)
}
