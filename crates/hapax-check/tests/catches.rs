//! The checker is checked: a small correct layer passes, and each defect that is switched on in it
//! is caught by the cases named for it, and by no others.

#![cfg(unix)]

#[expect(
    clippy::unwrap_used,
    clippy::result_large_err,
    reason = "a test's helper, which may end the test"
)]
mod broken;

use broken::{Defect, ROUTES};
use clap::Parser;
use hapax_check::{CheckArgs, Report, Verdict};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    check: CheckArgs,
}

/// Not a test by itself: the process in which a layer runs when the variables are set.
#[test]
fn layer_process() {
    if std::env::var_os("CHECK_DEFECT").is_some() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(broken::serve::serve());
    }
}

/// Cases that stop things or wait for seconds; measured where a defect is about them.
const SLOW: &[&str] = &[
    "CON-01-after-wait",
    "CON-04",
    "CON-05",
    "CON-05-alone",
    "DBT-03",
    "DBT-04",
    "DBT-09-mid-answer",
    "DBT-09-storm",
    "DBT-10",
    "DBT-11",
    "EXE-02",
    "EXE-03",
    "EXE-08",
    "REP-01-restart",
    "REP-01-upstream-down",
    "REP-04",
    "TTL-01",
    "TTL-01-other-body",
    "TTL-03",
];

/// Measures the layer with a defect; `flags` are further flags of the checker.
fn measure(defect: Defect, flags: &[&str]) -> Report {
    let exe = std::env::current_exe().expect("the path of this test");
    let command = format!(
        "env CHECK_DEFECT={defect:?} CHECK_LISTEN={{listen}} CHECK_UPSTREAM={{upstream}} \
         CHECK_STORE={{store_dir}} '{}' layer_process --exact --nocapture --test-threads=1",
        exe.display()
    );
    let mut words = vec!["check", "--command", &command, "--profile-routes", ROUTES];
    words.extend(flags);
    let args = Cli::parse_from(words).check;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measuring = async { Box::pin(hapax_check::measure(&args, |_, _, _| {})).await };
    runtime.expect("a runtime").block_on(measuring).expect("a report")
}

fn failed(report: &Report) -> Vec<&'static str> {
    let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    failed.map(|finding| finding.case.id).collect()
}

/// The named cases fail, and of all others, but for slow ones that are not named, none does.
fn caught(defect: Defect, expected: &[&str]) {
    caught_among(defect, expected, &[], &["--jobs", "16"]);
}

/// As [`caught`], several defects at a time: most of a measurement is waiting.
fn all_caught(defects: &[(Defect, &[&str])]) {
    for some in defects.chunks(3) {
        std::thread::scope(|scope| {
            for (defect, expected) in some {
                scope.spawn(|| caught(*defect, expected));
            }
        });
    }
}

/// As [`caught`], with slow cases that must hold beside the named ones.
fn caught_among(defect: Defect, expected: &[&str], beside: &[&str], flags: &[&str]) {
    let quick = hapax_check::cases().into_iter().filter(|case| case.mode() == "layer");
    let chosen: Vec<&str> = quick
        .map(|case| case.id)
        .filter(|id| !SLOW.contains(id) || expected.contains(id) || beside.contains(id))
        .collect();
    let only = chosen.join(",");
    let report = measure(defect, &[&["--only", &only], flags].concat());
    let mut failed = failed(&report);
    let mut expected = expected.to_vec();
    failed.sort_unstable();
    expected.sort_unstable();
    let text = report.render(hapax_check::Format::Text);
    assert_eq!(failed, expected, "{defect:?}: {text}");
    let held = |id: &&str| {
        let finding = report.findings.iter().find(|finding| finding.case.id == *id);
        finding.is_some_and(|finding| finding.verdict == Verdict::Pass)
    };
    assert!(beside.iter().all(held), "{defect:?}: {text}");
}

