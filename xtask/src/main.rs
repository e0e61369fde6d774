//! The development tasks of Hapax: `cargo xtask VERB`, nothing to install first.

mod architecture;
mod bench;
mod check;
mod context;
mod fix;
mod process;
mod reaper;
mod servers;
mod source;
mod tally;
mod test;

use std::env;
use std::process::ExitCode;

use context::Context;

const USAGE: &str = "\
usage: cargo xtask VERB

  check                 judge formatting, lints, documentation, licences, spelling and
                        architecture; never writes a file of the repository
  fix                   mend what tools can mend: formatting, lints, spelling
  test [--limit-minutes N] [-- FILTER...]
                        run every test, then doc-tests, then the architecture checks; ends with
                        `N passed, N failed`; what the tests need is started, and ended again
  bench [OPTION...]     build for release and measure (`cargo xtask bench --help`)
  servers --hold        start PostgreSQL, Redis and a Redis cluster, print their URLs, wait for
                        Ctrl-C
  servers -- COMMAND    run COMMAND with the URLs of such servers in its environment
";

/// Exit code of a bad command line.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((verb, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(EXIT_USAGE);
    };
    // The reaper is this same program, started by it; it must not start another one.
    if verb == reaper::VERB {
        reaper::main();
        return ExitCode::SUCCESS;
    }
    if verb == "help" || verb == "--help" || verb == "-h" {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let context = match Context::new() {
        Ok(context) => context,
        Err(error) => return failed("prepare the run", &error),
    };
    let outcome = match verb.as_str() {
        "bench" => bench::run(&context, rest),
        "check" => check::run(&context, rest),
        "fix" => fix::run(&context, rest),
        "servers" => servers::run(&context, rest),
        "test" => test::run(&context, rest),
        _ => {
            eprint!("no verb named `{verb}`\n\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(verb, &error),
    }
}

fn failed(what: &str, error: &context::Error) -> ExitCode {
    eprintln!("error: failed to {what}: {error}");
    ExitCode::FAILURE
}
