use hapax::event::Answer;
use hapax::{StoreError, Timestamp};

use super::*;

/// The names that the interface promises, as samples carry them, and those that were added.
const NAMES: [&str; 20] = [
    "hapax_added_seconds",
    "hapax_in_doubt",
    "hapax_in_doubt_oldest_seconds",
    "hapax_in_flight",
    "hapax_leases_lost_total",
    "hapax_records",
    "hapax_replay_age_seconds",
    "hapax_requests_total",
    "hapax_reruns_total",
    "hapax_resolved_total",
    "hapax_settle_failures_total",
    "hapax_store_bytes",
    "hapax_store_seconds",
    "hapax_store_up",
    "hapax_sweep_seconds",
    "hapax_swept_total",
    "hapax_unknown_total",
    "hapax_upstream_seconds",
    "hapax_wait_seconds",
    "hapax_wait_seconds_bucket",
];

fn route(name: &str) -> Arc<str> {
    name.into()
}

fn id() -> RecordId {
    RecordId::from_bytes([7; 32])
}

fn answer(metrics: &Metrics, route: &Arc<str>, answer: Answer) {
    metrics.observe(&Event::Answered { answer, id: Some(id()), route });
}

/// The value of the sample that begins with exactly `sample`.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

/// OBS-01, OBS-02: the older text names every metric as the interface does.
#[test]
fn obs_01_names_are_those_of_the_interface() {
    let metrics = Metrics::new([route("/a")]);
    let text = metrics.render(TextFormat::Prometheus);
    let mut typed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    typed.sort_unstable();
    assert_eq!(typed, NAMES[..19]);
    assert!(text.contains(NAMES[19]));
    assert!(!text.contains("# EOF"));
}

#[test]
fn obs_01_sums_of_outcomes_equal_requests() {
    let (a, b) = (route("/a"), route("/b"));
    let metrics = Metrics::new([Arc::clone(&a), Arc::clone(&b)]);
    for (times, kind) in Answer::ALL.into_iter().enumerate() {
        (0..=times).for_each(|_| answer(&metrics, &a, kind));
    }
    answer(&metrics, &b, Answer::Replayed);
    answer(&metrics, &route("/unannounced"), Answer::Held);
    let text = metrics.render(TextFormat::OpenMetrics);
    let sample = |route: &str, outcome: &str| {
        let labels = format!("{{route=\"{route}\",outcome=\"{outcome}\"}}");
        value(&text, &format!("hapax_requests_total{labels}"))
    };
    for (times, kind) in Answer::ALL.into_iter().enumerate() {
        assert_eq!(sample("/a", kind.as_str()), (times + 1) as f64);
    }
    assert_eq!(sample("/b", "replayed"), 1.0);
    assert_eq!(sample("(other)", "held"), 1.0);
    let all: f64 = text
        .lines()
        .filter(|line| line.starts_with("hapax_requests_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(all, (1..=13).sum::<u32>() as f64 + 2.0);
}

#[test]
fn obs_01_counts_from_many_threads_lose_nothing() {
    let a = route("/a");
    let metrics = Metrics::new([Arc::clone(&a)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| answer(&metrics, &a, Answer::Executed)));
        }
    });
    assert_eq!(metrics.snapshot().answers[0].of(Answer::Executed), 40_000);
}

#[test]
fn obs_01_unknown_outcomes_count_by_cause_and_resolved_ones_by_means() {
    let metrics = Metrics::new([]);
    for cause in Cause::ALL {
        metrics.observe(&Event::Unknown { cause, id: id() });
    }
    metrics.observe(&Event::Resolved { by: "operator", id: id() });
    metrics.observe(&Event::Resolved { by: "a younger means", id: id() });
    metrics.observe(&Event::LeaseLost { id: id() });
    metrics.observe(&Event::SettleFailed { error: &StoreError::none("x"), id: id() });
    let text = metrics.render(TextFormat::Prometheus);
    for cause in Cause::ALL {
        let sample = format!("hapax_unknown_total{{cause=\"{}\"}}", cause.as_str());
        assert_eq!(value(&text, &sample), 1.0);
    }
    assert_eq!(value(&text, "hapax_resolved_total{by=\"operator\"}"), 1.0);
    assert_eq!(value(&text, "hapax_resolved_total{by=\"other\"}"), 1.0);
    assert_eq!(value(&text, "hapax_leases_lost_total"), 1.0);
    assert_eq!(value(&text, "hapax_settle_failures_total"), 1.0);
}

