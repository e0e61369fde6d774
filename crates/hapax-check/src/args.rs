//! The flags of `hapax check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::case::{Case, Kind};

/// How the report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One HTML page.
    Html,
    /// One JSON object.
    Json,
    /// JUnit XML.
    Junit,
    /// A table for a terminal.
    #[default]
    Text,
}

/// What to measure and how to report it.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// API mode: the URL of an operation that is to be safe to retry
    #[arg(long, value_name = "URL", conflicts_with = "layer")]
    pub url: Option<String>,
    /// API mode: the operation's method
    #[arg(long, default_value = "POST")]
    pub method: String,
    /// API mode: the operation's body; @FILE reads it from a file
    #[arg(long, value_name = "TEXT|@FILE")]
    pub body: Option<String>,
    /// API mode: another payload of the same operation; derived from a JSON object if not given
    #[arg(long, value_name = "TEXT|@FILE")]
    pub other_body: Option<String>,
    /// API mode: a field of every request, such as credentials (repeatable)
    #[arg(long, value_name = "K: V")]
    pub header: Vec<String>,
    /// API mode: a second caller's field in place of the first caller's (repeatable)
    #[arg(long, value_name = "K: V")]
    pub other_header: Vec<String>,
    /// API mode: the name of the key's field
    #[arg(long, value_name = "NAME", default_value = "Idempotency-Key")]
    pub key_header: String,
    /// API mode: a JSON document that counts effects
    #[arg(long, value_name = "URL")]
    pub effects_url: Option<String>,
    /// API mode: where the count (or a list to count) stands in that document
    #[arg(long, value_name = "POINTER", default_value = "/count", requires = "effects_url")]
    pub effects_pointer: String,
    /// API mode: only well-formed requests, one at a time
    #[arg(long)]
    pub safe: bool,
    /// A PEM file with further certificate authorities for https
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// Layer mode: where the layer answers; twice for two instances on one store
    #[arg(long, value_name = "URL")]
    pub layer: Vec<String>,
    /// Layer mode: where the checker plays the upstream [default: 127.0.0.1:3000, or any free port with --command]
    #[arg(long, value_name = "ADDR")]
    pub upstream_listen: Option<String>,
    /// Layer mode: starts the layer; {listen}, {upstream}, {admin}, {config} and {store_dir} are filled in
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// Layer mode: a second instance on the same store (with --command)
    #[arg(long, requires = "command")]
    pub two: bool,
    /// Layer mode: the store does not outlive the layer's process; crash cases are skipped aloud
    #[arg(long)]
    pub volatile: bool,
    /// Layer mode: which prefixes of the layer profile are configured: all, none or a list
    #[arg(long, value_name = "all|none|NAMES", default_value = "all")]
    pub profile_routes: String,
    /// Layer mode: features the layer offers, besides those its policy document names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub offers: Vec<String>,
    /// Prints the configuration of the layer profile and ends
    #[arg(long)]
    pub layer_config: bool,

    /// Lists the cases without measuring anything
    #[arg(long)]
    pub list: bool,
    /// Only these cases and what they depend on
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only core cases
    #[arg(long)]
    pub core_only: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Writes the report to a file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Does not ask before sending to a host that is not this machine
    #[arg(long)]
    pub yes: bool,
    /// Layer mode: cases at work at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub jobs: usize,
    /// Ends after this many seconds [default: 110 in API mode, 900 in layer mode]
    #[arg(long, value_name = "SECONDS")]
    pub limit: Option<u64>,
}

impl CheckArgs {
    /// The cases that the flags choose, of one mode or of both, in filing order.
    pub(crate) fn chosen(&self, mode: Option<&str>) -> Result<Vec<Case>, String> {
        let all = crate::cases::all();
        if let Some(id) = self.only.iter().find(|id| all.iter().all(|case| case.id != **id)) {
            return Err(format!("--only names {id:?}, which is no case: see --list"));
        }
        let mut wanted: Vec<&str> = self.only.iter().map(String::as_str).collect();
        // What a chosen case depends on is chosen with it.
        let mut at = 0;
        while at < wanted.len() {
            let case = all.iter().find(|case| case.id == wanted[at]);
            wanted.extend(case.into_iter().flat_map(|case| case.after));
            at += 1;
        }
        Ok(all
            .into_iter()
            .filter(|case| mode.is_none_or(|mode| case.mode() == mode))
            .filter(|case| wanted.is_empty() || wanted.contains(&case.id))
            .filter(|case| !self.core_only || case.kind == Kind::Core)
            .filter(|case| !self.safe || case.safe || case.mode() == "layer")
            .collect())
    }

    /// The mode that the flags ask for.
    pub(crate) fn mode(&self) -> Option<&'static str> {
        match (&self.url, self.layer.is_empty() && self.command.is_none()) {
            (Some(_), _) => Some("api"),
            (None, false) => Some("layer"),
            (None, true) => None,
        }
    }
}
