//! What many records cost: throughput with them beside that with few, room, and their expiry.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::preload::{self, Batch};
use super::{Stores, USUAL_CONNECTIONS, WARM_UP, expiry};
use crate::backend::{Backends, Postgres, Redis};
use crate::candidate::{Candidate, StoreKind};
use crate::fleet::Fleet;
use crate::measure::{self, Figures, Setting};
use crate::options::Options;

/// Loading may get slower by this factor as the store grows, and be done before the first expiry.
const PACE_RESERVE: f64 = 1.3;

/// For whatever else has to be done before the first expiry.
const RESERVE: Duration = Duration::from_secs(5);

const FEW: &str = "bench_few";
const MANY: &str = "bench_many";

/// A store with few and with many records.
#[derive(Debug)]
pub(crate) struct Size {
    /// Bytes on disk of each record: tables and indexes, or the append-only file.
    pub(crate) disk_bytes: f64,
    pub(crate) few: Vec<Figures>,
    pub(crate) few_records: u64,
    pub(crate) kind: StoreKind,
    /// How long it took to load them.
    pub(crate) loaded_in: Duration,
    pub(crate) many: Vec<Figures>,
    /// Bytes of the server's memory for each record, where it keeps them there.
    pub(crate) memory_bytes: Option<f64>,
    pub(crate) records: u64,
}

/// The servers with many records.
struct Full<'a> {
    postgres: Option<&'a Postgres>,
    redis: Option<(Redis, Vec<Vec<u8>>)>,
}

/// Loads the stores, measures them with few and many records in turn, then while those expire.
pub(super) fn run(
    options: &Options,
    gateway: &Path,
    home: &Path,
    backends: &Backends,
    records: u64,
    stores: &mut Stores,
) -> io::Result<()> {
    let mut few = Fleet::start(&[], Some(gateway), &home.join("few"))?;
    let mut many = Fleet::start(&[], Some(gateway), &home.join("many"))?;
    let full = open(backends, home, &mut many)?;
    for (kind, url) in full.places(backends) {
        few.start_shared(kind, &url, FEW)?;
        let first = Candidate::First(kind);
        few.fill(first, first.path(), options.live_keys())?;
    }
    let turns = options.repetitions() as u32 * 4;
    let measuring = turns * (WARM_UP + options.measured_on_stores() + Duration::from_millis(300));
    let expires = load(&full, records, options, measuring, stores)?;
    measure_in_turn(options, backends, &full, &few, &many, stores)?;
    for kind in full.kinds() {
        few.end(kind);
    }
    let mut first_expiry = expires;
    for kind in full.kinds() {
        let server = full.redis.as_ref().map(|(server, _)| server);
        stores.expiries.push(expiry::run(kind, &many, server, records, first_expiry)?);
        first_expiry += expiry::WHOLE;
    }
    Ok(())
}

impl Full<'_> {
    fn kinds(&self) -> Vec<StoreKind> {
        let postgres = self.postgres.map(|_| StoreKind::Postgres);
        let redis = self.redis.as_ref().map(|_| StoreKind::RedisAlways);
        postgres.into_iter().chain(redis).collect()
    }

    /// Where the gateways with few records find their stores.
    fn places(&self, backends: &Backends) -> Vec<(StoreKind, String)> {
        self.kinds().into_iter().filter_map(|kind| Some((kind, backends.url(kind)?))).collect()
    }
}

/// Starts the gateways that will have many records, and has each make the record that is copied.
fn open<'a>(backends: &'a Backends, home: &Path, many: &mut Fleet) -> io::Result<Full<'a>> {
    let mut full = Full { postgres: None, redis: None };
    if let Some(server) = &backends.postgres {
        many.start_shared(StoreKind::Postgres, &server.url(), MANY)?;
        let first = Candidate::First(StoreKind::Postgres);
        many.fill(first, first.path(), 1)?;
        full.postgres = Some(server);
    }
    if !backends.nodes(StoreKind::RedisAlways).is_empty()
        && let Some(server) = Backends::another_redis(&home.join("servers").join("redis-many"))?
    {
        let kind = StoreKind::RedisAlways;
        many.start_shared(kind, &server.url(), MANY)?;
        let first = Candidate::First(kind);
        many.fill(first, first.path(), 1)?;
        let record = super::raw_redis::only_record(&server, MANY)?;
        full.redis = Some((server, record));
    }
    Ok(full)
}

