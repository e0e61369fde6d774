//! What opening finds out, and says.

use std::time::Duration;

use hapax::{Claimed, Store as _};
use hapax_postgres::{Migrated, OpenError, PgOptions, PgStore, migrate};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::scene::{Onlooker, claim, complete, grant, settle};
use crate::support::{Place, admin, server_url};

/// A schema that is not there; nobody else uses it.
pub(crate) async fn nowhere(server: &str, name: &str) -> PgOptions {
    let schema = format!("hapax_test_{}_{name}", std::process::id());
    admin(server, &format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await;
    // The machine is slow when everything runs at once; no test is about this.
    PgOptions { schema, store_timeout: Duration::from_secs(30), ..PgOptions::default() }
}

pub(crate) async fn forget(server: &str, options: &PgOptions) {
    admin(server, &format!("DROP SCHEMA {} CASCADE", options.schema)).await;
}

/// The test server's address for another role.
pub(crate) fn as_role(server: &str, role: &str) -> String {
    let (_, rest) = server.split_once('@').expect("a user in the address");
    format!("postgres://{role}@{rest}")
}

fn with(server: &str, setting: &str) -> String {
    let mark = if server.contains('?') { '&' } else { '?' };
    format!("{server}{mark}options=-c%20{setting}")
}

/// All have looked and found nothing before the first begins; each must look again in its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_nodes_that_migrate_at_once_one_does() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "migrate").await;
    let mark = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{mark}application_name={}", options.schema);
    let mut onlooker = Onlooker::new(&server, &options.schema).await;
    let lock = format!("pg_advisory_xact_lock(hashtext('hapax migrate {}'))", options.schema);
    onlooker.run(&format!("BEGIN; SELECT {lock}")).await;
    let running: Vec<_> = (0..6)
        .map(|_| {
            let (url, options) = (url.clone(), options.clone());
            tokio::spawn(async move { migrate(&url, &options).await })
        })
        .collect();
    onlooker.see_waiting(6).await;
    onlooker.run("COMMIT").await;
    let mut worked = 0;
    for each in running {
        let Migrated { from, to } = each.await.unwrap().expect("a migration");
        assert_eq!(to, 4);
        worked += usize::from(from == 0);
    }
    assert_eq!(worked, 1);
    let again = migrate(&server, &options).await.expect("nothing to do");
    assert_eq!(again, Migrated { from: 4, to: 4 });
    forget(&server, &options).await;
}

#[tokio::test]
async fn a_schema_that_is_not_there_or_too_new_is_told() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "told").await;
    let asked = PgOptions { migrate: false, ..options.clone() };
    let missing = PgStore::connect(&server, asked.clone()).await;
    assert!(matches!(missing, Err(OpenError::NotMigrated { .. })), "{missing:?}");
    migrate(&server, &options).await.expect("a migration");
    drop(PgStore::connect(&server, asked.clone()).await.expect("a store"));
    let mut onlooker = Onlooker::new(&server, &options.schema).await;
    onlooker.run("INSERT INTO hapax.migration (version) VALUES (99)").await;
    for options in [options.clone(), asked] {
        let newer = PgStore::connect(&server, options).await;
        assert!(matches!(newer, Err(OpenError::Newer { version: 99, .. })), "{newer:?}");
    }
    forget(&server, &options).await;
}

/// Versions 2 and 3 of builds that were never released had other functions in them.
#[tokio::test]
async fn a_schema_of_a_build_that_was_never_released_is_told() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "unreleased").await;
    migrate(&server, &options).await.expect("a migration");
    let schema = &options.schema;
    for version in [3, 2] {
        admin(&server, &format!("DELETE FROM {schema}.migration WHERE version > {version}")).await;
        for migrated in [
            migrate(&server, &options).await.map(|_| ()),
            PgStore::connect(&server, options.clone()).await.map(|_| ()),
        ] {
            let error = migrated.expect_err("it cannot be migrated");
            assert!(matches!(error, OpenError::Settings { .. }), "{error:?}");
            let error = error.to_string();
            assert!(error.contains("never released") && error.contains("Drop"), "{error}");
        }
    }
    forget(&server, &options).await;
}

/// An operator applies the scripts by hand and leaves one out.
#[tokio::test]
async fn a_migration_that_was_left_out_is_named() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "gap").await;
    let schema = &options.schema;
    let script = |text: &str| {
        let text = text.replace("regnamespace('hapax')", &format!("regnamespace('{schema}')"));
        text.replace("hapax.", &format!("{schema}."))
            .replace("SCHEMA hapax;", &format!("SCHEMA {schema};"))
    };
    let [record, steps, administration, commit] = [
        include_str!("../../migrations/0001_record.sql"),
        include_str!("../../migrations/0002_steps.sql"),
        include_str!("../../migrations/0003_administration.sql"),
        include_str!("../../migrations/0004_commit.sql"),
    ]
    .map(script);
    admin(&server, &record).await;
    assert_eq!(refusal(&server, &commit).await, "version 3 of this schema is missing");
    assert_eq!(refusal(&server, &administration).await, "version 2 of this schema is missing");
    admin(&server, &steps).await;
    assert_eq!(refusal(&server, &commit).await, "version 3 of this schema is missing");
    let migrated = migrate(&server, &options).await.expect("the rest is applied");
    assert_eq!(migrated, Migrated { from: 2, to: 4 });
    forget(&server, &options).await;
}

