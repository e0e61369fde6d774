//! An application: business data in the same database, and transactions of its own.

use std::sync::Arc;
use std::time::Duration;

use hapax::{Lease, RecordId};
use hapax_postgres::PgStore;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use crate::support::{Place, server_url};

/// May not commit any more, as SQL says it.
pub(crate) const OVERTAKEN: Result<(), &str> = Err("HX010");
/// Has committed before.
pub(crate) const COMMITTED: Result<(), &str> = Err("HX011");
/// The transaction's snapshot is older than what happened to its claim.
pub(crate) const TRY_AGAIN: Result<(), &str> = Err("40001");

/// The levels an application may choose.
pub(crate) const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// A place of the test's own, a node of it, and an application beside it; `None` without a server.
pub(crate) async fn stage() -> Option<(Place, Arc<PgStore>, Application)> {
    let server = server_url()?;
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let application = Application::start(&server, &place.schema).await;
    Some((place, node, application))
}

/// One session of an application.
#[derive(Debug)]
pub(crate) struct Application {
    connection: PgConnection,
    schema: String,
    /// Where the database is.
    pub(crate) server: String,
}

impl Application {
    /// A session, beside the records of `schema`; the business table is made there, empty.
    pub(crate) async fn start(server: &str, schema: &str) -> Self {
        let mut application = Self::join(server, schema).await;
        let table = "CREATE TABLE IF NOT EXISTS hapax.effect (record text, attempt text); \
                     TRUNCATE hapax.effect";
        assert_eq!(application.run(table).await, Ok(()));
        application
    }

    /// Another session.
    pub(crate) async fn join(server: &str, schema: &str) -> Self {
        let connection = PgConnection::connect(server).await.expect("the test server");
        Self { connection, schema: schema.to_owned(), server: server.to_owned() }
    }

    /// Runs SQL, in which `hapax.` means the schema under test; the SQLSTATE where it fails.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), &'static str> {
        let sql = sql.replace("hapax.", &format!("{}.", self.schema));
        match self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await {
            Ok(_done) => Ok(()),
            Err(error) => {
                let told = error.as_database_error().and_then(|told| told.code());
                let code = told.expect("an error of the server").into_owned();
                let known = ["HX010", "HX011", "HX012", "HX013", "40001", "42501", "22P02"];
                let known = known.into_iter().find(|known| *known == code);
                Err(known.unwrap_or_else(|| panic!("unexpected: {error}")))
            }
        }
    }

    /// Begins a transaction, its snapshot included.
    pub(crate) async fn begin(&mut self, level: &str) {
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT 1");
        assert_eq!(self.run(&begin).await, Ok(()));
    }

    /// The effect itself.
    pub(crate) async fn work(&mut self, lease: &Lease) {
        let Lease { attempt, id, .. } = lease;
        let insert = format!("INSERT INTO hapax.effect VALUES ('{id}', '{attempt}')");
        assert_eq!(self.run(&insert).await, Ok(()));
    }

    /// Calls `hapax.commit`; `answer` are the arguments after the claim, if any.
    pub(crate) async fn commit(&mut self, lease: &Lease, answer: &str) -> Result<(), &'static str> {
        let claim = lease.to_claim();
        let comma = if answer.is_empty() { "" } else { ", " };
        self.run(&format!("SELECT hapax.commit('{claim}'{comma}{answer})")).await
    }

    pub(crate) async fn end(&mut self) -> Result<(), &'static str> {
        self.run("COMMIT").await
    }

    pub(crate) async fn roll_back(&mut self) {
        assert_eq!(self.run("ROLLBACK").await, Ok(()));
    }

    /// A whole transaction, as it should be.
    pub(crate) async fn transact(
        &mut self,
        level: &str,
        lease: &Lease,
        answer: &str,
    ) -> Result<(), &'static str> {
        self.begin(level).await;
        self.work(lease).await;
        match self.commit(lease, answer).await {
            // Should this fail, the server has rolled it back.
            Ok(()) => self.end().await,
            Err(code) => {
                self.roll_back().await;
                Err(code)
            }
        }
    }

    /// Which attempts took effect.
    pub(crate) async fn effects(&mut self, id: RecordId) -> Vec<String> {
        let sql = format!("SELECT attempt FROM {}.effect WHERE record = '{id}'", self.schema);
        let rows = self.connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        rows.expect("right SQL").iter().map(|row| row.get(0)).collect()
    }

    /// How many seats there are.
    pub(crate) async fn seats(&mut self) -> i64 {
        let sql = format!("SELECT count(*) FROM {}.seat", self.schema);
        let row = self.connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        row.expect("right SQL").get(0)
    }

    /// The process dies: its connection is gone, and the server will notice.
    pub(crate) fn die(self) {
        drop(self.connection);
    }
}

/// The outcome of something that must not wait for an application.
pub(crate) async fn at_once<T>(what: impl Future<Output = T>) -> T {
    // Far longer than it takes; the application stays for as long as the test lets it.
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("nobody waits")
}