/// Loads all stores; returns when the first record will expire.
fn load(
    full: &Full<'_>,
    records: u64,
    options: &Options,
    measuring: Duration,
    stores: &mut Stores,
) -> io::Result<SystemTime> {
    let sample = Batch::sample(records);
    let scale = PACE_RESERVE * records as f64 / sample.count().max(1) as f64;
    let mut ahead = measuring + expiry::BEFORE + RESERVE;
    let before = match &full.redis {
        Some((server, _)) => room(server)?,
        None => (0.0, 0.0),
    };
    if let Some(server) = full.postgres {
        ahead += preload::postgres(server, MANY, sample)?.mul_f64(scale);
    }
    if let Some((server, record)) = &full.redis {
        ahead += preload::redis(server, MANY, record, sample)?.mul_f64(scale);
    }
    eprintln!("loading {records} records, the first of which expires in {ahead:?}");
    let expires = SystemTime::now() + ahead;
    let size = |kind, loaded_in, disk_bytes, memory_bytes| Size {
        disk_bytes,
        few: Vec::new(),
        few_records: options.live_keys(),
        kind,
        loaded_in,
        many: Vec::new(),
        memory_bytes,
        records,
    };
    let mut expiring = expires;
    if let Some(server) = full.postgres {
        let took = preload::postgres(server, MANY, Batch::rest(records, expiring))?;
        preload::settle_postgres(server, MANY)?;
        let bytes = server.number(&format!(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits \
             WHERE inhparent = '{MANY}.record'::regclass"
        ))?;
        stores.sizes.push(size(StoreKind::Postgres, took, bytes / records as f64, None));
        expiring += expiry::WHOLE;
    }
    if let Some((server, record)) = &full.redis {
        let took = preload::redis(server, MANY, record, Batch::rest(records, expiring))?;
        let (memory, disk) = room(server)?;
        let each = |after: f64, before: f64| (after - before) / records as f64;
        let memory = each(memory, before.0);
        let kind = StoreKind::RedisAlways;
        stores.sizes.push(size(kind, took, each(disk, before.1), Some(memory)));
    }
    Ok(expires)
}

/// Bytes that a Redis has in memory and in its append-only file.
fn room(server: &Redis) -> io::Result<(f64, f64)> {
    let memory = server.number("memory", "used_memory")?;
    Ok((memory, server.number("persistence", "aof_current_size")?))
}

fn measure_in_turn(
    options: &Options,
    backends: &Backends,
    full: &Full<'_>,
    few: &Fleet,
    many: &Fleet,
    stores: &mut Stores,
) -> io::Result<()> {
    let connections = USUAL_CONNECTIONS;
    let setting = Setting { connections, warm_up: WARM_UP, measured: options.measured_on_stores() };
    let start = Instant::now();
    for repetition in 1..=options.repetitions() {
        for size in &mut stores.sizes {
            let first = Candidate::First(size.kind);
            let full_pids = match (size.kind, &full.redis) {
                (StoreKind::RedisAlways, Some((server, _))) => vec![server.pid()],
                _ => backends.pids(size.kind),
            };
            for (fleet, pids, into) in
                [(few, backends.pids(size.kind), &mut size.few), (many, full_pids, &mut size.many)]
            {
                let keys = Fleet::keys(first, 0, start.elapsed().as_nanos() as u64);
                into.extend(measure::measure(fleet, first, keys, setting, &pids)?);
            }
            if let (Some(few), Some(many)) = (size.few.last(), size.many.last()) {
                let (few, many) = (few.requests_per_second, many.requests_per_second);
                let name = size.kind.name();
                eprintln!(
                    "few and many records, repetition {repetition}: {name}: {few:.0}/s, {many:.0}/s"
                );
            }
        }
    }
    Ok(())
}
