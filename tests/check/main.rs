//! The checker's cases as our own end-to-end tests: run against the gateway on every store, and
//! against an axum service with our layer. A case that is skipped is named here, with its reason, so
//! that none is left out silently.

#![cfg(unix)]

mod service;

use clap::Parser as _;
use hapax_check::{CheckArgs, Kind, Report, Verdict};
use hapax_tests::binary;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    check: CheckArgs,
}

fn measure(flags: &[&str]) -> Report {
    let args = Cli::parse_from([&["check"], flags].concat()).check;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let measured = runtime.block_on(hapax_check::measure(&args, |_done, _total, finding| {
        if finding.verdict == Verdict::Fail {
            eprintln!("{} fails: {}", finding.case.id, finding.detail);
        }
    }));
    measured.expect("the target can be measured")
}

/// Everything holds, and what was skipped is exactly `skips`.
fn holds(report: &Report, skips: &[&str]) {
    let with = |verdict: Verdict| {
        let found = report.findings.iter().filter(move |finding| finding.verdict == verdict);
        found.map(|finding| finding.case.id).collect::<Vec<_>>()
    };
    assert!(!report.out_of_time);
    assert_eq!(with(Verdict::Fail), Vec::<&str>::new());
    assert_eq!(with(Verdict::Skip), skips);
    println!("{} cases hold", with(Verdict::Pass).len());
}

fn command(store: &str) -> String {
    format!("'{}' serve --config {{config}} {store}", binary().display())
}

#[test]
fn layer_mode_holds_on_the_file_store() {
    let report = measure(&["--command", &command("")]);
    let binding = |finding: &&hapax_check::Finding| finding.case.kind != Kind::Optional;
    assert!(report.findings.iter().filter(binding).count() >= 90);
    // One process has the folder, so there is no second instance to overtake the first one.
    holds(&report, &["CON-05"]);
}

#[test]
fn layer_mode_holds_on_the_memory_store() {
    let report = measure(&["--volatile", "--command", &command("--store memory:")]);
    // What must outlive the process cannot, and memory is one process's own.
    holds(&report, &VOLATILE_SKIPS);
}

#[test]
fn layer_mode_holds_on_postgres() {
    shared_store_holds("HAPAX_TEST_POSTGRES_URL");
}

#[test]
fn layer_mode_holds_on_two_gateways_on_one_postgres() {
    two_on_a_shared_store_hold("HAPAX_TEST_POSTGRES_URL");
}

#[test]
fn layer_mode_holds_on_redis() {
    shared_store_holds("HAPAX_TEST_REDIS_URL");
}

#[test]
fn layer_mode_holds_on_two_gateways_on_one_redis() {
    two_on_a_shared_store_hold("HAPAX_TEST_REDIS_URL");
}

#[test]
fn layer_mode_holds_on_a_redis_cluster() {
    shared_store_holds("HAPAX_TEST_REDIS_CLUSTER");
}

#[test]
fn layer_mode_holds_on_two_gateways_on_one_redis_cluster() {
    two_on_a_shared_store_hold("HAPAX_TEST_REDIS_CLUSTER");
}

/// The server at the address in `variable`, which other tests use at the same time: keys, and the
/// ports in the authority, are each run's own.
fn shared_store_holds(variable: &str) {
    let report = measure(&["--command", &command_on(variable)]);
    // There is no second instance to overtake the first one.
    holds(&report, &["CON-05"]);
}

/// Requests go to the two gateways in turn, so that every retry and half of all duplicates meet
/// the one that did not run the request; nothing is skipped.
fn two_on_a_shared_store_hold(variable: &str) {
    let report = measure(&["--two", "--command", &command_on(variable)]);
    holds(&report, &[]);
}

fn command_on(variable: &str) -> String {
    let store = std::env::var(variable);
    let store = store.unwrap_or_else(|_| panic!("{variable} names no server: `cargo xtask test`"));
    command(&format!("--store {store}"))
}

const VOLATILE_SKIPS: [&str; 8] = [
    "REP-01-restart",
    "EXE-02",
    "EXE-03",
    "DBT-03",
    "DBT-09-mid-answer",
    "DBT-09-storm",
    "DBT-10",
    "CON-05",
];

#[test]
fn api_mode_holds_on_an_axum_service_with_our_layer() {
    let service = service::start();
    let (url, effects) = (format!("{service}/orders"), format!("{service}/effects"));
    let report = measure(&[
        "--url",
        &url,
        "--body",
        r#"{"item": 17}"#,
        "--header",
        "authorization: Bearer one",
        "--other-header",
        "authorization: Bearer two",
        "--effects-url",
        &effects,
        "--effects-pointer",
        "/count",
        // A bound for hanging only.
        "--limit",
        "500",
    ]);
    holds(&report, &[]);
}
