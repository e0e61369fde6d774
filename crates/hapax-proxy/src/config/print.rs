//! The effective settings, written out.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::gateway::Config;
use super::layers::{
    Layers, SECTIONS, Section, defaults, is_secret, merged, routes, section, stated_route,
};
use super::route::RouteConfig;
use super::store::redacted;
use super::substitute::is_substituted;
use super::suggest::settings_of;

const DEFAULT: &str = "default";

/// TOML with every setting in force; a comment says where one comes from that the file does not
/// state.
pub(super) fn print(layers: &Layers) -> String {
    let written = &layers.written;
    let defaults = defaults();
    let mut printed = String::new();
    let top: Vec<_> =
        settings_of::<Config>().iter().copied().filter(|key| !is_section(key)).collect();
    section_lines(&mut printed, layers, "", &top, written, &defaults);
    for Section { name, settings } in SECTIONS {
        if written.contains_key(name) || defaults.contains_key(name) {
            let _ = writeln!(printed, "\n[{name}]");
            let (stated, under) = (section(written, name), section(&defaults, name));
            section_lines(&mut printed, layers, &format!("{name}."), settings(), &stated, &under);
        }
    }
    let _ = writeln!(printed, "\n[defaults]");
    route_lines(&mut printed, written, None);
    for own in routes(written) {
        let _ = writeln!(printed, "\n[[route]]");
        route_lines(&mut printed, written, Some(&own));
    }
    printed
}

fn is_section(key: &str) -> bool {
    SECTIONS.iter().any(|section| section.name == key)
}

fn section_lines(
    printed: &mut String,
    layers: &Layers,
    prefix: &str,
    known: &[&str],
    stated: &Table,
    under: &Table,
) {
    for key in known {
        let setting = format!("{prefix}{key}");
        match (stated.get(*key), under.get(*key)) {
            (Some(value), _) => {
                let origin = layers.origins.get(&setting).copied().unwrap_or("");
                line(printed, key, value, is_secret(&setting), origin);
            }
            (None, Some(value)) => line(printed, key, value, false, DEFAULT),
            (None, None) => {
                let _ = writeln!(printed, "# {key} is not set");
            }
        }
    }
}

fn route_lines(printed: &mut String, written: &Table, route: Option<&Table>) {
    let nothing = Table::new();
    let own = route.unwrap_or(&nothing);
    let everywhere = section(written, "defaults");
    let stated = stated_route(written, own);
    let complete = merged(&section(&defaults(), "defaults"), &stated);
    for key in settings_of::<RouteConfig>() {
        let Some(value) = complete.get(*key) else { continue };
        let origin = match (own.contains_key(*key), everywhere.contains_key(*key)) {
            (true, _) => "",
            (false, true) if route.is_some() => "from [defaults]",
            (false, true) => "",
            (false, false) if stated.contains_key(*key) => "default for this key_source",
            (false, false) => DEFAULT,
        };
        line(printed, key, value, false, origin);
    }
}

fn line(printed: &mut String, key: &str, value: &Value, secret: bool, origin: &str) {
    let (shown, redacted) = presentable(key, value, secret);
    let notes: Vec<_> = [origin, if redacted { "redacted" } else { "" }]
        .into_iter()
        .filter(|n| !n.is_empty())
        .collect();
    let text = format!("{key} = {shown}");
    let _ = if notes.is_empty() {
        writeln!(printed, "{text}")
    } else {
        writeln!(printed, "{text:<47} # {}", notes.join(", "))
    };
}

/// A secret that stands in the file becomes a variable, so that the output reads back only where
/// that variable is set: better no start than one with another secret.
fn presentable(key: &str, value: &Value, secret: bool) -> (Value, bool) {
    let shown = match value {
        Value::String(text) if !is_substituted(value) => Value::String(match key {
            "secret" if secret => "${HAPAX_SECRET}".to_owned(),
            "token" if secret => "${HAPAX_ADMIN_TOKEN}".to_owned(),
            "store" | "listen_url" => redacted(text),
            _ => text.clone(),
        }),
        _ => value.clone(),
    };
    let redacted = shown != *value;
    (shown, redacted)
}
