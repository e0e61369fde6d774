//! How many records there are, and how many are in doubt: counted on walks that never hurry.

use std::collections::HashSet;

use hapax::{RecordId, State, Stats, StoreError, Timestamp};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::names::Names;
use crate::reply::{into_bytes, number};
use crate::servers::Servers;
use crate::walk::{SLICE_KEYS, Walk};

/// Keys looked at for one call at most, about. A store with fewer is counted exactly, each time anew.
const LOOKS_MAX: usize = 50_000;

/// A walk remembers whom it met, as servers may show a key twice; beyond so many it does not.
const REMEMBERED_MAX: usize = 100_000;

/// The walk under way, and what the last one found.
#[derive(Debug, Default)]
pub(crate) struct Census {
    last: Option<Count>,
    met: HashSet<RecordId>,
    so_far: Count,
    walk: Option<Walk>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    in_doubt: u64,
    in_doubt_since: Option<Timestamp>,
    records: u64,
}

impl Count {
    fn add(&mut self, state: State, since: Timestamp) {
        if state == State::InDoubt {
            self.in_doubt += 1;
            self.in_doubt_since = Some(self.in_doubt_since.map_or(since, |at| at.min(since)));
        }
    }
}

impl Census {
    /// Walks on for a while, and says what is known.
    pub(crate) async fn go_on(
        &mut self,
        servers: &Servers,
        names: &Names,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Stats, StoreError> {
        // The rest of the time is for the servers' own sizes, and to be done in time.
        let enough = Instant::now() + servers.timeout() / 2;
        let mut looks = 0;
        let mut done = false;
        while !done && looks < LOOKS_MAX && Instant::now() < enough {
            done = match self.step(servers, names, now, deadline).await {
                Ok(done) => done,
                Err(error) => {
                    // Servers may have changed since it began.
                    self.walk = None;
                    return Err(error);
                }
            };
            looks += SLICE_KEYS;
        }
        let (bytes, keys) = sizes(servers, deadline).await?;
        // What is in doubt is told as soon as it is met.
        let count = match self.last {
            Some(last) if last.in_doubt >= self.so_far.in_doubt => last,
            Some(last) => Count { records: last.records, ..self.so_far },
            None => Count { records: keys, ..self.so_far },
        };
        Ok(Stats {
            bytes,
            in_doubt: count.in_doubt,
            in_doubt_since: count.in_doubt_since,
            now,
            records: count.records,
        })
    }

    /// One slice; whether it was the last.
    async fn step(
        &mut self,
        servers: &Servers,
        names: &Names,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None => {
                (self.met, self.so_far) = Default::default();
                self.walk.insert(Walk::start(servers, names, "", deadline).await?)
            }
        };
        let Some(slice) = walk.slice(servers, names, deadline).await? else {
            self.walk = None;
            self.last = Some(std::mem::take(&mut self.so_far));
            self.met = HashSet::new();
            return Ok(true);
        };
        let meanings = slice.meanings(servers, names, now, deadline).await?;
        for (id, meaning) in slice.ids.iter().zip(meanings) {
            if self.met.len() < REMEMBERED_MAX && !self.met.insert(*id) {
                continue;
            }
            self.so_far.records += 1;
            if let Some(meaning) = meaning {
                self.so_far.add(meaning.state, meaning.since);
            }
        }
        Ok(false)
    }
}

/// Bytes in memory, and all keys, of all servers: whoever else uses them is counted too.
async fn sizes(servers: &Servers, deadline: Instant) -> Result<(u64, u64), StoreError> {
    let (mut bytes, mut keys) = (0, 0);
    let mut commands = Pipeline::new();
    commands.cmd("INFO").arg("memory").cmd("DBSIZE");
    for node in servers.nodes_with_records() {
        let mut answers = servers.ask(&node, &commands, deadline).await?.into_iter();
        let info = into_bytes(answers.next().unwrap_or(Value::Nil))?.unwrap_or_default();
        let info = String::from_utf8_lossy(&info).into_owned();
        let used = info.lines().find_map(|line| line.trim_end().strip_prefix("used_memory:"));
        bytes += used.map_or(Ok(0), |used| number(used.as_bytes()))?;
        let size = into_bytes(answers.next().unwrap_or(Value::Nil))?;
        keys += size.map_or(Ok(0), |size| number(&size))?;
    }
    Ok((bytes, keys))
}
