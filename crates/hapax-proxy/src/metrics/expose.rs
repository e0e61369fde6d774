//! The numbers as a scraper reads them: OpenMetrics text, or the older Prometheus text.

use std::fmt;

use hapax::event::Answer;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Snapshot;
use super::snapshot::Distribution;

/// A text that Prometheus reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus 0.0.4: what is served unless OpenMetrics is preferred.
    Prometheus,
}

impl TextFormat {
    /// The format that a scraper's `Accept` prefers.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut open, mut plain) = (0, 0);
        for range in accept.unwrap_or("").split(',') {
            let mut pieces = range.split(';').map(str::trim);
            let media = pieces.next().unwrap_or("").to_ascii_lowercase();
            let weight =
                pieces.find_map(|piece| piece.strip_prefix("q=")).map_or(1000, thousandths);
            match media.as_str() {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => plain = plain.max(weight),
                _ => {}
            }
        }
        if open > plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// What to say of it in `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A weight (RFC 9110, section 12.4.2) in thousandths; what is none counts as nothing.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f64>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        Ok(_) | Err(_) => 0,
    }
}

pub(super) fn render(snapshot: Snapshot, format: TextFormat) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut encoded = String::with_capacity(16 * 1024);
    // Writing to a string does not fail.
    let _infallible = text::encode(&mut encoded, &registry);
    match format {
        TextFormat::OpenMetrics => encoded,
        TextFormat::Prometheus => as_prometheus(&encoded),
    }
}

/// The older text names a counter by its samples: with `_total`, in `HELP` and `TYPE` too.
fn as_prometheus(open: &str) -> String {
    let mut plain = String::with_capacity(open.len() + 256);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let described = lines.peek().and_then(|next| next.strip_prefix("# TYPE "));
        let counter = described.and_then(|typed| typed.strip_suffix(" counter"));
        let help = counter
            .and_then(|name| Some((name, line.strip_prefix("# HELP ")?.strip_prefix(name)?)));
        match help {
            Some((name, help)) => {
                plain
                    .push_str(&format!("# HELP {name}_total{help}\n# TYPE {name}_total counter\n"));
                lines.next();
            }
            None => {
                plain.push_str(line);
                plain.push('\n');
            }
        }
    }
    plain
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.encode_requests(to)?;
        self.encode_sizes(to)?;
        self.encode_doubts(to)?;
        one_histogram(to, "hapax_added_seconds", "Time added to a first run.", &self.added)?;
        let operations = self.store.iter().map(|(name, times)| ([("operation", *name)], times));
        histogram(to, "hapax_store_seconds", "Time of one store operation.", operations)?;
        let age = "Age of a replayed answer.";
        one_histogram(to, "hapax_replay_age_seconds", age, &self.replay_age)?;
        one_histogram(to, "hapax_wait_seconds", "Time that a duplicate waited.", &self.wait)?;
        one_histogram(to, "hapax_upstream_seconds", "Time of one effect.", &self.upstream)?;
        one_histogram(to, "hapax_sweep_seconds", "Time of one sweep.", &self.sweep)
    }
}

impl Snapshot {
    fn encode_requests(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.answers.iter().flat_map(|route| {
            Answer::ALL.into_iter().map(move |answer| {
                ([("route", &*route.route), ("outcome", answer.as_str())], route.of(answer))
            })
        });
        counter(to, "hapax_requests", "Requests by how they were answered.", requests)?;
        let statuses: Vec<String> =
            self.reruns.iter().map(|(_, status, _)| status.to_string()).collect();
        let reruns = self.reruns.iter().zip(&statuses).map(|((route, _, count), status)| {
            ([("route", &**route), ("status", status.as_str())], *count)
        });
        counter(to, "hapax_reruns", "Runs of a key that an answer of this status freed.", reruns)
    }

    fn encode_sizes(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(to, "hapax_in_flight", "Keyed operations that run.", self.in_flight as f64)?;
        gauge(to, "hapax_records", "Records in the store.", self.records as f64)?;
        gauge(to, "hapax_store_bytes", "Bytes that the store takes.", self.store_bytes as f64)?;
        let up = if self.store_is_up { 1.0 } else { 0.0 };
        gauge(to, "hapax_store_up", "Whether the store told its sizes when last asked.", up)?;
        one_counter(to, "hapax_swept", "Expired records that were removed.", self.swept)
    }

    fn encode_doubts(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(to, "hapax_in_doubt", "Records whose outcome is unknown.", self.in_doubt as f64)?;
        let oldest = self.in_doubt_oldest.as_secs_f64();
        gauge(to, "hapax_in_doubt_oldest_seconds", "Age of the oldest of them.", oldest)?;
        let unknown = self.unknown.iter().map(|(cause, count)| ([("cause", *cause)], *count));
        counter(to, "hapax_unknown", "Outcomes that became unknown.", unknown)?;
        let resolved = self.resolved.iter().map(|(by, count)| ([("by", *by)], *count));
        counter(to, "hapax_resolved", "Unknown outcomes that became known.", resolved)?;
        let lost = "Owners that found their lease gone.";
        one_counter(to, "hapax_leases_lost", lost, self.leases_lost)?;
        let failures = "Settlements that the store did not take at once.";
        one_counter(to, "hapax_settle_failures", failures, self.settle_failures)
    }
}

fn one_counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<[(&str, &str); 0], u64, f64>(&value, None)
}

fn counter<'a, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, &'a str); N], u64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        let mut sample = metric.encode_family(&labels)?;
        sample.encode_counter::<[(&str, &str); 0], u64, f64>(&value, None)?;
    }
    Ok(())
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    to.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn one_histogram(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    times: &Distribution,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    let count = times.count();
    metric.encode_histogram::<[(&str, &str); 0]>(times.sum, count, &times.buckets, None)
}

fn histogram<'a, L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, &'a Distribution)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, times) in values {
        let mut sample = metric.encode_family(&labels)?;
        let count = times.count();
        sample.encode_histogram::<[(&str, &str); 0]>(times.sum, count, &times.buckets, None)?;
    }
    Ok(())
}
