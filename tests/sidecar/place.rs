//! A database of one test's own, with the tables of the samples.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::runtime::Runtime;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Place {
    name: String,
    runtime: Runtime,
    server: String,
}

impl Place {
    pub(crate) fn take() -> Self {
        let server = std::env::var("HAPAX_TEST_POSTGRES_URL");
        let server = server.expect("HAPAX_TEST_POSTGRES_URL names a server: `cargo xtask test`");
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("sidecar_{}_{number}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let place = Self { name, runtime, server };
        place.on_server(&format!("CREATE DATABASE {}", place.name));
        // Without the samples' own rules, so that nothing but Hapax keeps an order from being there twice.
        place.run(
            "CREATE TABLE orders (id serial PRIMARY KEY, caller text, key text NOT NULL, item int); \
             CREATE TABLE charges (order_id int, cents int)",
        );
        place
    }

    /// With the samples' own tables: the last line of defence.
    pub(crate) fn with_rules() -> Self {
        let place = Self::take();
        place.run("DROP TABLE orders, charges");
        place.run(include_str!("../../examples/same-transaction/schema.sql"));
        place
    }

    /// The address of the database.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    /// Orders by key: their ids.
    pub(crate) fn orders(&self) -> BTreeMap<String, Vec<i32>> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url()).await.unwrap();
            let all = sqlx::raw_sql("SELECT key, id FROM orders ORDER BY id");
            let mut orders = BTreeMap::<String, Vec<i32>>::new();
            for row in connection.fetch_all(all).await.unwrap() {
                orders.entry(row.get("key")).or_default().push(row.get("id"));
            }
            orders
        })
    }

    /// How many charges there are.
    pub(crate) fn charges(&self) -> i64 {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url()).await.unwrap();
            let count = sqlx::raw_sql("SELECT count(*) AS charges FROM charges");
            connection.fetch_one(count).await.unwrap().get("charges")
        })
    }

    /// Makes Hapax forget everything, as when all records have expired.
    pub(crate) fn forget(&self) {
        self.run("DELETE FROM hapax.record; DELETE FROM hapax.seat");
    }

    /// Whether an application stands within a transaction, having placed its order.
    pub(crate) fn is_in_transaction(&self) -> bool {
        let open = format!(
            "SELECT count(*) > 0 AS open FROM pg_stat_activity WHERE datname = '{}' \
             AND state = 'idle in transaction' AND query LIKE 'INSERT INTO charges%'",
            self.name
        );
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url()).await.unwrap();
            let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(open))).await.unwrap();
            row.get("open")
        })
    }

    /// Runs statements as they are.
    pub(crate) fn run(&self, statement: &str) {
        self.run_at(&self.url(), statement);
    }

    fn on_server(&self, statement: &str) {
        self.run_at(&self.server, statement);
    }

    fn run_at(&self, url: &str, statement: &str) {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
            connection.execute(statement).await.unwrap();
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An application that was killed a moment ago may still be connected.
        self.on_server(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
