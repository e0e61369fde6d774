//! One measurement: one candidate, one load, its figures.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::fleet::Fleet;
use crate::load::{self, Keys, Load};
use crate::machine;
use crate::upstream;

/// How a measurement is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What one measurement has shown.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    /// Processor time of the process under test per request; none for the upstream itself.
    pub(crate) processor_us: Option<f64>,
    /// The same of the shared store's processes; none where there is no such store.
    pub(crate) store_us: Option<f64>,
    /// Over the whole load, warm-up included, so that it can be exact.
    pub(crate) upstream_calls: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// Measures a candidate; `None` where it is not there. `store_pids` are the processes of the shared
/// store behind it.
pub(crate) fn measure(
    fleet: &Fleet,
    candidate: Candidate,
    keys: Keys,
    setting: Setting,
    store_pids: &[u32],
) -> io::Result<Option<Figures>> {
    let Some(server) = fleet.server(candidate) else { return Ok(None) };
    let calls_before = upstream::count(fleet.upstream.address)?;
    let from = Instant::now() + setting.warm_up;
    let until = from + setting.measured;
    let load = Load {
        address: server.address,
        path: candidate.path(),
        connections: setting.connections,
        keys,
        from,
        until,
    };
    let running = load::start(&load);
    wait_until(from);
    let times = || Ok::<_, io::Error>((machine::processor_time(server.pid())?, sum(store_pids)?));
    let (started, (before, store_before)) = (Instant::now(), times()?);
    wait_until(until);
    let (ended, (after, store_after)) = (Instant::now(), times()?);
    let seen = running.finish()?;
    let calls = upstream::count(fleet.upstream.address)? - calls_before;
    let answers = seen.latencies.count();
    let seconds = (ended - started).as_secs_f64();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / answers.max(1) as f64;
    Ok(Some(Figures {
        requests_per_second: answers as f64 / seconds,
        p50: seen.latencies.quantile(0.5),
        p99: seen.latencies.quantile(0.99),
        longest: seen.latencies.longest(),
        processor_us: (candidate != Candidate::Direct).then(|| each(after - before)),
        store_us: (!store_pids.is_empty()).then(|| each(store_after.saturating_sub(store_before))),
        upstream_calls: calls as f64 / seen.answered.max(1) as f64,
        errors: seen.errors,
        first_error: seen.first_error,
    }))
}

/// The processor time of several processes and their children.
pub(crate) fn sum(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| machine::processor_time(*pid)).sum()
}

/// A load runs by the clock, so its observer does too.
pub(crate) fn wait_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
