//! What shared stores cost: the gateway on PostgreSQL and Redis beside its own pass-through, and
//! beside bare clients that send the same stores the same.

mod expiry;
mod postgres;
mod preload;
mod raw_redis;
mod size;
mod trips;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::backend::Backends;
use crate::block::Block;
use crate::candidate::{Candidate, StoreKind};
use crate::expiry::Expiry;
use crate::fleet::Fleet;
use crate::measure::{self, Setting};
use crate::options::Options;

pub(crate) use size::Size;
pub(crate) use trips::{Counted, Trips};

/// Connections of the table that bare clients are in too, and of what follows it.
pub(crate) const USUAL_CONNECTIONS: usize = 64;

const WARM_UP: Duration = Duration::from_millis(500);

/// What the part about stores has measured.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    pub(crate) blocks: Vec<Block>,
    pub(crate) expiries: Vec<Expiry>,
    pub(crate) left_out: Vec<String>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) trips: Vec<Trips>,
    pub(crate) versions: Vec<String>,
}

impl Stores {
    pub(crate) fn errors(&self) -> u64 {
        let blocks = self.blocks.iter().flat_map(|block| block.figures.values().flatten());
        let sizes = self.sizes.iter().flat_map(|size| size.few.iter().chain(&size.many));
        blocks.chain(sizes).map(|figures| figures.errors).sum::<u64>()
            + self.expiries.iter().map(|expiry| expiry.errors).sum::<u64>()
    }
}

/// Starts the servers and measures everything; ends them at the end.
pub(crate) fn run(options: &Options, gateway: &Path, folder: &Path) -> io::Result<Stores> {
    let home = folder.join("stores");
    let mut backends = Backends::start(&home.join("servers"))?;
    let mut stores = Stores { versions: backends.versions(), ..Stores::default() };
    let mut raw = Raw::default();
    for kind in StoreKind::SHARED {
        let Some(url) = backends.url(kind) else { continue };
        eprintln!("counting round trips: {}", kind.name());
        let mut fleet = Fleet::start(&[], Some(gateway), &home.join(format!("trips-{kind:?}")))?;
        if let Err(error) = fleet.start_shared(kind, &url, "bench_trips") {
            // The last line a program prints is what it ended with.
            let why = error.to_string();
            backends.leave_out(kind, why.trim().lines().last().unwrap_or("no reason is known"));
            continue;
        }
        fleet.end(kind);
        stores.trips.push(trips::count(kind, &mut fleet, &backends)?);
        raw.learn(kind, &mut fleet, &backends, &home)?;
    }
    for connections in options.connections() {
        let block = block(options, gateway, &home, &backends, &raw, connections)?;
        stores.blocks.push(block);
    }
    if let Some(records) = options.stored_records() {
        size::run(options, gateway, &home, &backends, records, &mut stores)?;
    }
    stores.left_out.clone_from(&backends.left_out);
    drop(backends);
    fs::remove_dir_all(&home)?;
    Ok(stores)
}

/// What bare clients send.
#[derive(Debug, Default)]
struct Raw {
    postgres: Option<postgres::Pgbench>,
    redis: Option<raw_redis::Commands>,
}

impl Raw {
    /// Lets a gateway run one request, and writes down what it sends to its store.
    fn learn(
        &mut self,
        kind: StoreKind,
        fleet: &mut Fleet,
        backends: &Backends,
        home: &Path,
    ) -> io::Result<()> {
        match kind {
            StoreKind::Postgres => {
                if let Some(server) = &backends.postgres {
                    self.postgres = Some(postgres::learn(fleet, server, home)?);
                }
            }
            StoreKind::RedisAlways => {
                if let Some(server) = backends.nodes(kind).first() {
                    self.redis = Some(raw_redis::learn(kind, fleet, server)?);
                }
            }
            StoreKind::File
            | StoreKind::Memory
            | StoreKind::RedisCluster
            | StoreKind::RedisEverysec => {}
        }
        Ok(())
    }

    fn measure(
        &self,
        kind: StoreKind,
        backends: &Backends,
        setting: Setting,
    ) -> io::Result<Option<measure::Figures>> {
        match (kind, &self.postgres, &self.redis, &backends.postgres) {
            (StoreKind::Postgres, Some(pgbench), _, Some(server)) => {
                pgbench.measure(server, setting).map(Some)
            }
            (StoreKind::RedisAlways | StoreKind::RedisEverysec, _, Some(commands), _) => {
                match backends.nodes(kind).first() {
                    Some(server) => commands.measure(server, setting).map(Some),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }
}

/// The candidates at so many connections. Bare clients have as many as their figures were made for,
/// so they are in one table only.
fn candidates(connections: usize) -> Vec<Candidate> {
    let usual = connections == USUAL_CONNECTIONS;
    let kinds: &[StoreKind] =
        if usual { &StoreKind::SHARED } else { &[StoreKind::Postgres, StoreKind::RedisAlways] };
    let mut candidates = vec![Candidate::PassThrough];
    for kind in kinds {
        candidates.extend([Candidate::First(*kind), Candidate::Replay(*kind)]);
        if usual && *kind != StoreKind::RedisCluster {
            candidates.push(Candidate::Raw(*kind));
        }
    }
    candidates
}

fn block(
    options: &Options,
    gateway: &Path,
    home: &Path,
    backends: &Backends,
    raw: &Raw,
    connections: usize,
) -> io::Result<Block> {
    let live_keys = options.live_keys();
    let candidates = candidates(connections);
    let folder = home.join(format!("block-{connections}"));
    let mut fleet = Fleet::start(&candidates, Some(gateway), &folder)?;
    for kind in StoreKind::SHARED {
        let first = Candidate::First(kind);
        if let (true, Some(url)) = (candidates.contains(&first), backends.url(kind)) {
            fleet.start_shared(kind, &url, &format!("bench_{connections}"))?;
            eprintln!("filling {} with {live_keys} keys", kind.name());
            fleet.fill(first, first.path(), live_keys)?;
        }
    }
    let setting = Setting { connections, warm_up: WARM_UP, measured: options.measured_on_stores() };
    let mut block = Block::new(connections, live_keys, &candidates);
    block.turns(options.repetitions(), |candidate, turn| {
        if let Candidate::Raw(kind) = candidate {
            return raw.measure(kind, backends, setting);
        }
        let keys = Fleet::keys(candidate, live_keys, turn);
        let pids = candidate.store().map_or_else(Vec::new, |kind| backends.pids(kind));
        measure::measure(&fleet, candidate, keys, setting, &pids)
    })?;
    Ok(block)
}
