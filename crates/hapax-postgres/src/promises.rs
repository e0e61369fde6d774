//! What the server promises, asked at opening.

use hapax::Guarantees;
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

/// The oldest major version whose behaviour the steps rely on.
const VERSION_MIN: i32 = 14;

const ASK: &str = "
    SELECT
        current_setting('default_transaction_isolation') AS isolation,
        current_setting('fsync') AS fsync,
        pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('synchronous_standby_names') AS standbys,
        current_setting('server_version_num')::integer / 10000 AS version
";

/// The settings that matter, as a session of this role has them.
#[derive(Clone, Debug)]
pub(crate) struct Promises {
    fsync: bool,
    isolation: String,
    read_only: bool,
    synchronous_commit: String,
    /// Whether any standby is waited for, where waiting is asked for.
    synchronous_standbys: bool,
    version: i32,
}

/// Why a server cannot be used.
#[derive(Debug)]
pub(crate) enum Unfit {
    Isolation(String),
    Old(i32),
    ReadOnly,
}

impl Promises {
    pub(crate) async fn ask(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = connection.fetch_one(sqlx::raw_sql(ASK)).await?;
        Ok(Self {
            fsync: row.try_get::<String, _>("fsync")? == "on",
            isolation: row.try_get("isolation")?,
            read_only: row.try_get("read_only")?,
            synchronous_commit: row.try_get("synchronous_commit")?,
            synchronous_standbys: !row.try_get::<String, _>("standbys")?.is_empty(),
            version: row.try_get("version")?,
        })
    }

    /// Whether a store can be kept here at all.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        if self.version < VERSION_MIN {
            Err(Unfit::Old(self.version))
        } else if self.read_only {
            Err(Unfit::ReadOnly)
        } else if self.isolation != "read committed" {
            Err(Unfit::Isolation(self.isolation.clone()))
        } else {
            Ok(())
        }
    }

    /// The same for people and for the suite.
    pub(crate) fn guarantees(&self, address: &str, waiting: &str) -> Guarantees {
        let waits = self.synchronous_commit != "off";
        let crash = if !self.fsync {
            "`fsync` is off: a crash of its machine may lose or damage any record"
        } else if !waits {
            "`synchronous_commit` is off: a crash of the server may forget the last steps, and a \
             forgotten claim runs again"
        } else {
            "every answer survives a crash of the server and of its machine"
        };
        let failover = match self.synchronous_commit.as_str() {
            "on" | "remote_apply" if self.synchronous_standbys => {
                "a failover to a synchronous standby keeps every answer"
            }
            "remote_write" if self.synchronous_standbys => {
                "a failover to a synchronous standby keeps every answer unless that machine crashes \
                 too"
            }
            _ => {
                "a failover to a replica may forget the last steps, since no standby is waited for, \
                 and a forgotten claim runs again"
            }
        };
        Guarantees {
            durable: self.fsync && waits,
            shared: true,
            summary: format!(
                "PostgreSQL {} at {address}: {crash}; {failover}{waiting}",
                self.version
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promises() -> Promises {
        Promises {
            fsync: true,
            isolation: "read committed".to_owned(),
            read_only: false,
            synchronous_commit: "on".to_owned(),
            synchronous_standbys: false,
            version: 16,
        }
    }

    #[test]
    fn summary_says_what_a_failover_may_forget() {
        let plain = promises().guarantees("postgres://h/d", "");
        assert!(plain.durable && plain.shared);
        assert!(plain.summary.contains("may forget the last steps"), "{}", plain.summary);
        let standby = Promises { synchronous_standbys: true, ..promises() };
        let summary = standby.guarantees("postgres://h/d", "").summary;
        assert!(summary.contains("keeps every answer"), "{summary}");
        // `local` does not wait for the standbys that there are.
        let local = Promises { synchronous_commit: "local".to_owned(), ..standby };
        let summary = local.guarantees("postgres://h/d", "").summary;
        assert!(summary.contains("may forget the last steps"), "{summary}");
    }

    #[test]
    fn a_server_that_does_not_sync_is_not_called_durable() {
        let hasty = Promises { synchronous_commit: "off".to_owned(), ..promises() };
        assert!(!hasty.guarantees("postgres://h/d", "").durable);
        let reckless = Promises { fsync: false, ..promises() };
        assert!(!reckless.guarantees("postgres://h/d", "").durable);
    }

    #[test]
    fn unfit_servers_are_told_apart() {
        assert!(promises().check().is_ok());
        let old = Promises { version: 13, ..promises() };
        assert!(matches!(old.check(), Err(Unfit::Old(13))));
        let replica = Promises { read_only: true, ..promises() };
        assert!(matches!(replica.check(), Err(Unfit::ReadOnly)));
        let strict = Promises { isolation: "serializable".to_owned(), ..promises() };
        assert!(matches!(strict.check(), Err(Unfit::Isolation(_))));
    }
}