/// What the server says of statements that it must refuse.
async fn refusal(server: &str, statements: &str) -> String {
    let mut connection = PgConnection::connect(server).await.expect("the test server");
    let refused = connection.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await;
    let error = refused.expect_err("they are wrong");
    error.as_database_error().expect("the server's word").message().to_owned()
}

/// The name is taken by tables that are not ours, with or without one that is called like ours.
#[tokio::test]
async fn a_schema_of_somebody_else_is_told_and_left_alone() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "theirs").await;
    let schema = &options.schema;
    for theirs in [
        "migration (id integer)",
        "migration (version text, name text)",
        "migration (version uuid)",
        "record (id integer)",
    ] {
        admin(&server, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.{theirs}")).await;
        let asked = PgOptions { migrate: false, ..options.clone() };
        let mut failures = vec![
            PgStore::connect(&server, options.clone()).await.map(|_| ()),
            migrate(&server, &options).await.map(|_| ()),
        ];
        if theirs.starts_with("migration") {
            failures.push(PgStore::connect(&server, asked).await.map(|_| ()));
        }
        for failure in failures {
            let error = failure.expect_err(theirs);
            assert!(matches!(error, OpenError::Settings { .. }), "{theirs}: {error:?}");
            let text = error.to_string();
            assert!(text.contains("`[postgres] schema`") && text.contains(schema), "{text}");
        }
        forget(&server, &options).await;
    }
}

/// A gateway's role cannot make what its owner has to.
#[tokio::test]
async fn a_role_that_may_not_make_the_schema_is_sent_to_its_owner() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "fresh").await;
    let role = format!("{}_role", options.schema);
    admin(&server, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await;
    let url = as_role(&server, &role);
    for failure in [
        PgStore::connect(&url, options.clone()).await.map(|_| ()),
        migrate(&url, &options).await.map(|_| ()),
    ] {
        let error = failure.expect_err("it may not");
        assert!(matches!(error, OpenError::Permission { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("`hapax migrate` as the owner"), "{text}");
    }
    admin(&server, &format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn what_the_server_promises_is_asked() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let promised = node.guarantees();
    assert!(promised.durable && promised.shared, "{}", promised.summary);
    assert!(promised.summary.contains("survives a crash"), "{}", promised.summary);

    let hasty = with(&server, "synchronous_commit=off");
    let hasty = PgStore::connect(&hasty, place.options()).await.expect("a store").guarantees();
    assert!(!hasty.durable);
    assert!(hasty.summary.contains("`synchronous_commit` is off"), "{}", hasty.summary);

    let replica = with(&server, "default_transaction_read_only=on");
    let replica = PgStore::connect(&replica, place.options()).await;
    assert!(matches!(replica, Err(OpenError::ReadOnly { .. })), "{replica:?}");

    let strict = with(&server, "default_transaction_isolation=serializable");
    let pooled = PgOptions { pooled: true, ..place.options() };
    let refused = PgStore::connect(&strict, pooled).await;
    assert!(matches!(refused, Err(OpenError::Isolation { .. })), "{refused:?}");
    // Where the sessions are its own, the store sets the level itself.
    let own = PgStore::connect(&strict, place.options()).await.expect("a store");
    grant(&own, &claim(1, 1)).await;
}

/// The role has what `role.sql` lists, and nothing else.
#[tokio::test]
async fn the_least_rights_suffice_and_less_is_told() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "rights").await;
    migrate(&server, &options).await.expect("a migration");
    let role = format!("{}_role", options.schema);
    admin(&server, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await;
    let url = as_role(&server, &role);

    let without = PgStore::connect(&url, options.clone()).await;
    assert!(matches!(without, Err(OpenError::Permission { .. })), "{without:?}");

    let rights = include_str!("../../migrations/role.sql")
        .replace("hapax_gateway", &role)
        .replace("SCHEMA hapax ", &format!("SCHEMA {} ", options.schema))
        .replace("hapax.", &format!("{}.", options.schema));
    admin(&server, &rights).await;
    let store = PgStore::connect(&url, options.clone()).await.expect("a store");
    let lease = grant(&store, &claim(1, 1)).await;
    store.renew(&lease, Duration::from_secs(5), None).await.expect("a renewal");
    settle(&store, &lease, &complete()).await;
    assert!(matches!(store.claim(&claim(1, 2)).await.unwrap(), Claimed::Held(_)));
    store.stats().await.expect("sizes");
    store.sweep(std::num::NonZeroU32::MIN).await.expect("a sweep");
    store.list(&hapax::ListQuery { limit: 9, ..Default::default() }).await.expect("a list");
    store.purge(&lease.id, false).await.expect("a purge");

    let schema = &options.schema;
    admin(&server, &format!("REVOKE INSERT ON {schema}.record FROM {role}")).await;
    let error = store.claim(&claim(2, 1)).await.expect_err("the right is gone").to_string();
    assert!(error.contains("permission denied") && error.contains("role.sql"), "{error}");
    // Readiness renews what is not there, and must not say that all is well.
    let renewed = store.renew(&lease, Duration::from_secs(5), None).await;
    let error = renewed.expect_err("the right is gone").to_string();
    assert!(error.contains("permission denied") && error.contains("role.sql"), "{error}");
    drop(store);
    forget(&server, &options).await;
    admin(&server, &format!("DROP ROLE {role}")).await;
}
