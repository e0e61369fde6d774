//! The checker by itself, without the gateway.

use std::process::ExitCode;

use clap::Parser;
use hapax_check::CheckArgs;

/// Measures any API's retry safety.
#[derive(Parser)]
#[command(version, name = "hapax-check")]
struct Cli {
    #[command(flatten)]
    check: CheckArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help is no failure; anything else could not be measured.
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    hapax_check::run(cli.check).await
}
