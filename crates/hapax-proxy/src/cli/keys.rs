//! `hapax keys`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

/// `hapax keys`: a verb, and how to reach the admin listener.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: KeysVerb,
    /// The admin listener [default: http://127.0.0.1:9090] [env: HAPAX_ADMIN]
    #[arg(long, global = true, value_name = "URL")]
    pub admin: Option<String>,
    /// Its token; the variable keeps it out of the list of processes [env: HAPAX_ADMIN_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to answer
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: KeysFormat,
}

/// What to do with records.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// List records, in the order of their ids
    List(ListArgs),
    /// Show one record
    Show(ShowArgs),
    /// Say how an operation in doubt ended
    Settle(SettleArgs),
    /// Remove a record, after which its key is new
    Purge(PurgeArgs),
}

/// `hapax keys list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only records in this state: in_progress, completed, released or in_doubt
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only records of this scope
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub limit: usize,
}

/// `hapax keys show`: by its id, or by what the caller sent.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "key"])))]
pub struct ShowArgs {
    /// The record's id, as list shows it
    pub id: Option<String>,
    /// The key that the caller sent
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// The caller's Authorization field, such as 'Bearer ...'
    #[arg(long, value_name = "VALUE", requires = "key", conflicts_with = "id")]
    pub principal: Option<String>,
    /// The host that the caller addressed
    #[arg(long, value_name = "NAME", requires = "key", conflicts_with = "id")]
    pub host: Option<String>,
}

/// `hapax keys settle`.
#[derive(Debug, Args)]
pub struct SettleArgs {
    /// The record's id, as list shows it: it names the attempt too
    pub id: String,
    /// How it ended
    #[arg(long, value_enum)]
    pub outcome: Outcome,
    /// The status that retries get; 200 when nothing is said
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    pub status: Option<u16>,
    /// A header line that retries get; may be given again
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// The body that retries get, or @FILE to read it from
    #[arg(long, value_name = "TEXT|@FILE")]
    pub body: Option<String>,
}

/// `hapax keys purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// The record's id, as list shows it
    pub id: String,
    /// Also while it runs or is in doubt: a retry then runs the operation again
    #[arg(long)]
    pub force: bool,
}

/// How `hapax keys` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KeysFormat {
    /// What the admin API said.
    Json,
    /// For people.
    #[default]
    Text,
}

/// How an operation in doubt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Outcome {
    /// It took effect: retries get the answer given here.
    Executed,
    /// It did not: the key is free, and a retry runs.
    NotExecuted,
}

/// Splits `name: value`.
fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("write it as 'name: value'")?;
    let name = http::HeaderName::from_bytes(name.trim().as_bytes())
        .map_err(|_| "the name is not a header name")?;
    let value = http::HeaderValue::from_str(value.trim())
        .map_err(|_| "the value holds what a header cannot carry")?;
    let value = value.to_str().map_err(|_| "the value is not ASCII")?.to_owned();
    Ok((name.as_str().to_owned(), value))
}
