//! The architecture invariants that a compiler does not check (`ARCHITECTURE.md` names them).

use std::time::{Duration, Instant};

use crate::context::{Context, Error};
use crate::process;
use crate::source::{self, Source};
use crate::tally::Tally;

/// A source file that is not a test ends here.
const FILE_LINES_MAX: usize = 600;

/// How long `cargo tree` may take.
const TREE_LIMIT: Duration = Duration::from_secs(120);

/// Crates that are databases or their clients; only the stores may use them.
const DATABASES: [&str; 14] = [
    "diesel",
    "fjall",
    "fred",
    "heed",
    "libsqlite3",
    "lmdb",
    "postgres",
    "redb",
    "redis",
    "rocksdb",
    "rusqlite",
    "sled",
    "sqlx",
    "tokio_postgres",
];

/// The rooms in which a database may be used.
const STORES: [&str; 3] = ["crates/hapax-fjall/", "crates/hapax-postgres/", "crates/hapax-redis/"];

/// What the core must not need when its default features are off.
const CORE_FORBIDDEN: [&str; 4] = ["getrandom", "rand", "tokio", "uuid"];

/// Runs every invariant, prints each with what breaks it, and counts each as one test.
pub(crate) fn check(context: &Context) -> Result<Tally, Error> {
    let endings = [".js", ".lua", ".rs", ".sh", ".sql", ".toml"];
    let sources = source::sources(&context.root, &endings)?;
    let mut tally = Tally::default();
    let rules: [(&str, Vec<String>); 9] = [
        ("the core without default features is plain", core_is_plain(context)?),
        ("the core derives no serialisation", core_derives_no_serde(&sources)),
        ("the checker depends on nothing of ours", checker_stands_alone(context)?),
        ("only the stores use a database", only_stores_use_databases(&sources)),
        ("the core reads no clock outside time.rs", core_reads_no_clock(&sources)),
        ("no source file is over 600 lines", no_long_file(&sources)),
        ("the tower layer does not look at phases", tower_sees_no_phase(&sources)),
        ("nothing is left undone or ignored", nothing_undone(&sources)),
        ("sources are ASCII", only_ascii(&sources)),
    ];
    for (name, broken) in rules {
        println!("architecture: {name} ... {}", if broken.is_empty() { "ok" } else { "FAILED" });
        for line in &broken {
            println!("    {line}");
        }
        tally.one(&format!("architecture: {name}"), broken.is_empty());
    }
    Ok(tally)
}

fn core_is_plain(context: &Context) -> Result<Vec<String>, Error> {
    let tree = tree(context, &["-p", "hapax", "--no-default-features", "-e", "normal"])?;
    Ok(tree
        .into_iter()
        .filter(|line| {
            let name = line.split(' ').next().unwrap_or_default();
            CORE_FORBIDDEN.contains(&name)
        })
        .collect())
}

/// `cargo tree` shows the folder of every package that is not from a registry.
fn checker_stands_alone(context: &Context) -> Result<Vec<String>, Error> {
    let tree = tree(context, &["-p", "hapax-check", "--depth", "1"])?;
    Ok(tree.into_iter().skip(1).filter(|line| line.contains(" (/")).collect())
}

fn tree(context: &Context, arguments: &[&str]) -> Result<Vec<String>, Error> {
    let mut command = context.cargo();
    command.args(["tree", "--locked", "--quiet", "--prefix", "none", "--no-dedupe"]);
    command.args(arguments);
    let output = process::capture(&context.reaper, &mut command, Instant::now() + TREE_LIMIT)?;
    if output.success {
        Ok(output.lines)
    } else {
        Err(Error::new(format!("list dependencies: {}", output.lines.join("\n"))))
    }
}

