//! `cargo xtask bench`: builds for release, then lets `hapax-bench` measure.

use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crate::context::{Context, Error};
use crate::process;

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

/// Builds gateway and bench, and passes the arguments on; true when the bench succeeded.
pub(crate) fn run(context: &Context, arguments: &[String]) -> Result<bool, Error> {
    let mut build = context.cargo();
    build.args(["build", "--locked", "--release", "-p", "hapax-bench", "-p", "hapax-proxy"]);
    if !process::run(&context.reaper, &mut build, Instant::now() + BUILD_LIMIT)?.success {
        return Ok(false);
    }
    // The bench takes the place of this process: it ends its own children, Ctrl-C reaches it,
    // and its output goes where it should without a copy.
    context.reaper.finish();
    let mut bench = context.command(context.built("release").join("hapax-bench"));
    bench.arg("--hapax").arg(context.built("release").join("hapax")).args(arguments);
    Err(Error::doing("run hapax-bench")(bench.exec()))
}
