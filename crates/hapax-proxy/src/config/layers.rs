//! Which setting says what where: flags over variables over the file over the defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::error::{ConfigError, ConfigErrors};
use super::gateway::{AdminConfig, JwtConfig, TlsConfig};
use super::place::Place;
use super::servers::{PostgresConfig, RedisConfig};
use super::store::redacted;
use super::substitute;
use super::suggest::settings_of;

/// Where settings come from.
pub struct Sources<'a> {
    /// The file that `--config` names; else the variable `HAPAX_CONFIG` does, or there is none.
    pub file: Option<PathBuf>,
    /// What flags say.
    pub flags: Vec<Override>,
    /// The environment: the value of a variable, by its name.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// One flag of the command line that stands for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The setting, such as `admin.listen`.
    pub setting: &'static str,
    /// The flag, such as `--admin`.
    pub flag: &'static str,
    /// What it was given.
    pub text: String,
}

/// The variables that stand for a setting. An empty variable is one that is not set.
pub(super) const VARIABLES: [(&str, &str); 10] = [
    ("HAPAX_ADMIN", "admin.listen"),
    ("HAPAX_ADMIN_TOKEN", "admin.token"),
    ("HAPAX_DRAIN", "drain"),
    ("HAPAX_DURABILITY", "durability"),
    ("HAPAX_LISTEN", "listen"),
    ("HAPAX_LOG_FORMAT", "log_format"),
    ("HAPAX_SECRET", "secret"),
    ("HAPAX_STORE", "store"),
    ("HAPAX_THREADS", "threads"),
    ("HAPAX_UPSTREAM", "upstream"),
];

/// The sections beside the routes.
pub(super) const SECTIONS: [Section; 5] = [
    Section { name: "tls", settings: settings_of::<TlsConfig> },
    Section { name: "jwt", settings: settings_of::<JwtConfig> },
    Section { name: "admin", settings: settings_of::<AdminConfig> },
    Section { name: "postgres", settings: settings_of::<PostgresConfig> },
    Section { name: "redis", settings: settings_of::<RedisConfig> },
];

/// A section, and the settings that it may hold.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) settings: fn() -> &'static [&'static str],
}

const DEFAULTS: &str = include_str!("defaults.toml");

/// File, variables and flags laid over one another, without the defaults.
#[derive(Debug)]
pub(super) struct Layers {
    /// The name of the file, for messages.
    file: Option<String>,
    /// The settings with their variables filled in: holds secrets.
    pub(super) filled: Table,
    /// The settings as they were written: variables by name.
    pub(super) written: Table,
    /// Settings that do not come from the file, and the flag or variable that they come from.
    pub(super) origins: BTreeMap<String, &'static str>,
}

impl Sources<'_> {
    pub(super) fn layers(&self) -> Result<Layers, ConfigErrors> {
        let from_variable = || self.variable("HAPAX_CONFIG").map(PathBuf::from);
        let Some(path) = self.file.clone().or_else(from_variable) else {
            return self.lay(None, Table::new());
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let label = if self.file.is_some() { "--config" } else { "HAPAX_CONFIG" };
            let complaint = format!("cannot be read ({error}); name a file that can");
            ConfigError::new(None, label, Some(&format!("{name:?}")), &complaint)
        })?;
        self.lay(Some(name.clone()), parse(&name, &text)?)
    }

    pub(super) fn layers_over(&self, text: &str) -> Result<Layers, ConfigErrors> {
        self.lay(None, parse("the settings", text)?)
    }

    fn lay(&self, file: Option<String>, written: Table) -> Result<Layers, ConfigErrors> {
        let mut layers = Layers { file, filled: Table::new(), written, origins: BTreeMap::new() };
        let mut errors = Vec::new();
        let filled = self.fill(&layers, &Place::top(), &Value::Table(layers.written.clone()));
        layers.filled = match filled {
            (Value::Table(filled), found) => {
                errors.extend(found);
                filled
            }
            (_, found) => {
                errors.extend(found);
                Table::new()
            }
        };
        ConfigErrors::check(errors)?;
        for (variable, setting) in VARIABLES {
            if let Some(text) = self.variable(variable) {
                layers.put(setting, variable, text, Some(format!("${{{variable}}}")));
            }
        }
        for Override { setting, flag, text } in &self.flags {
            layers.put(setting, flag, text.clone(), None);
        }
        Ok(layers)
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// `value` with its variables filled in, and which of them could not be.
    fn fill(&self, layers: &Layers, at: &Place, value: &Value) -> (Value, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let filled = match value {
            Value::String(text) => match substitute::text(text, self.environment) {
                Ok(text) => Value::String(text),
                Err(error) => {
                    errors.push(layers.error(at, &error.to_string()));
                    value.clone()
                }
            },
            Value::Array(values) => {
                let filled = values.iter().enumerate().map(|(i, value)| {
                    let (value, found) = self.fill(layers, &at.index(i), value);
                    errors.extend(found);
                    value
                });
                Value::Array(filled.collect())
            }
            Value::Table(table) => {
                let filled = table.iter().map(|(key, value)| {
                    let (value, found) = self.fill(layers, &at.key(key), value);
                    errors.extend(found);
                    (key.clone(), value)
                });
                Value::Table(filled.collect())
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                value.clone()
            }
        };
        (filled, errors)
    }
}

