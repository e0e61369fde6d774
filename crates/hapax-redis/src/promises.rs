//! What the servers promise, asked at opening.

use std::collections::HashMap;

use hapax::{Guarantees, StoreError};
use redis::{Pipeline, Value};

use crate::error::{OpenError, Outage, told};
use crate::reply;
use crate::servers::Servers;
use crate::slots::Node;
use crate::wait::Wait;

/// The oldest version whose behaviour the steps rely on.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The version that has WAITAOF.
const VERSION_WAITAOF: (u32, u32) = (7, 2);

/// The version whose WAITAOF, under `appendfsync everysec`, no longer confirms what is not synced yet
/// (redis/redis#13793). Valkey, which began as version 7.2, does so still (seen in 8.0.1 and 8.1.1).
const VERSION_WAITAOF_EVERYSEC: (u32, u32) = (8, 0);

/// What one server has said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Promises {
    /// Whether every change is written to a file.
    appendonly: bool,
    /// When that file is put on the disk; `None` where it could not be asked.
    appendfsync: Option<String>,
    cluster: bool,
    /// Redis or Valkey, and its version.
    name: String,
    policy: String,
    replica: bool,
    /// Whether that file is left off the disk while it is written anew.
    rewrites_unsynced: bool,
    /// Whether snapshots are taken; `None` where it could not be asked.
    save: Option<bool>,
    server: String,
    valkey: bool,
    /// That of Redis whose behaviour it has.
    version: String,
}

impl Promises {
    pub(crate) async fn ask(servers: &Servers, node: &Node) -> Result<Self, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO");
        for setting in ["appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory-policy"] {
            commands.cmd("CONFIG").arg("GET").arg(setting);
        }
        let answers = servers.ask(node, &commands, servers.deadline()).await?;
        let mut answers = answers.into_iter();
        let info = match answers.next() {
            Some(Value::ServerError(error)) => {
                let text = told(&error);
                return Err(StoreError::none(Outage::Server { host: node.host.clone(), text }));
            }
            Some(other) => reply::into_bytes(other)?.unwrap_or_default(),
            None => Default::default(),
        };
        let info = read_info(&String::from_utf8_lossy(&info));
        // Where a service keeps CONFIG to itself, these are not known.
        let [appendfsync, unsynced, save, policy] =
            [(); 4].map(|()| answers.next().and_then(setting));
        let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
        let said = |name: &str| info.get(name).cloned();
        let version = said("redis_version").unwrap_or_default();
        let valkey = said("valkey_version");
        let name = valkey
            .as_ref()
            .map_or_else(|| format!("Redis {version}"), |version| format!("Valkey {version}"));
        Ok(Self {
            appendonly: is("aof_enabled", "1"),
            appendfsync,
            cluster: is("redis_mode", "cluster") || is("server_mode", "cluster"),
            name,
            policy: said("maxmemory_policy").or(policy).unwrap_or_default(),
            replica: is("role", "slave"),
            rewrites_unsynced: unsynced.as_deref() == Some("yes"),
            save: save.map(|rules| !rules.is_empty()),
            server: node.host.to_string(),
            valkey: valkey.is_some(),
            version,
        })
    }

    /// Whether a store can be kept there at all.
    pub(crate) fn check(&self, servers: &Servers, allow_eviction: bool) -> Result<(), OpenError> {
        self.check_as(servers.address.to_string(), servers.address.cluster, servers.wait())?;
        if allow_eviction || !self.evicts() {
            return Ok(());
        }
        Err(OpenError::Evicting {
            address: servers.address.to_string(),
            policy: self.policy.clone(),
            server: self.server.clone(),
        })
    }

    fn check_as(&self, address: String, cluster: bool, wait: Wait) -> Result<(), OpenError> {
        let server = self.server.clone();
        if !self.is_at_least(VERSION_MIN) {
            return Err(OpenError::Old { address, server, version: self.version.clone() });
        }
        if self.replica {
            return Err(OpenError::Replica { address, server });
        }
        if self.cluster != cluster {
            let (found, scheme) = if self.cluster {
                ("a node of a cluster", "redis-cluster")
            } else {
                ("no node of a cluster", "redis")
            };
            return Err(OpenError::Cluster { address, found, scheme, server });
        }
        match self.objection_to_fsync() {
            Some(reason) if wait.fsync => Err(OpenError::NoFsync { address, reason, server }),
            Some(_) | None => Ok(()),
        }
    }

    /// Why waiting for its disk would be in vain, or its word not be true.
    fn objection_to_fsync(&self) -> Option<&'static str> {
        if !self.is_at_least(VERSION_WAITAOF) {
            return Some("it is older than Redis 7.2; set `appendfsync` to always instead");
        }
        if !self.appendonly {
            return Some("`appendonly` is no; set it to yes");
        }
        let hasty = self.valkey || !self.is_at_least(VERSION_WAITAOF_EVERYSEC);
        match self.appendfsync.as_deref() {
            Some("always") => None,
            Some("no") => Some(
                "`appendfsync` is no, under which it never confirms anything; set it to always",
            ),
            Some(_) if hasty => Some(
                "`appendfsync` is everysec, under which Valkey, and Redis before 8, confirms what is \
                 not on its disk yet; set it to always",
            ),
            None if hasty => Some(
                "`appendfsync` cannot be asked, and under everysec Valkey, and Redis before 8, \
                 confirms what is not on its disk yet; set it to always, and allow CONFIG GET",
            ),
            Some(_) | None => None,
        }
    }

    /// Whether a full server throws records away: `volatile-*` too, since settled ones carry a time.
    fn evicts(&self) -> bool {
        !self.policy.is_empty() && self.policy != "noeviction"
    }

    fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        version >= wanted
    }

    fn is_durable(&self, wait: Wait) -> bool {
        let synced = self.appendfsync.as_deref() == Some("always") && !self.rewrites_unsynced;
        self.appendonly && (wait.fsync || synced)
    }

    /// What a crash forgets; the less is forgotten, the higher the rank.
    fn crash(&self, wait: Wait) -> (u8, &'static str) {
        if self.is_durable(wait) {
            return (5, "every answer survives a crash of the server and of its machine");
        }
        match (self.appendonly, self.appendfsync.as_deref(), self.save) {
            (true, Some("always" | "everysec"), _) if self.rewrites_unsynced => (
                3,
                "`no-appendfsync-on-rewrite` is yes: a crash of its machine while its file is \
                 rewritten may forget the last half minute, and a forgotten claim runs again",
            ),
            (true, Some("everysec"), _) => (
                4,
                "`appendfsync` is everysec: a crash of its machine may forget the last second, and a \
                 forgotten claim runs again",
            ),
            (true, Some(_), _) => (
                3,
                "`appendfsync` is no: a crash of its machine may forget the last half minute, and a \
                 forgotten claim runs again",
            ),
            (true, None, _) => (
                2,
                "`appendfsync` could not be asked: unless it is always, a crash of its machine may \
                 forget the last steps, and a forgotten claim runs again",
            ),
            (false, _, Some(true) | None) => (
                1,
                "`appendonly` is no: a crash of the server forgets whatever came after its last \
                 snapshot, and a forgotten claim runs again",
            ),
            (false, _, Some(false)) => (
                0,
                "nothing is kept on disk: a restart of the server forgets every key, and what is \
                 forgotten runs again",
            ),
        }
    }
}

