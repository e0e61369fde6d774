//! The report as one HTML page that needs nothing else.

use std::fmt::Write as _;

use super::{Report, Verdict, escape, sections};
use crate::case::section_title;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;\
padding:0 1rem;color:#1b1b1f;background:#fff}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
pre{white-space:pre-wrap;background:#f5f5f7;padding:.6rem;font-size:.85em}\
.pass{color:#11692f}.fail{color:#a8071a;font-weight:600}.skip{color:#6b6b6b}\
small{color:#6b6b6b}";

pub(super) fn render(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <title>Retry safety</title><style>{STYLE}</style>\n<h1>Retry safety</h1>\n<p>{}</p>\n\
         <p><span class=\"pass\">{} passed</span>, <span class=\"fail\">{} failed</span>, \
         <span class=\"skip\">{} skipped</span></p>\n",
        escape(&report.target),
        report.count(Verdict::Pass),
        report.count(Verdict::Fail),
        report.count(Verdict::Skip)
    );
    for section in sections(report) {
        let _ = write!(
            out,
            "<h2>{section}: {}</h2>\n<table><tr><th>Case<th>Kind<th>Verdict<th>Promise</tr>\n",
            section_title(section)
        );
        for finding in report.findings.iter().filter(|found| found.case.section() == section) {
            let case = &finding.case;
            let name = finding.verdict.name();
            let _ = write!(
                out,
                "<tr><td>{}<td>{}<td class=\"{name}\">{name}<td>{} <small>{}</small>",
                case.id,
                case.kind.name(),
                escape(case.requirement),
                escape(case.source)
            );
            if finding.verdict != Verdict::Pass {
                let _ = write!(out, "<p>{}</p>", escape(&finding.detail));
            }
            if finding.verdict == Verdict::Fail {
                let _ = write!(
                    out,
                    "<p>Why it matters: {}</p><pre>{}</pre>",
                    escape(case.why),
                    escape(&finding.exchange.join("\n"))
                );
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table>\n");
    }
    out.push_str("</html>\n");
    out
}
