//! What an application may do, and what it may not.

use hapax_postgres::{PgStore, migrate};

use crate::application::Application;
use crate::opening::{forget, nowhere};
use crate::scene::{TERM, grant, hold, kept, transactional};
use crate::support::{admin, server_url};

#[tokio::test]
async fn b03_an_application_may_commit_and_nothing_else() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "shop").await;
    migrate(&server, &options).await.expect("a migration");
    let node = PgStore::connect(&server, options.clone()).await.expect("a store");
    let schema = &options.schema;
    let role = format!("{schema}_role");
    admin(&server, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await;
    let (_, rest) = server.split_once('@').expect("a user in the address");
    let url = format!("postgres://{role}@{rest}");
    let mut shop = Application::join(&url, schema).await;

    let lease = grant(&node, &transactional(1, 1)).await;
    assert_eq!(shop.commit(&lease, "").await, Err("42501"));
    admin(&server, &format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await;
    for answer in ["", "200, '{}', 'a'::bytea"] {
        assert_eq!(shop.commit(&lease, answer).await, Err("42501"), "not without the grant");
    }
    let rights = include_str!("../../migrations/application.sql")
        .replace("shop", &role)
        .replace("SCHEMA hapax ", &format!("SCHEMA {schema} "))
        .replace("hapax.", &format!("{schema}."));
    admin(&server, &rights).await;
    for (n, answer) in [(1, "200, '{}', 'a'::bytea"), (2, "200, '{}', 'a'"), (3, "200")] {
        let lease = if n == 1 { lease.clone() } else { grant(&node, &transactional(n, 1)).await };
        assert_eq!(shop.commit(&lease, answer).await, Ok(()));
        let seen = hold(&node, &transactional(n, 2)).await;
        assert!(seen.record.lease().until > seen.now);
    }
    for sql in [
        "SELECT FROM hapax.seat",
        "SELECT FROM hapax.record",
        "SELECT FROM hapax.identity",
        "UPDATE hapax.seat SET committed_at = 1",
        "DELETE FROM hapax.seat",
        "CREATE TABLE hapax.mine ()",
        "SELECT hapax.take_seat('')",
        "SELECT hapax.sweep(1000000000000, 1000)",
        "SELECT hapax.purge(0, '', true)",
    ] {
        assert_eq!(shop.run(sql).await, Err("42501"), "{sql}");
    }
    // The function runs with its owner's rights, so nothing in it may be led elsewhere.
    shop.run("CREATE TEMPORARY TABLE seat (id bytea, attempt bytea, committed_at bigint)")
        .await
        .expect("a table of its own");
    let own = format!("{schema}_own");
    admin(&server, &format!("DROP SCHEMA IF EXISTS {own} CASCADE")).await;
    admin(&server, &format!("CREATE SCHEMA {own} AUTHORIZATION {role}")).await;
    let hostile = format!(
        "CREATE FUNCTION {own}.decode(text, text) RETURNS bytea LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''led elsewhere''; END'; \
         CREATE FUNCTION {own}.convert_to(text, name) RETURNS bytea LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''led elsewhere''; END'; \
         SET search_path = {own}, pg_temp, pg_catalog"
    );
    assert_eq!(shop.run(&hostile).await, Ok(()));
    let lease = grant(&node, &transactional(4, 1)).await;
    assert_eq!(shop.commit(&lease, "200, '{}', 'a'").await, Ok(()));
    options.clock_offset.advance(TERM);
    assert_eq!(kept(hold(&node, &transactional(4, 2)).await).status(), 200);
    shop.die();
    drop(node);
    forget(&server, &options).await;
    admin(&server, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