/// What all servers together promise, for people and for the suite: as much as the weakest of them.
pub(crate) fn guarantees(all: &[Promises], address: &str, wait: Wait) -> Guarantees {
    let weakest = all.iter().min_by_key(|each| each.crash(wait).0);
    let (name, crash) =
        weakest.map_or(("Redis", ""), |weakest| (weakest.name.as_str(), weakest.crash(wait).1));
    let failover = match wait.replicas {
        0 => {
            "a failover to a replica may forget the last steps, since replication is asynchronous, \
              and a forgotten claim runs again"
                .to_owned()
        }
        1 => "each step waits for a replica, so a failover is unlikely to forget it, yet may"
            .to_owned(),
        more => {
            format!(
                "each step waits for {more} replicas, so a failover is unlikely to forget it, yet may"
            )
        }
    };
    let unsure = all.iter().find(|each| each.evicts() || each.policy.is_empty());
    let evicting = match unsure.map(|each| each.policy.as_str()) {
        None => String::new(),
        Some("") => "; `maxmemory-policy` could not be asked: unless it is noeviction, what is \
                     evicted runs again"
            .to_owned(),
        Some(policy) => format!("; `maxmemory-policy` is {policy}: what is evicted runs again"),
    };
    Guarantees {
        durable: !all.is_empty() && all.iter().all(|each| each.is_durable(wait)),
        shared: true,
        summary: format!("{name} at {address}: {crash}; {failover}{evicting}"),
    }
}

