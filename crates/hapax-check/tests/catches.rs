//! The checker is checked: a small correct layer passes, and each defect that is switched on in it
//! is caught by the cases named for it, and by no others.

#![cfg(unix)]

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

/// Measures the layer with a defect; `flags` are further flags of the checker.
fn measure(defect: Defect, flags: &[&str]) -> Report {
    let exe = std::env::current_exe().unwrap();
    let command = format!(
        "env CHECK_DEFECT={defect:?} CHECK_LISTEN={{listen}} CHECK_UPSTREAM={{upstream}} \
         CHECK_STORE={{store_dir}} '{}' layer_process --exact --nocapture --test-threads=1",
        exe.display()
    );
    let mut words = vec!["check", "--command", &command, "--profile-routes", ROUTES];
    words.extend(["--jobs", "24"]);
    words.extend(flags);
    let args = Cli::parse_from(words).check;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let verbose = std::env::var_os("CHECK_VERBOSE").is_some();
    let measuring = hapax_check::measure(&args, move |done, total, finding| {
        if verbose {
            let took = finding.took.as_millis();
            eprintln!("{done}/{total} {} {:?} {took} ms", finding.case.id, finding.verdict);
        }
    });
    runtime.block_on(measuring).unwrap()
}

fn failed(report: &Report) -> Vec<&'static str> {
    let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    failed.map(|finding| finding.case.id).collect()
}

fn passed(report: &Report, id: &str) -> bool {
    report.findings.iter().any(|finding| finding.case.id == id && finding.verdict == Verdict::Pass)
}

#[test]
fn correct_layer_passes_everything_it_offers() {
    let report = measure(Defect::None, &["--two"]);
    assert_eq!(failed(&report), Vec::<&str>::new(), "{}", report.render(hapax_check::Format::Text));
    for finding in &report.findings {
        let reason = &finding.detail;
        let honest = finding.verdict != Verdict::Skip
            || reason.contains("is not configured with")
            || reason.contains("does not say that it offers");
        assert!(honest, "{} was skipped: {reason}", finding.case.id);
    }
    assert!(report.count(Verdict::Pass) >= 90, "{}", report.count(Verdict::Pass));
    assert_eq!(report.exit_code(), 0);
}
