//! `docs/configuration.md` says what the program does: no setting is missing, none is invented, and
//! the defaults are the real ones.

use std::collections::BTreeMap;

use hapax_proxy::config::{Config, Sources};

const DOCS: &str = include_str!("../../../docs/configuration.md");

fn environment(name: &str) -> Option<String> {
    matches!(name, "HAPAX_SECRET" | "HAPAX_ADMIN_TOKEN").then(|| "x".to_owned())
}

/// A file in a folder that goes away with it.
fn load(text: &str) -> std::io::Result<(tempfile::TempDir, Sources<'static>)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("hapax.toml");
    std::fs::write(&file, text)?;
    Ok((folder, Sources { file: Some(file), flags: Vec::new(), environment: &environment }))
}

/// Settings with their defaults, by section: `admin.listen`, `defaults.wait`.
fn documented() -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut settings = BTreeMap::new();
    for line in DOCS.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = if heading == "Routes" { "defaults.".to_owned() } else { String::new() };
        } else if let Some(heading) = line.strip_prefix("### ") {
            let name = heading.trim_matches(['`', '[', ']']);
            section = format!("{name}.");
        } else if let Some((setting, rest)) =
            line.strip_prefix("| `").and_then(|rest| rest.split_once("` | "))
            && let Some((default, _)) = rest.split_once(" | ")
            && !setting.starts_with("--")
        {
            let default = default.trim_matches('`').to_owned();
            let repeated = settings.insert(format!("{section}{setting}"), default);
            assert_eq!(repeated, None, "{section}{setting} stands twice");
        }
    }
    settings
}

/// The same, out of what the program prints.
fn in_force(printed: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut settings = BTreeMap::new();
    for line in printed.lines().filter(|line| !line.is_empty()) {
        if let Some(setting) = line.strip_prefix("# ").and_then(|l| l.strip_suffix(" is not set")) {
            settings.insert(format!("{section}{setting}"), "none".to_owned());
        } else if let Some((setting, value)) = line.split_once(" = ") {
            let (value, note) = value.split_once(" # ").unwrap_or((value, ""));
            // What the test had to say itself has no default.
            let default = if note == "default" { value.trim_end() } else { "none" };
            settings.insert(format!("{section}{setting}"), default.to_owned());
        } else {
            section = format!("{}.", line.trim_matches(['[', ']']));
        }
    }
    settings
}

#[test]
fn every_setting_is_documented_with_its_default() {
    // Sections that are not there by themselves, so that their settings are printed.
    let text = "upstream = \"http://h\"\n[tls]\ncert = \"c\"\nkey = \"k\"\n[jwt]\njwks = \"j\"";
    let (_folder, mut sources) = load(text).unwrap();
    sources.environment = &|_| None;
    let printed = Config::print(&sources).unwrap();
    assert_eq!(documented(), in_force(&printed));
}

#[test]
fn the_sample_file_is_taken() {
    let sample = DOCS.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let (_folder, sources) = load(sample).unwrap();
    let config = Config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    let routes: Vec<_> = config.routes.iter().map(|route| route.matching.as_str()).collect();
    assert_eq!(
        routes,
        ["/v1/payments/**", "/v1/orders", "/v1/partner/*/bookings", "/v1/uploads/**", "/**"]
    );
    let printed = Config::print(&sources).unwrap();
    let (_folder, again) = load(&printed).unwrap();
    assert_eq!(format!("{:?}", Config::load(&again).unwrap()), format!("{config:?}"));
}

#[test]
fn flags_and_variables_are_documented() {
    for word in [
        "HAPAX_ADMIN",
        "HAPAX_ADMIN_TOKEN",
        "HAPAX_CONFIG",
        "HAPAX_DRAIN",
        "HAPAX_DURABILITY",
        "HAPAX_LISTEN",
        "HAPAX_LOG_FORMAT",
        "HAPAX_SECRET",
        "HAPAX_STORE",
        "HAPAX_THREADS",
        "HAPAX_UPSTREAM",
    ] {
        assert!(DOCS.contains(&format!("| `{word}` |")), "{word}");
    }
}