impl Default for Sources<'_> {
    /// No file, no flags and an empty environment.
    fn default() -> Self {
        Self { file: None, flags: Vec::new(), environment: &|_| None }
    }
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Layers {
    /// An error about what stands at `place`; shows its value as it was written.
    pub(super) fn error(&self, place: &Place, complaint: &str) -> ConfigError {
        let value = place.look_up(&self.written).and_then(|value| shown(&place.to_string(), value));
        self.say(place, value.as_deref(), complaint)
    }

    /// As [`Layers::error`] for what is no setting: under a misspelled name may stand a secret.
    pub(super) fn error_without_value(&self, place: &Place, complaint: &str) -> ConfigError {
        self.say(place, None, complaint)
    }

    fn say(&self, place: &Place, value: Option<&str>, complaint: &str) -> ConfigError {
        let setting = place.to_string();
        match self.origins.get(&setting) {
            Some(origin) => ConfigError::new(None, origin, value, complaint),
            None => ConfigError::new(self.file.as_deref(), &setting, value, complaint),
        }
    }

    /// Lays what a flag or a variable says over `setting`, a path of one or two keys.
    fn put(
        &mut self,
        setting: &str,
        origin: &'static str,
        text: String,
        secret_as: Option<String>,
    ) {
        let written = secret_as.filter(|_| is_secret(setting)).unwrap_or_else(|| text.clone());
        insert(&mut self.written, setting, written);
        insert(&mut self.filled, setting, text);
        self.origins.insert(setting.to_owned(), origin);
    }
}

/// The lowest layer.
pub(super) fn defaults() -> Table {
    // It is part of the program, and a test reads it; were it broken, every setting would be
    // reported as not set.
    DEFAULTS.parse().unwrap_or_default()
}

/// `over` laid over `under`, setting by setting.
pub(super) fn merged(under: &Table, over: &Table) -> Table {
    let mut table = under.clone();
    table.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    table
}

/// The table that stands at `key`, or an empty one.
pub(super) fn section(table: &Table, key: &str) -> Table {
    table.get(key).and_then(Value::as_table).cloned().unwrap_or_default()
}

/// The `[[route]]` tables.
pub(super) fn routes(table: &Table) -> Vec<Table> {
    let routes = table.get("route").and_then(Value::as_array);
    routes.into_iter().flatten().filter_map(Value::as_table).cloned().collect()
}

/// What a route says: `[defaults]` and its own table, and what follows from the two.
///
/// A key that is found in the body is told by the request itself, so that a failure has to free it
/// and the rest of the body need not be compared (ruling 15), unless somebody says otherwise.
pub(super) fn stated_route(settings: &Table, own: &Table) -> Table {
    let mut stated = merged(&section(settings, "defaults"), own);
    let key_source = stated.get("key_source").and_then(Value::as_str).unwrap_or("").to_owned();
    let mut imply = |setting: &str, value: &str| {
        stated.entry(setting).or_insert_with(|| Value::String(value.to_owned()));
    };
    if key_source.starts_with("body:") {
        imply("fingerprint", "key");
        imply("failures", "success-only");
    } else if key_source == "content" {
        imply("failures", "success-only");
    }
    stated
}

/// Whether the setting is one that nobody may read.
pub(super) fn is_secret(setting: &str) -> bool {
    matches!(setting, "secret" | "admin.token")
}

/// A value for a message: as TOML, shortened, without secrets.
fn shown(setting: &str, value: &Value) -> Option<String> {
    const CHARS_MAX: usize = 80;
    if is_secret(setting) {
        return None;
    }
    let text = match value {
        Value::String(text) => Value::String(redacted(text)).to_string(),
        _ => value.to_string(),
    };
    if text.chars().count() <= CHARS_MAX {
        return Some(text);
    }
    Some(text.chars().take(CHARS_MAX).chain("...".chars()).collect())
}

fn insert(table: &mut Table, setting: &str, text: String) {
    match setting.split_once('.') {
        None => {
            table.insert(setting.to_owned(), Value::String(text));
        }
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                section.insert(key.to_owned(), Value::String(text));
            }
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let reason = error.message().replace('\n', ", ");
        let complaint = format!("is not TOML ({reason}); mend that line");
        ConfigError::new(Some(name), &format!("line {line}"), None, &complaint)
    })
}
