//! A place in the test server for each store under test.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use hapax::ClockOffset;
use hapax_postgres::{PgOptions, PgStore};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

const URL: &str = "HAPAX_TEST_POSTGRES_URL";

/// The address of a pooler before the same server, if there is one: statements that are sent whole
/// then go through it.
const POOLER_URL: &str = "HAPAX_TEST_POSTGRES_POOLER_URL";

/// The address of the test server; `None` if there is none, which is said aloud. Under `CI=true` a
/// server that is missing is a failure.
pub(crate) fn server_url() -> Option<String> {
    static ALOUD: Once = Once::new();
    match std::env::var(URL) {
        Ok(url) if !url.is_empty() => Some(url),
        Ok(_) | Err(_) => {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_ci, "{URL} is not set, and in CI nothing is skipped");
            ALOUD.call_once(|| {
                // Past the test runner, which would keep it to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: {URL} is not set; `cargo xtask test` starts a server and sets it"
                );
            });
            None
        }
    }
}

/// A schema that nobody else uses, empty; given back when dropped. Those given back are used again,
/// because sixteen partitions take longer to make than a case takes to run.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) clock: ClockOffset,
    pub(crate) schema: String,
    /// The way there, under a name by which the server lists the connections of this place's stores.
    pub(crate) url: String,
}

static FREE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

impl Place {
    pub(crate) async fn take(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let schema = match free {
            Some(schema) => {
                empty(server, &schema).await;
                schema
            }
            None => {
                let n = COUNT.fetch_add(1, Ordering::SeqCst);
                let schema = format!("hapax_test_{}_{n}", std::process::id());
                // Process ids come again: what an earlier run left is in the way.
                admin(server, &format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await;
                schema
            }
        };
        let mark = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{mark}application_name={schema}");
        Self { clock: ClockOffset::default(), schema, url }
    }

    pub(crate) fn options(&self) -> PgOptions {
        PgOptions {
            clock_offset: self.clock.clone(),
            connections_max: 8,
            schema: self.schema.clone(),
            secret: Some(b"the secret of the tests".to_vec()),
            // The machine is slow when everything runs at once; no test is about this.
            store_timeout: Duration::from_secs(30),
            ..PgOptions::default()
        }
    }

    pub(crate) async fn open(&self, options: PgOptions) -> Arc<PgStore> {
        let pooler = std::env::var(POOLER_URL).ok().filter(|_| options.pooled);
        let url = pooler.as_ref().unwrap_or(&self.url);
        Arc::new(PgStore::connect(url, options).await.expect("a store"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let schema = std::mem::take(&mut self.schema);
        if std::thread::panicking() {
            // Whatever went wrong there is not to spoil another test.
            return;
        }
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push_back(schema);
    }
}

/// Ends what earlier users left running there, and takes their records away.
async fn empty(server: &str, schema: &str) {
    let mut connection = PgConnection::connect(server).await.expect("the test server");
    let others = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE \
         application_name = '{schema}'"
    );
    for _ in 0..10_000 {
        let row = connection
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(others.clone())))
            .await
            .expect("a count");
        if row.get::<i64, _>(0) == 0 {
            let delete = format!("DELETE FROM {schema}.record; DELETE FROM {schema}.seat");
            connection.execute(sqlx::raw_sql(AssertSqlSafe(delete))).await.expect("an empty place");
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("connections of {schema} do not end");
}

/// Runs statements as the owner of the test server.
pub(crate) async fn admin(server: &str, statements: &str) {
    let mut connection = PgConnection::connect(server).await.expect("the test server");
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned())))
        .await
        .expect("the statements are right");
}
