//! What came out: verdicts, and the forms they are written in.

mod html;
mod json;
mod junit;
mod text;

use std::time::Duration;

use crate::args::Format;
use crate::case::{Case, Kind};

pub(crate) use text::progress;

/// The judgement of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise is broken.
    Fail,
    /// The promise held.
    Pass,
    /// Not judged; the detail says why.
    Skip,
}

impl Verdict {
    /// The name used in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Pass => "pass",
            Self::Skip => "skip",
        }
    }
}

/// A case with its verdict.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The case.
    pub case: Case,
    /// Its verdict.
    pub verdict: Verdict,
    /// What came instead of what was promised, why it was skipped, or how sure a pass is.
    pub detail: String,
    /// What was sent and what came, of failures.
    pub exchange: Vec<String>,
    /// How long the case took.
    pub took: Duration,
}

/// Everything that was measured, in filing order.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was measured.
    pub target: String,
    /// One entry a case.
    pub findings: Vec<Finding>,
    /// Requests sent to an API.
    pub requests_sent: Option<u32>,
    /// The time limit was over before every case had its turn.
    pub out_of_time: bool,
}

impl Report {
    /// Verdicts of one sort.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// 0 when core and profile hold, 1 when some do not, 2 when nothing could be measured or time
    /// ran out before everything was.
    pub fn exit_code(&self) -> u8 {
        let binding = |finding: &&Finding| finding.case.kind != Kind::Optional;
        let mut bound = self.findings.iter().filter(binding);
        let failed = bound.clone().any(|finding| finding.verdict == Verdict::Fail);
        let passed = bound.any(|finding| finding.verdict == Verdict::Pass);
        match (failed, passed, self.out_of_time) {
            (true, _, _) => 1,
            (false, true, false) => 0,
            (false, _, _) => 2,
        }
    }

    /// The report in one of its forms.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Html => html::render(self),
            Format::Json => json::render(self),
            Format::Junit => junit::render(self),
            Format::Text => text::render(self),
        }
    }
}

/// The cases without verdicts, in one of the report's forms.
pub fn list(cases: &[Case], format: Format) -> String {
    match format {
        Format::Json => json::list(cases),
        Format::Html | Format::Junit | Format::Text => text::list(cases),
    }
}

/// Sections in filing order.
fn sections(report: &Report) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for finding in &report.findings {
        let name = finding.case.section();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Escapes text for XML and HTML; control characters that XML forbids become U+FFFD.
fn escape(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' | '\t' => letter.to_string(),
            other if other.is_control() => '\u{fffd}'.to_string(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