fn only_stores_use_databases(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let store = STORES.iter().any(|folder| source.path.starts_with(folder));
        if store || !source.path.starts_with("crates/") {
            continue;
        }
        for (number, line) in source.code_lines() {
            let used = DATABASES.iter().any(|database| {
                if source.is_rust() {
                    is_path_of(&line, database)
                } else {
                    source.path.ends_with(".toml") && is_dependency(&line, database)
                }
            });
            if used {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    broken
}

/// Whether the line holds `name::` or `use name;`, and not as the end of a longer name.
fn is_path_of(line: &str, name: &str) -> bool {
    [format!("{name}::"), format!("use {name};"), format!("use {name} as")].iter().any(|text| {
        line.match_indices(text.as_str()).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
    })
}

/// Whether the line of a manifest declares `name`, or a crate whose name begins with it.
fn is_dependency(line: &str, name: &str) -> bool {
    let declared = line.trim().trim_start_matches('"').replace('-', "_");
    declared.starts_with(name) && declared.contains('=')
}

/// With derives the order of fields would become a promise; the codec makes the promises.
fn core_derives_no_serde(sources: &[Source]) -> Vec<String> {
    find(sources, &["Deserialize)", "Deserialize,", "Serialize)", "Serialize,"], |source| {
        source.path.starts_with("crates/hapax/src/")
    })
    .into_iter()
    .filter(|line| line.contains("derive("))
    .collect()
}

/// The flow waits by tokio's clock, which tests can pause; it is not there without its feature.
fn core_reads_no_clock(sources: &[Source]) -> Vec<String> {
    let exempt = ["crates/hapax/src/guard.rs", "crates/hapax/src/guard/"];
    find(sources, &["SystemTime::now", "Instant::now"], |source| {
        source.path.starts_with("crates/hapax/src/")
            && !source.path.ends_with("/time.rs")
            && !exempt.iter().any(|prefix| source.path.starts_with(prefix))
            && !source.is_test()
    })
}

fn no_long_file(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test())
        .map(|source| (source.lines().len(), &source.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect()
}

fn tower_sees_no_phase(sources: &[Source]) -> Vec<String> {
    find(sources, &["Phase::"], |source| source.path.starts_with("crates/hapax-tower/src/"))
}

fn nothing_undone(sources: &[Source]) -> Vec<String> {
    // Written in two parts so that this file does not accuse itself.
    let words = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")];
    find(sources, &words, Source::is_rust)
}

fn find(sources: &[Source], words: &[&str], wanted: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && wanted(source)) {
        for (number, line) in source.code_lines() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    broken
}

fn only_ascii(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let odd = source.lines().into_iter().find(|(_, line)| !line.is_ascii());
        if let Some((number, line)) = odd {
            broken.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_database_outside_the_stores_is_found() {
        let sources = [
            file("crates/hapax-proxy/src/a.rs", "use fjall::Keyspace;\n"),
            file("crates/hapax-proxy/src/b.rs", "use hapax_fjall::FileStore;\n// fjall::X\n"),
            file("crates/hapax-proxy/Cargo.toml", "hapax-fjall = { workspace = true }\n"),
            file("crates/hapax-tower/Cargo.toml", "tokio-postgres = \"0.7\"\n"),
            file("crates/hapax-fjall/src/store.rs", "use fjall::Keyspace;\n"),
        ];
        let broken = only_stores_use_databases(&sources);
        assert_eq!(
            broken,
            [
                "crates/hapax-proxy/src/a.rs:1: use fjall::Keyspace;",
                "crates/hapax-tower/Cargo.toml:1: tokio-postgres = \"0.7\"",
            ]
        );
    }

    #[test]
    fn a_long_file_is_found_and_a_long_test_is_not() {
        let long = "x\n".repeat(FILE_LINES_MAX + 1);
        let fits = "x\n".repeat(FILE_LINES_MAX);
        let sources = [
            file("crates/hapax/src/long.rs", &long),
            file("crates/hapax/src/fits.rs", &fits),
            file("crates/hapax/src/machine/tests.rs", &long),
            file("tests/it/crash.rs", &long),
        ];
        assert_eq!(no_long_file(&sources), ["crates/hapax/src/long.rs: 601 lines"]);
    }

    #[test]
    fn undone_and_ignored_code_is_found() {
        let ignored = format!("{}]\nfn a() {{}}\n", concat!("#[", "ignore"));
        let undone = format!("fn a() {{ {}) }}\n", concat!("todo", "!("));
        let sources = [file("crates/a/src/a.rs", &ignored), file("crates/a/src/b.rs", &undone)];
        assert_eq!(nothing_undone(&sources).len(), 2);
    }

    #[test]
    fn derived_serialisation_in_the_core_is_found_and_a_visitor_is_not() {
        let sources = [
            file("crates/hapax/src/a.rs", "#[derive(Debug, Serialize)]\nstruct A;\n"),
            file("crates/hapax/src/b.rs", "use serde::de::{Deserialize, Visitor};\n"),
        ];
        let broken = core_derives_no_serde(&sources);
        assert_eq!(broken, ["crates/hapax/src/a.rs:1: #[derive(Debug, Serialize)]"]);
    }

    #[test]
    fn text_that_is_not_ascii_is_found() {
        let sources = [file("a.rs", "plain"), file("b.rs", "a\n\u{e9}\n")];
        assert_eq!(only_ascii(&sources), ["b.rs:2: \u{e9}"]);
    }

    #[test]
    fn a_clock_in_the_core_is_found_and_its_own_file_is_not() {
        let sources = [
            file("crates/hapax/src/time.rs", "SystemTime::now()"),
            file("crates/hapax/src/policy.rs", "SystemTime::now()"),
            file("crates/hapax/src/guard.rs", "Instant::now()"),
            file("crates/hapax-tower/src/drive.rs", "Instant::now()"),
        ];
        assert_eq!(
            core_reads_no_clock(&sources),
            ["crates/hapax/src/policy.rs:1: SystemTime::now()"]
        );
    }
}
