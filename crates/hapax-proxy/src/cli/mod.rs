//! The command line: what was asked for, before anything is read or done.

pub mod exit;
mod keys;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};
use hapax_check::CheckArgs;

pub use keys::{
    KeysArgs, KeysFormat, KeysVerb, ListArgs, Outcome, PurgeArgs, SettleArgs, ShowArgs,
};
pub use settings::{ConfigVerb, MigrateArgs, SettingArgs};

use crate::config::{LogFormat, Override, Sources};

/// Makes any HTTP API safe to retry.
///
/// A gateway in front of an API: a request that carries an Idempotency-Key takes effect once, and
/// its retries get the first answer.
#[derive(Debug, Parser)]
#[command(
    name = "hapax",
    version,
    styles = Styles::plain(),
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 clean stop, 64 bad usage, 69 a needed service is not there, 78 \
                  bad configuration.\nA flag wins over its environment variable, that over the \
                  file, that over the default."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look [default: text] [env: HAPAX_LOG_FORMAT]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in front of an API
    Serve(SettingArgs),
    /// Show it at work: a sample API, the gateway, traffic and the dashboard
    Demo(DemoArgs),
    /// Measure any API's retry safety
    #[command(arg_required_else_help = true)]
    Check(Box<CheckArgs>),
    /// Look at records and settle what is in doubt, through the admin listener
    #[command(arg_required_else_help = true)]
    Keys(KeysArgs),
    /// Bring a database to the tables of this release
    Migrate(MigrateArgs),
    /// Check or show the settings without binding anything
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigVerb),
}

/// `hapax demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop by itself when every scene was played
    #[arg(long)]
    pub once: bool,
}

/// The command line asks for help, or cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(clap::Error);

/// Reads a command line, whose first argument is the name of the program.
///
/// `--help` and `--version` come back as [`Usage`] too, with exit code 0.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Usage> {
    Cli::try_parse_from(arguments).map_err(Usage)
}

impl Cli {
    /// Where this command's settings come from: its flags, `--config` and `environment`.
    pub fn sources<'a>(&self, environment: &'a dyn Fn(&str) -> Option<String>) -> Sources<'a> {
        let (file, mut flags): (Option<PathBuf>, _) = match &self.command {
            Command::Config(ConfigVerb::Check(settings) | ConfigVerb::Print(settings))
            | Command::Serve(settings) => (settings.config.clone(), settings.overrides()),
            Command::Migrate(migrate) => (migrate.config.clone(), migrate.overrides()),
            Command::Check(_) | Command::Demo(_) | Command::Keys(_) => (None, Vec::new()),
        };
        flags.extend(self.log_format.map(|format| Override {
            setting: "log_format",
            flag: "--log-format",
            text: format.as_str().to_owned(),
        }));
        Sources { file, flags, environment }
    }
}

impl Usage {
    /// 0 for help and version, else [`exit::USAGE`].
    pub fn exit_code(&self) -> u8 {
        if self.0.use_stderr() { exit::USAGE } else { exit::OK }
    }

    /// Writes the message where it belongs: help and version to standard output, faults to
    /// standard error. A closed stream is not worth another message.
    pub fn print(&self) {
        let _ = self.0.print();
    }
}
