//! How many keys per second the store claims and completes, each durable before it is answered.
//!
//! `cargo run --release -p hapax-fjall --example pairs -- [KEYS] [SECONDS] [FOLDER]`
//!
//! Loads KEYS finished keys (100000), then measures 1, 16, 64 and 256 callers on two threads for
//! SECONDS (3) each, lookups of finished keys, and 64 callers while all KEYS expire and are swept.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hapax::{
    AttemptId, Claim, Claimed, Clock, Fingerprint, Kept, OnLapse, RecordId, RecordedResponse,
    Retention, Settlement, Settler, Store, SystemClock, Timestamp,
};
use hapax_fjall::{FileOptions, FileStore};

const DAY: Duration = Duration::from_secs(24 * 3600);
const BODY_BYTES: usize = 599;
const THREADS: u64 = 2;

/// The system's clock, moved on by as much as the program wants.
#[derive(Debug, Default)]
struct ShiftedClock(AtomicU64);

impl ShiftedClock {
    fn shift(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.shift())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + self.shift()
    }
}

fn scattered(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn id(n: u64) -> RecordId {
    let mut bytes = [0; 32];
    for (k, chunk) in (0..).zip(bytes.chunks_mut(8)) {
        chunk.copy_from_slice(&scattered(n * 4 + k).to_le_bytes());
    }
    RecordId::from_bytes(bytes)
}

fn claim(n: u64) -> Claim {
    let mut attempt = [0; 16];
    attempt[..8].copy_from_slice(&n.to_le_bytes());
    Claim {
        attempt: AttemptId::from_bytes(attempt),
        fingerprint: Fingerprint::from_parts(1, [1; 32]),
        id: id(n),
        on_lapse: OnLapse::Doubt,
        route: "/payments".into(),
        term: Duration::from_secs(10),
        transactional: None,
        unknown_retention: None,
    }
}

fn answer(n: u64) -> Settlement {
    let body: Vec<u8> = (0..BODY_BYTES as u64)
        .step_by(8)
        .flat_map(|k| scattered(n ^ (k << 40)).to_le_bytes())
        .take(BODY_BYTES)
        .collect();
    let kept = Kept::Response(RecordedResponse::value(body));
    Settlement::Complete { kept, retention: Retention::For(DAY) }
}

/// What a run of several callers came to.
#[derive(Default)]
struct Outcome {
    /// Microseconds per pair.
    micros: Vec<u32>,
    /// Pairs by tenth of a second.
    per_tenth: Vec<u64>,
}

struct Run {
    callers: u64,
    first: u64,
    /// Pairs to do, or all that the time allows.
    pairs_max: u64,
    store: Arc<FileStore>,
    time: Duration,
}

impl Run {
    /// Callers on two current-thread runtimes, as a thread-per-core gateway has them.
    fn go(&self) -> Outcome {
        let start = Instant::now();
        let next = AtomicU64::new(self.first);
        let stop = AtomicBool::new(false);
        let mut outcome = Outcome::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let mine = (self.callers + THREADS - 1 - thread) / THREADS;
                    let (next, stop) = (&next, &stop);
                    scope.spawn(move || self.thread(mine, start, next, stop))
                })
                .collect();
            for thread in threads {
                outcome.add(thread.join().unwrap_or_default());
            }
        });
        outcome.micros.sort_unstable();
        outcome
    }

    fn thread(&self, callers: u64, start: Instant, next: &AtomicU64, stop: &AtomicBool) -> Outcome {
        let caller = async || {
            let mut outcome = Outcome::default();
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= self.first.saturating_add(self.pairs_max) || start.elapsed() >= self.time {
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
                let begun = Instant::now();
                match self.store.claim(&claim(n)).await {
                    Ok(Claimed::Granted(lease)) => {
                        let settled = self.store.settle(&lease, &answer(n), Settler::Owner).await;
                        if let Err(error) = settled {
                            eprintln!("failed to settle: {error}");
                            break;
                        }
                    }
                    other => {
                        eprintln!("failed to claim {n}: {other:?}");
                        break;
                    }
                }
                outcome.micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                let tenth = (start.elapsed().as_millis() / 100) as usize;
                outcome.per_tenth.resize(outcome.per_tenth.len().max(tenth + 1), 0);
                outcome.per_tenth[tenth] += 1;
            }
            outcome
        };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
            return Outcome::default();
        };
        let mut outcome = Outcome::default();
        let all = (0..callers).map(|_| caller());
        for part in runtime.block_on(futures_util::future::join_all(all)) {
            outcome.add(part);
        }
        outcome
    }
}

impl Outcome {
    fn add(&mut self, part: Self) {
        self.micros.extend(part.micros);
        self.per_tenth.resize(self.per_tenth.len().max(part.per_tenth.len()), 0);
        for (sum, pairs) in self.per_tenth.iter_mut().zip(part.per_tenth) {
            *sum += pairs;
        }
    }
}