/// Lines of `name:value`.
fn read_info(text: &str) -> HashMap<String, String> {
    let lines = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value of a setting: the second of two.
fn setting(answer: Value) -> Option<String> {
    let Value::Array(both) = answer else { return None };
    let value = reply::bytes(both.get(1)?)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAIT: Wait = Wait { fsync: false, replicas: 0 };

    fn promises() -> Promises {
        Promises {
            appendonly: true,
            appendfsync: Some("always".to_owned()),
            cluster: false,
            name: "Redis 7.0.15".to_owned(),
            policy: "noeviction".to_owned(),
            replica: false,
            rewrites_unsynced: false,
            save: Some(true),
            server: "h:6379".to_owned(),
            valkey: false,
            version: "7.0.15".to_owned(),
        }
    }

    fn summary(promises: &Promises, wait: Wait) -> (bool, String) {
        let said = guarantees(std::slice::from_ref(promises), "redis://h:6379", wait);
        (said.durable, said.summary)
    }

    #[test]
    fn only_a_server_that_syncs_always_is_called_durable() {
        let with = |appendonly, appendfsync: Option<&str>, save| Promises {
            appendonly,
            appendfsync: appendfsync.map(str::to_owned),
            save,
            ..promises()
        };
        for (promises, durable, part) in [
            (promises(), true, "survives a crash"),
            (with(true, Some("everysec"), None), false, "the last second"),
            (with(true, Some("no"), None), false, "last half minute"),
            (with(true, None, None), false, "could not be asked"),
            (with(false, Some("always"), Some(true)), false, "last snapshot"),
            (with(false, Some("always"), Some(false)), false, "forgets every key"),
        ] {
            let said = summary(&promises, NO_WAIT);
            assert_eq!(said.0, durable, "{}", said.1);
            assert!(said.1.contains(part), "{}", said.1);
        }
        let hasty = Promises { rewrites_unsynced: true, ..promises() };
        let hastier = Promises { appendfsync: Some("everysec".to_owned()), ..hasty.clone() };
        for promises in [&hasty, &hastier] {
            let said = summary(promises, NO_WAIT);
            assert!(!said.0 && said.1.contains("while its file is rewritten"), "{}", said.1);
        }
        let waits = Wait { fsync: true, replicas: 0 };
        assert!(summary(&hasty, waits).0);
        assert!(summary(&with(true, Some("everysec"), None), waits).0);
    }

    #[test]
    fn the_weakest_server_is_told() {
        let weak = Promises { appendonly: false, save: Some(false), ..promises() };
        let said = guarantees(&[promises(), weak], "redis-cluster://h:1", NO_WAIT);
        assert!(!said.durable);
        assert!(said.summary.contains("forgets every key"), "{}", said.summary);
    }

    #[test]
    fn what_a_failover_may_forget_is_told() {
        assert!(summary(&promises(), NO_WAIT).1.contains("may forget the last steps"));
        let waits = Wait { fsync: false, replicas: 2 };
        assert!(summary(&promises(), waits).1.contains("waits for 2 replicas"));
        let evicting = Promises { policy: "volatile-lru".to_owned(), ..promises() };
        assert!(evicting.evicts());
        assert!(summary(&evicting, NO_WAIT).1.contains("what is evicted runs again"));
        let silent = Promises { policy: String::new(), ..promises() };
        assert!(!silent.evicts());
        assert!(summary(&silent, NO_WAIT).1.contains("`maxmemory-policy` could not be asked"));
    }

    #[test]
    fn unfit_servers_are_told_apart() {
        let check = |promises: Promises, cluster, fsync| {
            promises.check_as("a".to_owned(), cluster, Wait { fsync, replicas: 0 })
        };
        assert!(check(promises(), false, false).is_ok());
        let old = Promises { version: "6.0.16".to_owned(), ..promises() };
        assert!(matches!(check(old, false, false), Err(OpenError::Old { .. })));
        let replica = Promises { replica: true, ..promises() };
        assert!(matches!(check(replica, false, false), Err(OpenError::Replica { .. })));
        assert!(matches!(check(promises(), true, false), Err(OpenError::Cluster { .. })));
    }

    #[test]
    fn the_word_of_a_server_is_taken_only_where_it_is_true() {
        let with = |version: &str, valkey, appendonly, appendfsync: Option<&str>| {
            let appendfsync = appendfsync.map(str::to_owned);
            let version = version.to_owned();
            let promises = Promises { appendfsync, appendonly, valkey, version, ..promises() };
            assert!(promises.check_as("a".to_owned(), false, NO_WAIT).is_ok());
            let waits = Wait { fsync: true, replicas: 0 };
            promises.check_as("a".to_owned(), false, waits).map_err(|error| error.to_string())
        };
        for (version, valkey, appendonly, appendfsync, part) in [
            ("7.0.15", false, true, Some("always"), "older than Redis 7.2"),
            ("7.2.4", true, false, Some("always"), "`appendonly` is no"),
            ("7.2.4", true, true, Some("everysec"), "not on its disk yet; set it to always"),
            ("7.4.2", false, true, Some("everysec"), "not on its disk yet; set it to always"),
            ("7.2.4", true, true, None, "allow CONFIG GET"),
            ("8.0.2", true, true, Some("everysec"), "not on its disk yet"),
            ("8.0.2", false, true, Some("no"), "`appendfsync` is no"),
        ] {
            let why = with(version, valkey, appendonly, appendfsync).unwrap_err();
            assert!(why.contains(part), "{version} {appendfsync:?}: {why}");
        }
        assert_eq!(with("7.2.4", true, true, Some("always")), Ok(()));
        for appendfsync in [Some("always"), Some("everysec"), None] {
            assert_eq!(with("8.0.2", false, true, appendfsync), Ok(()));
        }
    }
}