#[test]
fn reruns_count_by_route_and_by_the_status_that_freed_the_key() {
    let a = route("/a\"b");
    let metrics = Metrics::new([Arc::clone(&a)]);
    for status in [503, 500, 503] {
        metrics.observe(&Event::Rerun { route: &a, status });
    }
    let text = metrics.render(TextFormat::Prometheus);
    let sample = "hapax_reruns_total{route=\"/a\\\"b\",status=\"503\"}";
    assert_eq!(value(&text, sample), 2.0);
}

#[test]
fn obs_02_sizes_are_those_last_looked_up() {
    let metrics = Metrics::new([]);
    metrics.flying(3);
    let now = Timestamp::from_micros(90_000_000);
    let since = Some(Timestamp::from_micros(30_000_000));
    metrics.sized(&Stats { bytes: 10, in_doubt: 2, in_doubt_since: since, now, records: 5 });
    metrics.swept(4, Duration::from_millis(3));
    let text = metrics.render(TextFormat::Prometheus);
    for (sample, expected) in [
        ("hapax_in_flight", 3.0),
        ("hapax_in_doubt", 2.0),
        ("hapax_in_doubt_oldest_seconds", 60.0),
        ("hapax_records", 5.0),
        ("hapax_store_bytes", 10.0),
        ("hapax_store_up", 1.0),
        ("hapax_swept_total", 4.0),
        ("hapax_sweep_seconds_count", 1.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    metrics.unsized_store();
    let text = metrics.render(TextFormat::Prometheus);
    assert_eq!(value(&text, "hapax_store_up"), 0.0);
    assert_eq!(value(&text, "hapax_records"), 5.0);
}

#[test]
fn obs_02_times_are_histograms() {
    let metrics = Metrics::new([]);
    metrics.observe(&Event::AddedTime(Duration::from_micros(80)));
    metrics.observe(&Event::UpstreamTime(Duration::from_secs(2)));
    metrics.observe(&Event::WaitTime(Duration::from_secs(99)));
    metrics.observe(&Event::ReplayAge(Duration::from_secs(3600)));
    metrics.observe(&Event::StoreTime { operation: "claim", time: Duration::from_millis(1) });
    metrics.observe(&Event::StoreTime { operation: "dance", time: Duration::from_millis(1) });
    let text = metrics.render(TextFormat::OpenMetrics);
    for (sample, expected) in [
        ("hapax_added_seconds_sum", 0.000_08),
        ("hapax_added_seconds_bucket{le=\"0.0001\"}", 1.0),
        ("hapax_upstream_seconds_count", 1.0),
        ("hapax_wait_seconds_bucket{le=\"30.0\"}", 0.0),
        ("hapax_wait_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("hapax_replay_age_seconds_bucket{le=\"3600.0\"}", 1.0),
        ("hapax_store_seconds_count{operation=\"claim\"}", 1.0),
        ("hapax_store_seconds_bucket{le=\"0.001\",operation=\"claim\"}", 1.0),
        ("hapax_store_seconds_count{operation=\"other\"}", 1.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE hapax_requests counter\n"));
}

#[test]
fn scrapers_get_the_text_that_they_prefer() {
    for (accept, format) in [
        (None, TextFormat::Prometheus),
        (Some("*/*"), TextFormat::Prometheus),
        (Some("application/openmetrics-text; version=1.0.0"), TextFormat::OpenMetrics),
        (
            Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"),
            TextFormat::OpenMetrics,
        ),
        (Some("application/openmetrics-text;q=0.1, text/plain"), TextFormat::Prometheus),
        (Some("application/openmetrics-text;q=x"), TextFormat::Prometheus),
    ] {
        assert_eq!(TextFormat::negotiate(accept), format, "{accept:?}");
    }
}

#[tokio::test]
async fn readers_hear_events_and_are_told_what_they_were_too_slow_for() {
    let a = route("/a");
    let metrics = Metrics::new([Arc::clone(&a)]);
    answer(&metrics, &a, Answer::Held);
    let mut reader = metrics.follow();
    metrics.observe(&Event::Rerun { route: &a, status: 500 });
    let event = reader.next().await.unwrap().unwrap();
    assert_eq!(
        (event.kind, event.status, event.route.as_deref()),
        ("rerun", Some(500), Some("/a"))
    );
    for _ in 0..FEED_EVENTS_MAX + 5 {
        answer(&metrics, &a, Answer::Replayed);
    }
    assert_eq!(reader.next().await, Some(Err(5)));
    let event = reader.next().await.unwrap().unwrap();
    assert_eq!((event.kind, event.record, event.word), ("answered", Some(id()), Some("replayed")));
}