#[test]
fn correct_layer_with_no_broken_promise_passes_everything_it_offers() {
    let report = measure(Defect::None, &["--two", "--jobs", "16"]);
    let text = report.render(hapax_check::Format::Text);
    assert_eq!(failed(&report), Vec::<&str>::new(), "{text}");
    for finding in &report.findings {
        let reason = &finding.detail;
        let honest = finding.verdict != Verdict::Skip
            || reason.contains("is not configured with")
            || reason.contains("does not say that it offers");
        assert!(honest, "{} was skipped: {reason}", finding.case.id);
    }
    assert!(report.count(Verdict::Pass) >= 90, "{text}");
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn broken_claims_are_caught() {
    all_caught(&[
        (Defect::CheckThenAct, &["EXE-04"]),
        (Defect::FreesOnHangUp, &["EXE-05"]),
        (Defect::KeepsConflict, &["CON-02"]),
        (Defect::WaitersRerun, &["CON-03-failure"]),
    ]);
    caught_among(Defect::NoRenewal, &["CON-04"], &["CON-05-alone"], &["--jobs", "16"]);
    // Cases that run beside each other would see each other's requests.
    caught_among(Defect::SerialKeys, &["CON-07", "SCO-01-in-flight"], &[], &["--jobs", "1"]);
}

#[test]
fn broken_stores_are_caught() {
    let crash = ["--jobs", "16"];
    caught_among(Defect::ClaimInMemory, &["EXE-02"], &["EXE-03", "REP-01-restart"], &crash);
    caught_among(Defect::ResultInMemory, &["EXE-03", "REP-01-restart"], &["EXE-02"], &crash);
    caught_among(Defect::KeepsLate, &["EXE-03"], &["EXE-02", "DBT-03"], &crash);
    caught_among(Defect::LeaseIsRetention, &["DBT-03"], &["EXE-02", "EXE-03"], &crash);
    caught_among(Defect::DiesOnTerm, &["DBT-10"], &["EXE-03", "REP-01-restart"], &crash);
    caught_among(Defect::NoFence, &["CON-05"], &["CON-05-alone", "DBT-03"], &["--two"]);
}

#[test]
fn broken_expiry_is_caught() {
    let beside = ["TTL-03", "DBT-11"];
    caught_among(Defect::DeadRecordRefuses, &["TTL-01-other-body"], &["TTL-01"], &[]);
    caught_among(Defect::DoubtExpires, &["DBT-11"], &["TTL-01", "TTL-03"], &[]);
    caught_among(Defect::ExpiresRunning, &["TTL-03"], &["TTL-01"], &[]);
    caught_among(Defect::ExpiresEarly, &["TTL-01", "TTL-04"], &beside, &[]);
    caught_among(Defect::KeepsTooLong, &["TTL-01", "TTL-04"], &beside, &[]);
    all_caught(&[(Defect::LosesExpires, &["TTL-04"]), (Defect::NoPolicy, &["TTL-05"])]);
}

#[test]
fn broken_keys_are_caught() {
    all_caught(&[
        (Defect::CountsParameters, &["KEY-06"]),
        (Defect::CutKeys, &["KEY-09"]),
        (Defect::FirstKeyWins, &["KEY-08"]),
        (Defect::FoldsCase, &["KEY-10"]),
        (Defect::HidesKey, &["KEY-13"]),
        (Defect::KeylessKept, &["KEY-11-optional"]),
        (Defect::LosesKey, &["EXE-10"]),
        (Defect::NoLimit, &["EXE-09", "EXE-09-chunked"]),
        (Defect::ProtectsAll, &["KEY-12", "KEY-12-put"]),
        (Defect::QuotedOnly, &["KEY-03"]),
        (Defect::QuotedDiffers, &["KEY-04", "KEY-04-reverse"]),
        (Defect::ReadsFirst, &["HTP-05-refused"]),
        (Defect::TrimsKeys, &["KEY-10-whitespace"]),
        (
            Defect::MalformedRuns,
            &[
                "KEY-02-illegal-escape",
                "KEY-05-after-quote",
                "KEY-05-bare-quote",
                "KEY-05-bare-space",
                "KEY-05-non-ascii",
                "KEY-05-strict-bare",
                "KEY-05-unterminated",
                "KEY-07-empty-field",
                "KEY-07-empty-string",
                "KEY-08",
                "KEY-08-bare-comma",
                "KEY-08-joined",
                "KEY-09-too-long",
            ],
        ),
    ]);
}

#[test]
fn broken_identity_is_caught() {
    all_caught(&[
        (Defect::BoundaryCounts, &["FPR-07"]),
        (Defect::ComparesJson, &["FPR-06"]),
        (Defect::CountsFraming, &["FPR-04-framing"]),
        (Defect::CountsUserAgent, &["FPR-04-fields"]),
        (Defect::IgnoresCookie, &["SCO-06-cookie"]),
        (Defect::IgnoresHost, &["SCO-03-hosts"]),
        (Defect::IgnoresMediaType, &["FPR-05-media-type"]),
        (Defect::IgnoresMethod, &["SCO-02-method"]),
        (Defect::IgnoresQuery, &["FPR-05-query"]),
        (Defect::JoinsScope, &["SCO-03"]),
        (Defect::MismatchPoisons, &["FPR-02"]),
        (Defect::MismatchWaits, &["FPR-03"]),
        (Defect::NoFingerprint, &["FPR-01"]),
        (Defect::TrustsClaims, &["SCO-04"]),
        (Defect::TellsStrangers, &["SEC-02"]),
        (Defect::Unscoped, &["SCO-01"]),
    ]);
}

#[test]
fn broken_replays_are_caught() {
    caught_among(Defect::DropsDate, &["REP-04"], &[], &[]);
    all_caught(&[
        (Defect::JoinsLines, &["REP-07"]),
        (Defect::JudgesConditions, &["REP-10"]),
        (Defect::KeepsHopByHop, &["HTP-01", "REP-03"]),
        (Defect::KeepsTruncated, &["REP-09-missing-chunk", "REP-09-short-length"]),
        (Defect::LosesFields, &["REP-01-fields"]),
        (Defect::LosesStatus, &["REP-01"]),
        (Defect::MergesTrailers, &["REP-11"]),
        (Defect::PassesTruncated, &["REP-09-missing-chunk", "REP-09-short-length"]),
        (Defect::ReplaysCookies, &["REP-05"]),
        (Defect::ReplaysExchange, &["REP-06"]),
        (Defect::RerunsOversized, &["REP-12"]),
        (Defect::TextBodies, &["REP-07-binary"]),
        (Defect::Unmarked, &["REP-02"]),
        (Defect::ZipsForAll, &["REP-08"]),
    ]);
}

#[test]
fn broken_failure_policies_are_caught() {
    all_caught(&[
        (Defect::FollowsRedirects, &["FAI-01-redirect"]),
        (Defect::FreesBadGateway, &["FAI-05-502"]),
        (Defect::FreesClientErrors, &["FAI-02"]),
        (Defect::KeepsRefusals, &["FAI-03"]),
        (Defect::KeepsServerErrors, &["FAI-04"]),
        (Defect::Resends, &["EXE-07-cut-head", "EXE-07-fresh", "EXE-07-pooled", "EXE-07-reset"]),
        (Defect::LostFrees, &["DBT-02"]),
        (Defect::TimeoutFrees, &["DBT-02-timeout"]),
    ]);
}

#[test]
fn broken_intermediaries_are_caught() {
    all_caught(&[
        (Defect::AdminOnData, &["ADM-01"]),
        (Defect::BuffersStreams, &["HTP-08-events", "HTP-08-trailers", "HTP-08-upload"]),
        (Defect::LogsKeys, &["SEC-04"]),
        (Defect::PlainErrors, &["HTP-12", "KEY-11"]),
        (Defect::TrustsForwarded, &["HTP-10"]),
    ]);
}

#[test]
fn broken_waiting_is_caught() {
    caught_among(
        Defect::WaitsForEver,
        &["CON-01", "CON-01-after-wait"],
        &["CON-03"],
        &["--jobs", "16"],
    );
}

#[test]
fn other_choices_are_no_broken_promises_of_the_core() {
    for defect in [Defect::ConflictForMismatch, Defect::Unmarked, Defect::ComparesJson] {
        let report = measure(defect, &["--core-only", "--jobs", "16"]);
        let text = report.render(hapax_check::Format::Text);
        assert_eq!(failed(&report), Vec::<&str>::new(), "{defect:?}: {text}");
        assert_eq!(report.exit_code(), 0, "{defect:?}: {text}");
    }
}

#[test]
fn broken_promises_of_no_layer_at_all_are_caught() {
    // Whatever does not depend on a replay is judged, malformed messages among it.
    caught(
        Defect::Passthrough,
        &[
            "EXE-07-cut-head",
            "EXE-07-fresh",
            "EXE-07-pooled",
            "EXE-07-reset",
            "EXE-09",
            "EXE-09-chunked",
            "HTP-01",
            "HTP-02-bad-length",
            "HTP-02-bare-cr",
            "HTP-02-fold",
            "HTP-02-http10",
            "HTP-02-length-and-chunks",
            "HTP-02-no-host",
            "HTP-02-nul",
            "HTP-02-space-colon",
            "HTP-02-two-hosts",
            "HTP-02-two-lengths",
            "HTP-02-unknown-coding",
            "HTP-10",
            "KEY-02-illegal-escape",
            "KEY-05-after-quote",
            "KEY-05-bare-quote",
            "KEY-05-bare-space",
            "KEY-05-control",
            "KEY-05-non-ascii",
            "KEY-05-strict-bare",
            "KEY-05-unterminated",
            "KEY-07-empty-field",
            "KEY-07-empty-string",
            "KEY-08",
            "KEY-08-bare-comma",
            "KEY-08-joined",
            "KEY-09-too-long",
            "KEY-11",
            "KEY-13",
            "REP-01",
            "SCO-04-two-credentials",
            "TTL-05",
        ],
    );
}
