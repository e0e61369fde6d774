//! The JUnit report: one suite a section.

use std::fmt::Write as _;

use super::{Report, Verdict, escape, sections};

pub(super) fn render(report: &Report) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"hapax check\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
        report.findings.len(),
        report.count(Verdict::Fail),
        report.count(Verdict::Skip)
    );
    for section in sections(report) {
        let of: Vec<_> =
            report.findings.iter().filter(|finding| finding.case.section() == section).collect();
        let count = |verdict| of.iter().filter(|finding| finding.verdict == verdict).count();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{section}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
            of.len(),
            count(Verdict::Fail),
            count(Verdict::Skip)
        );
        for finding in &of {
            let case = &finding.case;
            let _ = write!(
                out,
                "    <testcase classname=\"{}.{section}\" name=\"{} {}\" time=\"{:.3}\"",
                case.kind.name(),
                case.id,
                escape(case.title),
                finding.took.as_secs_f64()
            );
            let detail = escape(&finding.detail);
            let _ = match finding.verdict {
                Verdict::Pass => writeln!(out, "/>"),
                Verdict::Skip => {
                    writeln!(out, "><skipped message=\"{detail}\"/></testcase>")
                }
                Verdict::Fail => writeln!(
                    out,
                    "><failure message=\"{detail}\">{}\n{}</failure></testcase>",
                    escape(case.requirement),
                    escape(&finding.exchange.join("\n"))
                ),
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}
