//! What the tests are written with.

use std::sync::Arc;
use std::time::Duration;

use hapax::{
    AttemptId, Claim, Claimed, Fingerprint, Kept, Lease, Observed, OnLapse, Phase, RecordId,
    RecordedResponse, Retention, Settlement, Settler, Store as _,
};
use hapax_postgres::PgStore;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

pub(crate) const TERM: Duration = Duration::from_secs(10);
pub(crate) const RETENTION: Duration = Duration::from_secs(3_600);

/// The rule that lets another attempt run as soon as the lease is over.
pub(crate) const RECLAIM: OnLapse =
    OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };

pub(crate) fn id_of(n: u16) -> RecordId {
    let mut bytes = [0x5a; 32];
    bytes[30..].copy_from_slice(&n.to_be_bytes());
    RecordId::from_bytes(bytes)
}

/// A claim of record `n` by attempt `by`.
pub(crate) fn claim(n: u16, by: u8) -> Claim {
    Claim {
        attempt: AttemptId::from_bytes([by; 16]),
        fingerprint: Fingerprint::of(b"the request"),
        id: id_of(n),
        on_lapse: OnLapse::Doubt,
        route: "/v1/payments".into(),
        term: TERM,
        transactional: None,
        unknown_retention: None,
    }
}

/// The same, by an attempt that commits through the store.
pub(crate) fn transactional(n: u16, by: u8) -> Claim {
    let transactional = Some(Retention::For(RETENTION));
    Claim { on_lapse: RECLAIM, transactional, ..claim(n, by) }
}

pub(crate) fn complete() -> Settlement {
    let answer = RecordedResponse { status: 201, ..RecordedResponse::default() };
    let retention = Retention::For(RETENTION);
    Settlement::Complete { kept: Kept::Response(answer), retention }
}

pub(crate) fn release() -> Settlement {
    Settlement::Release { retention: Retention::For(RETENTION), status: Some(503) }
}

pub(crate) async fn grant(store: &PgStore, claim: &Claim) -> Lease {
    match store.claim(claim).await.expect("an answer") {
        Claimed::Granted(lease) => lease,
        Claimed::Held(seen) => panic!("a claim was held: {seen:?}"),
    }
}

/// What stands in the way of a claim that must be held.
pub(crate) async fn hold(store: &PgStore, claim: &Claim) -> Observed {
    match store.claim(claim).await.expect("an answer") {
        Claimed::Granted(lease) => panic!("a claim was granted: {lease:?}"),
        Claimed::Held(seen) => seen,
    }
}

/// The answer of a record that must be completed.
pub(crate) fn kept(seen: Observed) -> Kept {
    match seen.record.phase {
        Phase::Completed { kept, .. } => kept,
        other => panic!("the record is not completed: {other:?}"),
    }
}

pub(crate) async fn settle(store: &PgStore, lease: &Lease, with: &Settlement) {
    store.settle(lease, with, Settler::Owner).await.expect("a settlement");
}

/// How many of these claims were granted, all made at once, on one node after the other.
pub(crate) async fn granted(nodes: &[Arc<PgStore>], claims: Vec<Claim>) -> usize {
    let barrier = Arc::new(tokio::sync::Barrier::new(claims.len()));
    let running: Vec<_> = claims
        .into_iter()
        .enumerate()
        .map(|(n, claim)| {
            let (node, barrier) = (Arc::clone(&nodes[n % nodes.len()]), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                node.claim(&claim).await
            })
        })
        .collect();
    let mut granted = 0;
    for claimed in running {
        let claimed = claimed.await.expect("no panic").expect("an answer");
        granted += usize::from(matches!(claimed, Claimed::Granted(_)));
    }
    granted
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
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND \
             wait_event_type = 'Lock'",
            self.schema
        );
        for _ in 0..10_000 {
            // What a transaction once saw of the sessions it goes on seeing.
            self.run("SELECT pg_stat_clear_snapshot()").await;
            if self.number(&waiting).await >= sessions {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("nobody waits for a lock");
    }

    /// Ends the sessions of the place's stores that wait for a lock.
    pub(crate) async fn end_waiting(&mut self) -> i64 {
        let end = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE \
             application_name = '{}' AND wait_event_type = 'Lock'",
            self.schema
        );
        self.number(&end).await
    }

    pub(crate) async fn hold_row(&mut self, id: RecordId) {
        self.run(&format!("BEGIN; SELECT FROM hapax.record WHERE id = '\\x{id}' FOR UPDATE")).await;
    }
}
