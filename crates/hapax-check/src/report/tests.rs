use super::*;
use crate::cases;

fn finding(id: &str, verdict: Verdict) -> Finding {
    let case = *cases::all().iter().find(|case| case.id == id).unwrap();
    Finding {
        case,
        verdict,
        detail: "came <b> & \u{1}".to_owned(),
        exchange: vec!["sent: x".to_owned()],
        took: Duration::from_millis(5),
    }
}

fn report(findings: Vec<Finding>) -> Report {
    Report { target: "layer".to_owned(), findings, requests_sent: None, out_of_time: false }
}

#[test]
fn exit_code_follows_core_and_profile_alone() {
    let pass = finding("EXE-01", Verdict::Pass);
    let skip = finding("REP-01", Verdict::Skip);
    let optional = finding("FAI-06-final", Verdict::Fail);
    assert_eq!(report(vec![pass.clone(), skip.clone()]).exit_code(), 0);
    assert_eq!(report(vec![pass.clone(), optional.clone()]).exit_code(), 0);
    assert_eq!(report(vec![pass.clone(), finding("KEY-04", Verdict::Fail)]).exit_code(), 1);
    assert_eq!(report(vec![skip, optional]).exit_code(), 2);
    let late = Report { out_of_time: true, ..report(vec![pass]) };
    assert_eq!(late.exit_code(), 2);
}

#[test]
fn json_report_has_the_published_shape() {
    let text = report(vec![finding("EXE-01", Verdict::Fail)]).render(Format::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["cases"][0]["id"], "EXE-01");
    assert_eq!(json["cases"][0]["kind"], "core");
    assert_eq!(json["cases"][0]["verdict"], "fail");
    assert_eq!(json["summary"]["fail"], 1);
    assert_eq!(json["summary"]["pass"], 0);
    let list: serde_json::Value = serde_json::from_str(&list(&cases::all(), Format::Json)).unwrap();
    assert!(list["cases"][0].get("verdict").is_none());
    assert!(list["cases"][0].get("title").is_some());
}

#[test]
fn markup_is_escaped_in_html_and_junit() {
    let report = report(vec![finding("EXE-01", Verdict::Fail)]);
    for format in [Format::Html, Format::Junit] {
        let text = report.render(format);
        assert!(text.contains("came &lt;b&gt; &amp; \u{fffd}"), "{text}");
        assert!(!text.contains("<b>"), "{text}");
    }
}

#[test]
fn text_report_shows_a_failure_in_full() {
    let text = report(vec![finding("EXE-01", Verdict::Fail)]).render(Format::Text);
    for part in ["FAIL EXE-01", "promised", "it matters", "sent: x", "Core does NOT hold"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
