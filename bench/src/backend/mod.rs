//! The servers of shared stores: our own, with the durability they come with, on free ports and in
//! the bench's folder. Dropping them ends them.

mod cluster;
mod postgres;
mod redis;
mod resp;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::candidate::StoreKind;

pub(crate) use postgres::Postgres;
pub(crate) use redis::{Redis, Sync};
pub(crate) use resp::{Reply, Wire, monitored, pack};

/// All servers of one run.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    cluster: Vec<Redis>,
    pub(crate) postgres: Option<Postgres>,
    redis: BTreeMap<StoreKind, Redis>,
    /// What is not measured, and why.
    pub(crate) left_out: Vec<String>,
}

impl Backends {
    /// Starts every server whose program is installed.
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut backends = Self::default();
        match postgres::programs() {
            Some(programs) => {
                backends.postgres = Some(Postgres::start(&programs, &folder.join("postgres"))?);
            }
            None => backends.left_out.push("PostgreSQL is not installed".to_owned()),
        }
        let Some(program) = redis::program() else {
            backends.left_out.push("Redis is not installed".to_owned());
            return Ok(backends);
        };
        for (kind, sync, name) in [
            (StoreKind::RedisAlways, Sync::Always, "redis-always"),
            (StoreKind::RedisEverysec, Sync::Everysec, "redis-everysec"),
        ] {
            backends.redis.insert(kind, Redis::start(&program, &folder.join(name), sync)?);
        }
        backends.cluster = cluster::start(&program, &folder.join("cluster"))?;
        Ok(backends)
    }

    /// What a gateway's `store` is to be; `None` where there is no such server.
    pub(crate) fn url(&self, kind: StoreKind) -> Option<String> {
        match kind {
            StoreKind::File | StoreKind::Memory => None,
            StoreKind::Postgres => Some(self.postgres.as_ref()?.url()),
            StoreKind::RedisAlways | StoreKind::RedisEverysec => Some(self.redis(kind)?.url()),
            StoreKind::RedisCluster => {
                let nodes: Vec<String> =
                    self.cluster.iter().map(|node| node.address().to_string()).collect();
                (!nodes.is_empty()).then(|| format!("redis-cluster://{}", nodes.join(",")))
            }
        }
    }

    /// The servers behind a store that speak Redis's protocol.
    pub(crate) fn nodes(&self, kind: StoreKind) -> Vec<&Redis> {
        match kind {
            StoreKind::File | StoreKind::Memory | StoreKind::Postgres => Vec::new(),
            StoreKind::RedisAlways | StoreKind::RedisEverysec => {
                self.redis(kind).into_iter().collect()
            }
            StoreKind::RedisCluster => self.cluster.iter().collect(),
        }
    }

    /// The processes whose children's time counts as the store's.
    pub(crate) fn pids(&self, kind: StoreKind) -> Vec<u32> {
        match kind {
            StoreKind::Postgres => self.postgres.iter().map(Postgres::pid).collect(),
            StoreKind::File
            | StoreKind::Memory
            | StoreKind::RedisAlways
            | StoreKind::RedisCluster
            | StoreKind::RedisEverysec => self.nodes(kind).into_iter().map(Redis::pid).collect(),
        }
    }

    /// Gives a store up that no gateway serves from.
    pub(crate) fn leave_out(&mut self, kind: StoreKind, why: &str) {
        self.left_out.push(format!("{}: {}", kind.name(), why.trim_end_matches('.')));
        match kind {
            StoreKind::File | StoreKind::Memory => {}
            StoreKind::Postgres => self.postgres = None,
            StoreKind::RedisAlways | StoreKind::RedisEverysec => {
                self.redis.remove(&kind);
            }
            StoreKind::RedisCluster => self.cluster.clear(),
        }
    }

    /// Another Redis, empty, for a measurement of its own.
    pub(crate) fn another_redis(folder: &Path) -> io::Result<Option<Redis>> {
        redis::program().map(|program| Redis::start(&program, folder, Sync::Always)).transpose()
    }

    /// The versions of the servers, in a line each.
    pub(crate) fn versions(&self) -> Vec<String> {
        let postgres = self.postgres.iter().map(Postgres::version);
        let redis = self.redis.values().next().into_iter().filter_map(|redis| redis.version().ok());
        postgres.chain(redis).collect()
    }

    fn redis(&self, kind: StoreKind) -> Option<&Redis> {
        self.redis.get(&kind)
    }
}

/// A program on the search path, or in one of `more`.
fn find(name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(more.iter().cloned()).collect();
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}
