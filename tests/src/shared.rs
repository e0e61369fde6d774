//! Stores that several gateways share, and a place of a test's own in one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Postgres, Redis, RedisCluster, Settings, eventually};

/// A kind of store that several gateways share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shared {
    /// A PostgreSQL.
    Postgres,
    /// A Redis or Valkey.
    Redis,
    /// A Redis cluster.
    RedisCluster,
}

impl Shared {
    /// The variable that names the server which all tests share.
    const fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "HAPAX_TEST_POSTGRES_URL",
            Self::Redis => "HAPAX_TEST_REDIS_URL",
            Self::RedisCluster => "HAPAX_TEST_REDIS_CLUSTER",
        }
    }

    /// The address of the server that all tests share. It is not to be harmed.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn url(self) -> String {
        let name = self.variable();
        let url = std::env::var(name).ok().filter(|url| !url.is_empty());
        url.unwrap_or_else(|| {
            panic!("{name} is not set; `cargo xtask test` starts a server and sets it")
        })
    }
}

/// Records that no other test sees: a schema, or a prefix. What is in a shared server is removed when
/// this is dropped.
#[derive(Debug)]
pub struct Place {
    is_lent: bool,
    kind: Shared,
    name: String,
    url: String,
}

impl Place {
    /// One in the server that all tests share.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn take(kind: Shared) -> Self {
        let mut place = Self::at(kind, kind.url());
        place.is_lent = true;
        place
    }

    /// One in a server of the test's own.
    #[must_use]
    pub fn at(kind: Shared, url: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Process ids come again on a server that outlives the tests.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("e2e_{now:x}_{}_{number}", std::process::id());
        Self { is_lent: false, kind, name, url }
    }

    /// The same place behind another address, or its like in another server.
    #[must_use]
    pub fn seen_at(&self, url: String) -> Self {
        Self { is_lent: false, kind: self.kind, name: self.name.clone(), url }
    }

    /// What a gateway with this store is started with. Each start is another gateway on it.
    #[must_use]
    pub fn settings(&self, upstream: &str) -> Settings {
        Settings::new(upstream).store(&self.url).table(&self.table())
    }

    /// What the file of settings says of it.
    #[must_use]
    pub fn table(&self) -> String {
        match self.kind {
            Shared::Postgres => format!("[postgres]\nschema = \"{}\"\n", self.name),
            Shared::Redis | Shared::RedisCluster => {
                format!("[redis]\nprefix = \"{}\"\n", self.name)
            }
        }
    }

    /// What kind of store it is in.
    #[must_use]
    pub const fn kind(&self) -> Shared {
        self.kind
    }

    /// Its schema or prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of its store.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its server listens, or the first of them.
    ///
    /// # Panics
    /// When its address says that in no numbers.
    #[must_use]
    pub fn host(&self) -> SocketAddr {
        *hosts(&self.url).first().expect("the server's address is plain HOST:PORT")
    }

    fn clear(&self) {
        match self.kind {
            Shared::Postgres => {
                let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name);
                let quiet = format!("SET client_min_messages = warning; {drop}");
                // A session that a killed gateway left may be in its way for a moment.
                eventually("it is cleared", || Postgres::try_at(&self.url, &quiet).is_ok());
            }
            Shared::Redis | Shared::RedisCluster => {
                for address in hosts(&self.url) {
                    forget(address, &self.name);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After a failure, what is there may tell why.
        if self.is_lent && !std::thread::panicking() {
            self.clear();
        }
    }
}

/// The servers of an address, those that it names by number.
fn hosts(url: &str) -> Vec<SocketAddr> {
    let parts = url.split(['/', '@', ',', '?']);
    parts.filter_map(|host| host.parse().ok()).collect()
}

fn forget(address: SocketAddr, prefix: &str) {
    let pattern = format!("{prefix}*");
    let mut cursor = "0".to_owned();
    loop {
        let found = Redis::ask_at(address, &["SCAN", &cursor, "MATCH", &pattern, "COUNT", "1000"]);
        let [next, keys] = <[_; 2]>::try_from(found.list()).expect("a cursor and keys");
        for key in keys.list() {
            let _there_or_not = Redis::ask_at(address, &["UNLINK", &key.text()]);
        }
        cursor = next.text();
        if cursor == "0" {
            return;
        }
    }
}

/// A server of a test's own that can be killed, paused and started again.
#[derive(Debug)]
pub enum Server {
    /// A PostgreSQL.
    Postgres(Postgres),
    /// A Redis.
    Redis(Redis),
    /// A Redis cluster; what is done is done to one node, or to all.
    RedisCluster(RedisCluster, Option<usize>),
}

impl Server {
    /// An empty one.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(kind: Shared) -> Self {
        match kind {
            Shared::Postgres => Self::Postgres(Postgres::start()),
            Shared::Redis => Self::Redis(Redis::start()),
            Shared::RedisCluster => Self::RedisCluster(RedisCluster::start(), None),
        }
    }

    /// A place in it.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Postgres(server) => Place::at(Shared::Postgres, server.url()),
            Self::Redis(server) => Place::at(Shared::Redis, server.url()),
            Self::RedisCluster(cluster, _) => Place::at(Shared::RedisCluster, cluster.url()),
        }
    }

    /// Says by any number which node of a cluster is meant from now on, and not all.
    pub fn choose(&mut self, number: u64) {
        if let Self::RedisCluster(cluster, node) = self {
            *node = usize::try_from(number % cluster.size()).ok();
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        match self {
            Self::Postgres(server) => server.kill(),
            Self::Redis(server) => server.kill(),
            Self::RedisCluster(cluster, node) => cluster.nodes_mut(*node).for_each(Redis::kill),
        }
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        match self {
            Self::Postgres(server) => server.stop(),
            Self::Redis(server) => server.stop(),
            Self::RedisCluster(cluster, node) => cluster.nodes_mut(*node).for_each(Redis::stop),
        }
    }

    /// Starts it again on its folder.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        match self {
            Self::Postgres(server) => server.start_again(),
            Self::Redis(server) => server.start_again(),
            Self::RedisCluster(cluster, node) => {
                cluster.nodes_mut(*node).for_each(Redis::start_again);
                cluster.await_whole();
            }
        }
    }

    /// Stops it as if its machine were suspended.
    pub fn pause(&self) {
        match self {
            Self::Postgres(server) => server.pause(),
            Self::Redis(server) => server.pause(),
            Self::RedisCluster(cluster, node) => cluster.nodes(*node).for_each(Redis::pause),
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        match self {
            Self::Postgres(server) => server.resume(),
            Self::Redis(server) => server.resume(),
            Self::RedisCluster(cluster, node) => cluster.nodes(*node).for_each(Redis::resume),
        }
    }
}
