//! Why a store does not open, and what the server's errors mean for an operation.

use std::time::Duration;

use hapax::StoreError;
use redis::{RedisError, ServerError};

use crate::address::Host;

/// Why a server could not be opened as a store. Nothing on it was changed.
///
/// Messages name servers, never a password; a server's own words may name the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is none.
    #[error(
        "understand the store's address: {reason}; write redis://USER:PASSWORD@HOST:PORT, \
         rediss://HOST:PORT (TLS) or redis-cluster://HOST:PORT,HOST:PORT"
    )]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// The server is a node of a cluster, or no server of the list is.
    #[error("open `{address}`: {server} is {found}; write {scheme}://... for it")]
    Cluster {
        /// The address.
        address: String,
        /// What it is.
        found: &'static str,
        /// The scheme to use.
        scheme: &'static str,
        /// Which server.
        server: String,
    },
    /// The server does not know the user, or the password is another one.
    #[error(
        "open `{address}`: {server} {reason}; put the right ones into `store`, as \
         USER:PASSWORD@HOST:PORT, percent-encoded, or :PASSWORD@HOST:PORT where there are no users"
    )]
    Credentials {
        /// The address.
        address: String,
        /// What it said to them.
        reason: &'static str,
        /// Which server.
        server: String,
    },
    /// The server has no database of that number.
    #[error(
        "open `{address}`: {server} does not open the database at the end of `store` ({reason}); name \
         a lower number there, or raise `databases` on the server"
    )]
    Database {
        /// The address.
        address: String,
        /// What the server said.
        reason: String,
        /// Which server.
        server: String,
    },
    /// The server may throw records away when its memory is full.
    #[error(
        "open `{address}`: `maxmemory-policy` of {server} is {policy}, and a claim that is evicted runs \
         again; set it to noeviction, or set `[redis] allow_eviction = true`"
    )]
    Evicting {
        /// The address.
        address: String,
        /// The policy.
        policy: String,
        /// Which server.
        server: String,
    },
    /// A newer release made the records.
    #[error(
        "open `{address}`: its format is version {version} and this release knows {known}; run the \
         newer release"
    )]
    Newer {
        /// The address.
        address: String,
        /// The newest version this release knows.
        known: u64,
        /// Its version.
        version: u64,
    },
    /// The server cannot wait for its disk.
    #[error("open `{address}`: waiting for the disk of {server} is asked for, and {reason}")]
    NoFsync {
        /// The address.
        address: String,
        /// Why it cannot, and the mend.
        reason: &'static str,
        /// Which server.
        server: String,
    },
    /// The server is too old.
    #[error("open `{address}`: {server} runs Redis {version}; 6.2 or later is needed")]
    Old {
        /// The address.
        address: String,
        /// Which server.
        server: String,
        /// Its version.
        version: String,
    },
    /// The user may not do what it must.
    #[error(
        "open `{address}`: {server} does not let the user of `store` do what it must ({reason}); allow \
         it with ACL SETUSER USER ~{prefix}:* &{prefix}:settled +@all -@admin -@dangerous +info \
         +config|get"
    )]
    Permission {
        /// The address.
        address: String,
        /// What the store's keys begin with.
        prefix: String,
        /// What the server said.
        reason: String,
        /// Which server.
        server: String,
    },
    /// The prefix of the keys is none.
    #[error("understand prefix `{prefix}`: use up to 40 letters, digits, `_`, `-`, `.` and `:`")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// Its records were made with another secret or under other scope rules.
    #[error(
        "open `{address}`: its records were made with another `secret` or other scope rules \
         (`principal`, `authority`), so they would not be found; set them back, or name another \
         server, database or prefix"
    )]
    Refused {
        /// The address.
        address: String,
    },
    /// It is a replica.
    #[error("open `{address}`: {server} is a replica; name the master")]
    Replica {
        /// The address.
        address: String,
        /// Which server.
        server: String,
    },
    /// It did not answer, or answered with an error.
    #[error("open `{address}`: {source}")]
    Unavailable {
        /// The address.
        address: String,
        /// Why.
        source: StoreError,
    },
}

/// Why an operation has no answer, in words for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Outage {
    #[error("no connection to {host} could be made: {source}")]
    Connect { host: Host, source: RedisError },
    #[error("the connection to {host} was lost: {source}")]
    Lost { host: Host, source: RedisError },
    #[error("no answer came from {host} within {} ms", .limit.as_millis())]
    NoAnswer { host: Host, limit: Duration },
    #[error("no connection to {host} could be made within {} ms", .limit.as_millis())]
    NoConnection { host: Host, limit: Duration },
    #[error("the cluster's servers pass it on for ever")]
    Redirected,
    #[error("{host} refused it: {text}")]
    Server { host: Host, text: String },
    #[error("only {acknowledged} of {wanted} replicas have it{with_disk} by now")]
    Replicas { acknowledged: u64, wanted: u32, with_disk: &'static str },
    #[error("it is not on the server's disk by now")]
    NotOnDisk,
    #[error("{host} is not the server that the cluster names there")]
    Stranger { host: Host },
    #[error("no server of the cluster says who holds the record")]
    Unowned,
}

/// Why a connection gave no answers.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was made to a server that is not this store's.
    Foreign(String),
    /// It was not there: nothing was sent.
    Unreached(Outage),
    /// It broke before the answer came.
    Lost(Outage),
    /// The time was over before the answer came.
    Late(Outage),
}

/// What a server's error means for a step.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This one step is for another server.
    Ask(Host),
    /// The server is no master any more, which is all that is known.
    Demoted(StoreError),
    /// The step is for another server from now on.
    Moved,
    /// The server does not know the script.
    NoScript,
    /// It is over.
    Over(StoreError),
    /// The same may succeed in a moment.
    TryAgain,
}

