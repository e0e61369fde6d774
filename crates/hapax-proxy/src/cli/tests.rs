use std::collections::BTreeSet;

use clap::CommandFactory as _;

use super::*;
use crate::config::{Config, StoreConfig, StoreSettings};

fn parse(line: &str) -> Result<Cli, Usage> {
    super::parse(std::iter::once("hapax").chain(line.split_whitespace()).map(OsString::from))
}

fn nothing(_: &str) -> Option<String> {
    None
}

/// The help of one verb, at a width of its own so that no terminal changes it.
fn help(path: &[&str]) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut verb = &mut command;
    for name in path {
        verb = verb.find_subcommand_mut(name).unwrap();
    }
    verb.render_long_help().to_string()
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn help_is_as_written_down() {
    let verbs: [&[&str]; 12] = [
        &[],
        &["serve"],
        &["demo"],
        &["check"],
        &["keys"],
        &["keys", "list"],
        &["keys", "show"],
        &["keys", "settle"],
        &["keys", "purge"],
        &["migrate"],
        &["config"],
        &["config", "print"],
    ];
    let mut shown = String::new();
    for path in verbs {
        shown.push_str(&format!("=== hapax {}\n{}\n", path.join(" "), help(path)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn help_and_version_end_well_and_bad_usage_does_not() {
    for line in ["--help", "-h", "--version", "-V", "serve --help", "keys show --help"] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
    }
    for line in [
        "",
        "frobnicate",
        "keys",
        "config",
        "serve --upstrem http://h",
        "serve --upstream",
        "serve extra",
        "serve --log-format xml",
        "demo --twice",
        "migrate --upstream http://h",
        "keys show",
        "keys show id --key k",
        "keys show id --principal p",
        "keys settle id",
        "keys settle id --outcome perhaps",
        "keys settle id --outcome executed --status 99",
        "keys settle id --outcome executed --header nonsense",
        "keys list --limit many",
        "keys purge",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 64, "{line}");
    }
    assert_eq!(
        parse("serve --upstrem http://h").unwrap_err().to_string(),
        "error: unexpected argument '--upstrem' found\n\n  tip: a similar argument exists: \
         '--upstream'\n\nUsage: hapax serve --upstream <URL>\n\nFor more information, try \
         '--help'.\n"
    );
}

#[test]
fn flags_of_serve_become_settings() {
    let cli = parse(
        "serve --upstream http://h:1 --listen 127.0.0.1:2 --admin 127.0.0.1:3 --store memory: \
         --durability claim --drain 4s --threads 5 --log-format json",
    )
    .unwrap();
    let config = Config::load(&cli.sources(&nothing)).unwrap();
    assert_eq!(config.upstream, "http://h:1/");
    assert_eq!((config.listen.port(), config.admin.listen.port()), (2, 3));
    assert_eq!(config.store, StoreConfig::Memory);
    assert_eq!(config.drain.as_secs(), 4);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(format!("{:?} {:?}", config.durability, config.threads), "Claim Count(5)");
}

#[test]
fn config_check_and_print_bind_nothing_and_say_how_it_is() {
    let run = |line: &str| {
        let cli = parse(line).unwrap();
        let Command::Config(verb) = &cli.command else { panic!("config") };
        verb.run(&cli.sources(&nothing))
    };
    assert_eq!(
        run("config check --upstream http://h:1 --store redis://:pw@r").unwrap(),
        "ok: http://h:1/ with redis://redacted@r and 0 routes\n"
    );
    let printed = run("config print --upstream http://h:1").unwrap();
    assert!(printed.contains("upstream = \"http://h:1\""), "{printed}");
    let wrong = run("config check --upstream http://h:1 --threads none").unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "--threads = \"none\" is not a number of threads; write \"auto\" or a whole number from 1 \
         to 1024"
    );
}

#[test]
fn the_log_format_may_stand_anywhere() {
    for line in ["--log-format json serve", "serve --log-format json"] {
        assert_eq!(parse(line).unwrap().log_format, Some(LogFormat::Json), "{line}");
    }
}

/// Flags that stand for a setting, with the variable that their help names.
fn variables(command: &clap::Command) -> BTreeSet<(String, String)> {
    command
        .get_arguments()
        .filter_map(|flag| {
            let long = flag.get_long().filter(|long| !["help", "version"].contains(long))?;
            let help = flag.get_help().unwrap().to_string();
            let variable = help.split_once("[env: ").unwrap_or_else(|| panic!("--{long}: {help}"));
            Some((long.to_owned(), variable.1.split_once(']').unwrap().0.to_owned()))
        })
        .collect()
}

#[test]
fn every_setting_of_the_command_line_has_a_variable_that_works() {
    let mut command = Cli::command();
    command.build();
    let mut checked = 0;
    for verb in ["serve", "migrate"] {
        for (flag, variable) in variables(command.find_subcommand(verb).unwrap()) {
            assert_eq!(
                variable,
                format!("HAPAX_{}", flag.to_uppercase().replace('-', "_")),
                "--{flag}"
            );
            // A value that nothing takes shows that the variable is looked at.
            let broken = |name: &str| (name == variable).then(|| "\u{0}".to_owned());
            let cli = parse("serve --upstream http://h").unwrap();
            let flags = if flag == "upstream" { Vec::new() } else { cli.sources(&nothing).flags };
            let sources = Sources { file: None, flags, environment: &broken };
            let error = Config::load(&sources).unwrap_err().to_string();
            assert!(error.starts_with(&variable), "{variable}: {error}");
            checked += 1;
        }
    }
    assert_eq!(checked, 12, "eight of serve, two of migrate, and the log format of both");
}

#[test]
fn the_checker_gets_its_own_arguments() {
    let cli = parse("check --url http://h --list").unwrap();
    let Command::Check(check) = cli.command else { panic!("check") };
    assert_eq!(check.url.as_deref(), Some("http://h"));
    assert!(check.list);
}

#[test]
fn migrate_reads_the_store_alone() {
    let cli = parse("migrate --store postgres://db/x").unwrap();
    let store = StoreSettings::load(&cli.sources(&nothing)).unwrap().store;
    assert!(matches!(store, StoreConfig::Postgres(_)));
}

#[test]
fn keys_are_told_how_it_ended() {
    let line = ["hapax", "keys", "settle", "id", "--outcome", "executed", "--status", "201"];
    let headers = ["--header", "Location: /x", "--header", "x-a:b", "--body", "{}"];
    let cli = super::parse(line.iter().chain(&headers).map(OsString::from)).unwrap();
    let Command::Keys(KeysArgs { verb: KeysVerb::Settle(settle), format, .. }) = cli.command else {
        panic!("settle");
    };
    assert_eq!((settle.outcome, settle.status), (Outcome::Executed, Some(201)));
    let headers: Vec<_> = settle.header.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(headers, [("location", "/x"), ("x-a", "b")]);
    assert_eq!((settle.body.as_deref(), format), (Some("{}"), KeysFormat::Text));
}

#[test]
fn keys_may_say_where_after_the_verb() {
    let cli = parse("keys list --admin http://127.0.0.1:1 --format json").unwrap();
    let Command::Keys(keys) = cli.command else { panic!("keys") };
    assert_eq!(keys.admin.as_deref(), Some("http://127.0.0.1:1"));
    assert_eq!(keys.format, KeysFormat::Json);
}