fn percentile(sorted: &[u32], percent: usize) -> u32 {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

/// Processor time of this process, user and system, in microseconds.
fn cpu_micros() -> u64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return 0;
    };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let own = tempfile::tempdir()?;
    let folder = arguments.next().map_or_else(|| own.path().join("store"), PathBuf::from);
    let clock = Arc::new(ShiftedClock::default());
    let options = || FileOptions { clock: clock.clone(), ..FileOptions::default() };

    let store = Arc::new(FileStore::open(&folder, options())?);
    let forever = Duration::from_secs(1 << 30);
    let begun = Instant::now();
    let load = Run { callers: 512, first: 0, pairs_max: keys, store: store.clone(), time: forever };
    load.go();
    drop(load);
    println!("{keys} keys loaded in {:.1} s", begun.elapsed().as_secs_f64());
    drop(store);
    let begun = Instant::now();
    let store = Arc::new(FileStore::open(&folder, options())?);
    println!("opened in {:.3} s", begun.elapsed().as_secs_f64());

    // The keys that are measured live in other buckets than those that expire later.
    clock.0.fetch_add(12 * 3600, Ordering::Relaxed);
    let mut first = 1 << 40;
    let time = Duration::from_secs(seconds);
    for callers in [1, 16, 64, 256] {
        let (cpu, work, begun) = (cpu_micros(), store.work(), Instant::now());
        let run = Run { callers, first, pairs_max: u64::MAX >> 1, store: store.clone(), time };
        let outcome = run.go();
        first += 1 << 32;
        let pairs = outcome.micros.len() as f64;
        let done = store.work();
        println!(
            "{callers:4} callers: {:7.0} pairs/s, {:6.1} us CPU/pair, p50 {:.2} ms, p99 {:.2} ms, \
             max {:.1} ms, {:.1} operations per sync",
            pairs / begun.elapsed().as_secs_f64(),
            (cpu_micros() - cpu) as f64 / pairs,
            f64::from(percentile(&outcome.micros, 50)) / 1e3,
            f64::from(percentile(&outcome.micros, 99)) / 1e3,
            f64::from(outcome.micros.last().copied().unwrap_or(0)) / 1e3,
            (done.operations - work.operations) as f64 / (done.syncs - work.syncs).max(1) as f64,
        );
    }
    lookups(&store, keys, time)?;
    expiry(&store, &clock, first, time)
}

fn lookups(store: &Arc<FileStore>, keys: u64, time: Duration) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (cpu, begun) = (cpu_micros(), Instant::now());
    let replays: u64 = runtime.block_on(async {
        let mut count = 0;
        while begun.elapsed() < time {
            let held = store.claim(&claim(scattered(count) % keys.max(1))).await;
            if !matches!(held, Ok(Claimed::Held(_))) {
                eprintln!("a finished key was not held: {held:?}");
            }
            count += 1;
        }
        count
    });
    println!(
        "   1 thread:  {:7.0} replays/s, {:.1} us CPU/replay",
        replays as f64 / begun.elapsed().as_secs_f64(),
        (cpu_micros() - cpu) as f64 / replays as f64
    );
    Ok(())
}

/// 64 callers; a third of the way in, every loaded key expires and is swept.
fn expiry(
    store: &Arc<FileStore>,
    clock: &Arc<ShiftedClock>,
    first: u64,
    time: Duration,
) -> Result<(), Box<dyn Error>> {
    let time = time.max(Duration::from_secs(3));
    let sweeper = {
        let (store, clock) = (store.clone(), clock.clone());
        std::thread::spawn(move || {
            std::thread::sleep(time / 3);
            clock.0.fetch_add(18 * 3600, Ordering::Relaxed);
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let begun = Instant::now();
            let mut swept = 0_u64;
            runtime.block_on(async {
                loop {
                    match store.sweep(NonZeroU32::MAX).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => swept += u64::from(count),
                    }
                }
            });
            Ok::<_, std::io::Error>((swept, begun.elapsed()))
        })
    };
    let run = Run { callers: 64, first, pairs_max: u64::MAX >> 1, store: store.clone(), time };
    let outcome = run.go();
    let (swept, took) = sweeper.join().map_err(|_panic| "the sweeper panicked")??;
    let tenths = (time.as_millis() / 300) as usize;
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len().max(1) as f64 * 10.0;
    let (before, after) = outcome.per_tenth.split_at(tenths.min(outcome.per_tenth.len()));
    println!(
        "expiry of {swept} keys took {:.1} ms of sweeping; 64 callers: {:.0} pairs/s before, {:.0} in \
         the {:.1} s after; slowest pair {:.1} ms",
        took.as_secs_f64() * 1e3,
        mean(before),
        mean(after),
        after.len() as f64 / 10.0,
        f64::from(outcome.micros.last().copied().unwrap_or(0)) / 1e3,
    );
    println!("pairs by tenth of a second: {:?}", outcome.per_tenth);
    Ok(())
}
