//! The flags that stand for settings.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::{Config, ConfigErrors, Override, Sources};

/// `hapax config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Say whether the settings hold, and what is wrong with them
    Check(SettingArgs),
    /// Print every setting in force as TOML, and mark the defaults
    Print(SettingArgs),
}

/// The flags of `hapax serve`. Every other setting stands in the file; the secret and the admin
/// token may also come from HAPAX_SECRET and HAPAX_ADMIN_TOKEN.
#[derive(Debug, Default, Args)]
pub struct SettingArgs {
    /// The API to protect, such as http://127.0.0.1:3000 [env: HAPAX_UPSTREAM]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Where clients connect [default: 127.0.0.1:8080] [env: HAPAX_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where dashboard, metrics and admin API listen [default: 127.0.0.1:9090] [env: HAPAX_ADMIN]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Where records live: memory:, file:PATH, postgres://, redis://, rediss:// or redis-cluster://
    /// [default: file:./hapax-data] [env: HAPAX_STORE]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// A TOML file with settings [env: HAPAX_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What the file store syncs: full or claim [default: full] [env: HAPAX_DURABILITY]
    #[arg(long, value_name = "WHAT")]
    pub durability: Option<String>,
    /// How long running operations may go on after SIGTERM [default: 30s] [env: HAPAX_DRAIN]
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
    /// How many threads serve [default: auto] [env: HAPAX_THREADS]
    #[arg(long, value_name = "NUMBER")]
    pub threads: Option<String>,
}

/// `hapax migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The database, such as postgres://user@host/name [env: HAPAX_STORE]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// A TOML file with settings [env: HAPAX_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigVerb {
    /// What to print on standard output, with a line end.
    ///
    /// Opens the file of settings and nothing else.
    pub fn run(&self, sources: &Sources<'_>) -> Result<String, ConfigErrors> {
        match self {
            Self::Check(_) => Config::load(sources).map(|config| {
                // The last route is the catch-all, which nobody wrote.
                let routes = config.routes.len().saturating_sub(1);
                let plural = if routes == 1 { "" } else { "s" };
                let Config { store, upstream, .. } = config;
                format!("ok: {upstream} with {store} and {routes} route{plural}\n")
            }),
            Self::Print(_) => Config::print(sources),
        }
    }
}

impl SettingArgs {
    /// What was given, by setting.
    pub(super) fn overrides(&self) -> Vec<Override> {
        given([
            ("upstream", "--upstream", &self.upstream),
            ("listen", "--listen", &self.listen),
            ("admin.listen", "--admin", &self.admin),
            ("store", "--store", &self.store),
            ("durability", "--durability", &self.durability),
            ("drain", "--drain", &self.drain),
            ("threads", "--threads", &self.threads),
        ])
    }
}

impl MigrateArgs {
    /// What was given, by setting.
    pub(super) fn overrides(&self) -> Vec<Override> {
        given([("store", "--store", &self.store)])
    }
}

fn given<const N: usize>(
    flags: [(&'static str, &'static str, &Option<String>); N],
) -> Vec<Override> {
    let given = |(setting, flag, text): (_, _, &Option<String>)| {
        text.clone().map(|text| Override { setting, flag, text })
    };
    flags.into_iter().filter_map(given).collect()
}
