//! The report for a terminal: a table by section, then every failure in full.

use std::fmt::Write as _;

use super::{Finding, Report, Verdict, sections};
use crate::case::{Case, Kind, section_title};

pub(super) fn render(report: &Report) -> String {
    let mut out = format!("\n{}\n\n", report.target);
    let _ = writeln!(out, "{:<26} {:>5} {:>5} {:>5}", "section", "pass", "fail", "skip");
    for section in sections(report) {
        let count = |verdict| {
            let of = report.findings.iter().filter(|finding| finding.case.section() == section);
            of.filter(|finding| finding.verdict == verdict).count()
        };
        let name = format!("{section} {}", section_title(section));
        let _ = writeln!(
            out,
            "{name:<26} {:>5} {:>5} {:>5}",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skip)
        );
    }
    let skipped: Vec<&Finding> = of(report, Verdict::Skip);
    if !skipped.is_empty() {
        out.push_str("\nSkipped\n");
        for finding in skipped {
            let _ = writeln!(out, "  {:<28} {}", finding.case.id, finding.detail);
        }
    }
    for finding in of(report, Verdict::Fail) {
        failure(&mut out, finding);
    }
    let _ = writeln!(
        out,
        "\n{} passed, {} failed, {} skipped{}",
        report.count(Verdict::Pass),
        report.count(Verdict::Fail),
        report.count(Verdict::Skip),
        if report.out_of_time { " (the time limit was over)" } else { "" }
    );
    if let Some(sent) = report.requests_sent {
        let _ = writeln!(out, "{sent} requests sent");
    }
    let line = match report.exit_code() {
        0 => "Core and profile hold.",
        1 if of(report, Verdict::Fail).iter().any(|finding| finding.case.kind == Kind::Core) => {
            "Core does NOT hold: retries are not safe here."
        }
        1 => "Core holds; the profile does not.",
        _ => "It could not be measured.",
    };
    let _ = writeln!(out, "{line}");
    out
}

fn of(report: &Report, verdict: Verdict) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.verdict == verdict).collect()
}

fn failure(out: &mut String, finding: &Finding) {
    let case = &finding.case;
    let _ = writeln!(out, "\nFAIL {} ({}): {}", case.id, case.kind.name(), case.title);
    let _ = writeln!(out, "  what came   {}", finding.detail);
    let _ = writeln!(out, "  promised    {} [{}]", case.requirement, case.source);
    let _ = writeln!(out, "  it matters  {}", case.why);
    for line in &finding.exchange {
        let _ = writeln!(out, "    {line}");
    }
}

/// One line while the run goes on.
pub(crate) fn progress(done: usize, total: usize, finding: &Finding) -> String {
    let detail = match finding.verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail | Verdict::Skip => format!("  {}", finding.detail),
    };
    format!("[{done:>3}/{total}] {} {:<28}{detail}", finding.verdict.name(), finding.case.id)
}

pub(super) fn list(cases: &[Case]) -> String {
    let mut out = String::new();
    for case in cases {
        let _ = writeln!(
            out,
            "{:<32} {:<8} {:<5} {}\n{:34}{} [{}]",
            case.id,
            case.kind.name(),
            case.mode(),
            case.title,
            "",
            case.requirement,
            case.source
        );
    }
    let _ = writeln!(out, "{} cases", cases.len());
    out
}
