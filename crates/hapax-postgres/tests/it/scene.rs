//! What the tests are written with.

use std::time::Duration;

use hapax::{Claim, Kept, Lease, Observed, Phase, RecordId, Retention, Settlement};
use hapax_postgres::PgStore;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::task::JoinHandle;

pub(crate) use hapax_store_tests::{RECLAIM, RETENTION, TERM, claim, complete, id_of, release};

/// A claim by an attempt that commits through the store.
pub(crate) fn transactional(n: u16, by: u8) -> Claim {
    let transactional = Some(Retention::For(RETENTION));
    Claim { on_lapse: RECLAIM, transactional, ..claim(n, by) }
}

// Whoever has the store in an `Arc` hands it over as it is.

pub(crate) async fn grant(store: &PgStore, claim: &Claim) -> Lease {
    hapax_store_tests::grant(store, claim).await
}

pub(crate) async fn hold(store: &PgStore, claim: &Claim) -> Observed {
    hapax_store_tests::hold(store, claim).await
}

pub(crate) async fn settle(store: &PgStore, lease: &Lease, with: &Settlement) {
    hapax_store_tests::settle(store, lease, with).await;
}

/// The answer of a record that must be completed.
pub(crate) fn kept(seen: Observed) -> Kept {
    match seen.record.phase {
        Phase::Completed { kept, .. } => kept,
        other => panic!("the record is not completed: {other:?}"),
    }
}

/// A session of an onlooker, who may hold locks, end sessions and change rows.
pub(crate) struct Onlooker {
    connection: PgConnection,
    schema: String,
}

impl Onlooker {
    pub(crate) async fn new(server: &str, schema: &str) -> Self {
        let connection = PgConnection::connect(server).await.expect("the test server");
        Self { connection, schema: schema.to_owned() }
    }

    /// Runs SQL, in which `hapax.` means the schema under test.
    pub(crate) async fn run(&mut self, sql: &str) {
        let sql = sql.replace("hapax.", &format!("{}.", self.schema));
        self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("right SQL");
    }

    /// The number that a query gives.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = sql.replace("hapax.", &format!("{}.", self.schema));
        let row = self.connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        row.expect("right SQL").get(0)
    }

    /// Waits until so many sessions of the place's stores wait for a lock.
    pub(crate) async fn see_waiting(&mut self, sessions: i64) {
        for _ in 0..10_000 {
            if self.waiting("pid").await >= sessions {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody waits for a lock");
    }

    /// Waits until one does, or until `work` is over, which it may be before anybody could see it wait.
    pub(crate) async fn see_waiting_or_over<T>(&mut self, work: &JoinHandle<T>) {
        for _ in 0..10_000 {
            if work.is_finished() || self.waiting("pid").await >= 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody waits for a lock");
    }

    /// Ends the sessions of the place's stores that wait for a lock.
    pub(crate) async fn end_waiting(&mut self) -> i64 {
        self.waiting("pg_terminate_backend(pid)").await
    }

    /// How many there are that wait for a lock, by what is counted of each. A session that looks for
    /// deadlocks stands in line meanwhile, though the server does not list it as waiting.
    async fn waiting(&mut self, counted: &str) -> i64 {
        // What a transaction once saw of the sessions it goes on seeing.
        self.run("SELECT pg_stat_clear_snapshot()").await;
        let waiting = format!(
            "SELECT count({counted}) FROM pg_stat_activity WHERE application_name = '{}' AND pid IN \
             (SELECT l.pid FROM pg_locks AS l WHERE NOT l.granted)",
            self.schema
        );
        self.number(&waiting).await
    }

    pub(crate) async fn hold_row(&mut self, id: RecordId) {
        self.run(&format!("BEGIN; SELECT FROM hapax.record WHERE id = '\\x{id}' FOR UPDATE")).await;
    }
}