/// Errors that come before anything happens. Those that a script meets come at its first write.
const CERTAIN: [&str; 9] = [
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOREPLICAS",
    "READONLY",
    "WRONGPASS",
];

impl Refusal {
    pub(crate) fn of(error: &ServerError, host: &Host, cluster: bool) -> Self {
        let (code, details) = (error.code(), error.details().unwrap_or_default());
        let text = told(error);
        if code == "NOSCRIPT" {
            return Self::NoScript;
        }
        if cluster {
            match code {
                // `1234 host:port`, without a host if it is the same.
                "ASK" => {
                    let node = details.split(' ').nth(1).unwrap_or_default();
                    let named = Host::parse(node).or_else(|reason| {
                        let port = node.strip_prefix(':').and_then(|port| port.parse().ok());
                        let port = port.ok_or(reason)?;
                        Ok::<_, String>(Host { name: host.name.clone(), port })
                    });
                    return named.map_or(Self::Moved, Self::Ask);
                }
                "MOVED" => return Self::Moved,
                "TRYAGAIN" => return Self::TryAgain,
                _ => {}
            }
        }
        let demoted = ["MASTERDOWN", "READONLY"].iter().any(|name| names(name, code, &text));
        let error = meaning(code, text, host);
        if demoted { Self::Demoted(error) } else { Self::Over(error) }
    }
}

/// A server's error as it came over the wire.
pub(crate) fn told(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// Before version 7, what a script met is told within an error of another code.
fn names(name: &str, code: &str, text: &str) -> bool {
    code == name || text.contains(&format!("-{name} "))
}

fn meaning(code: &str, text: String, host: &Host) -> StoreError {
    let names = |name: &str| names(name, code, &text);
    if text.contains("OOM command not allowed") {
        return StoreError::Full;
    }
    if names("WRONGTYPE") || text.contains("the history has a version") {
        return StoreError::Damaged(text);
    }
    let certain = CERTAIN.iter().any(|name| names(name))
        // A right that is missing within a script may be missed after its first write.
        || (code == "NOPERM" && !text.contains("script"));
    let outage = Outage::Server { host: host.clone(), text };
    if certain { StoreError::none(outage) } else { StoreError::unknown(outage) }
}

impl Trouble {
    /// What the operation answers, if it may have been `sent` before.
    pub(crate) fn into_error(self, sent: bool) -> StoreError {
        match self {
            Self::Unreached(outage) if !sent => StoreError::none(outage),
            Self::Unreached(outage) | Self::Lost(outage) | Self::Late(outage) => {
                StoreError::unknown(outage)
            }
            Self::Foreign(why) if !sent => StoreError::Refused(why),
            Self::Foreign(why) => StoreError::unknown(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use hapax::Effect;
    use redis::Value;

    use super::*;

    fn host() -> Host {
        Host { name: "h".to_owned(), port: 1 }
    }

    /// What an error means that comes over the wire as this line.
    fn refusal(line: &str, cluster: bool) -> Refusal {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let Value::ServerError(error) = value else { panic!("{line} is no error") };
        Refusal::of(&error, &host(), cluster)
    }

    fn effect(line: &str) -> Effect {
        match refusal(line, false) {
            Refusal::Demoted(error) | Refusal::Over(error) => error.effect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_full_server_is_known_by_its_words_of_every_version() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9.",
            "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: -OOM command \
             not allowed when used memory > 'maxmemory'.",
        ] {
            assert!(matches!(refusal(line, false), Refusal::Over(StoreError::Full)), "{line}");
        }
    }

    #[test]
    fn only_what_comes_before_the_first_write_is_called_without_effect() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOAUTH Authentication required.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOREPLICAS Not enough good replicas to write.",
            "READONLY You can't write against a read only replica. script: 1f, on @user_script:9.",
            "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: -READONLY \
             You can't write against a read only replica.",
        ] {
            assert_eq!(effect(line), Effect::None, "{line}");
        }
        for line in [
            "ERR something new",
            "ERR user_script:9: attempt to index a nil value script: 1f, on @user_script:9.",
            "NOPERM this user has no permissions to run the 'pexpireat' command script: 1f, on \
             @user_script:9.",
        ] {
            assert_eq!(effect(line), Effect::Unknown, "{line}");
        }
    }

    #[test]
    fn redirections_are_followed_in_a_cluster_alone() {
        let named = |line| match refusal(line, true) {
            Refusal::Ask(host) => host,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(named("ASK 3999 10.0.0.1:7000"), Host { name: "10.0.0.1".into(), port: 7000 });
        assert_eq!(named("ASK 3999 :7000"), Host { name: "h".into(), port: 7000 });
        assert!(matches!(refusal("MOVED 3999 10.0.0.1:7000", true), Refusal::Moved));
        assert!(matches!(refusal("TRYAGAIN Multiple keys", true), Refusal::TryAgain));
        assert!(matches!(refusal("NOSCRIPT No matching script.", false), Refusal::NoScript));
        assert!(matches!(refusal("MOVED 3999 10.0.0.1:7000", false), Refusal::Over(_)));
    }

    #[test]
    fn what_was_sent_before_is_never_called_without_effect() {
        let outage = || Outage::Unowned;
        assert_eq!(Trouble::Unreached(outage()).into_error(false).effect(), Effect::None);
        assert_eq!(Trouble::Unreached(outage()).into_error(true).effect(), Effect::Unknown);
        assert_eq!(Trouble::Lost(outage()).into_error(false).effect(), Effect::Unknown);
        assert_eq!(Trouble::Foreign(String::new()).into_error(true).effect(), Effect::Unknown);
    }
}
