//! The JSON report: `{"cases":[...],"summary":{...}}`.

use serde_json::{Value, json};

use super::{Report, Verdict};
use crate::case::Case;

pub(super) fn render(report: &Report) -> String {
    let cases: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let mut entry = described(&finding.case);
            entry["verdict"] = json!(finding.verdict.name());
            entry["detail"] = json!(finding.detail);
            entry["exchange"] = json!(finding.exchange);
            entry["seconds"] = json!(finding.took.as_millis() as f64 / 1000.0);
            entry
        })
        .collect();
    let summary = json!({
        "pass": report.count(Verdict::Pass),
        "fail": report.count(Verdict::Fail),
        "skip": report.count(Verdict::Skip),
    });
    let mut whole = json!({"cases": cases, "summary": summary, "target": report.target});
    if let Some(sent) = report.requests_sent {
        whole["requests_sent"] = json!(sent);
    }
    pretty(&whole)
}

pub(super) fn list(cases: &[Case]) -> String {
    let entries: Vec<Value> = cases.iter().map(described).collect();
    pretty(&json!({"cases": entries, "summary": {"cases": cases.len()}}))
}

fn described(case: &Case) -> Value {
    json!({
        "id": case.id,
        "kind": case.kind.name(),
        "title": case.title,
        "mode": case.mode(),
        "section": case.section(),
        "requirement": case.requirement,
        "source": case.source,
        "why": case.why,
    })
}

fn pretty(value: &Value) -> String {
    // A `Value` has string keys only and always serialises.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
