//! What an application may do, and what it may not.

use std::num::NonZeroU32;
use std::time::Duration;

use hapax::{ListQuery, Store as _};
use hapax_postgres::{PgOptions, PgStore, migrate};

use crate::application::Application;
use crate::opening::{as_role, forget, nowhere};
use crate::scene::{Onlooker, TERM, claim, complete, grant, hold, kept, settle, transactional};
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
    let mut shop = Application::join(&as_role(&server, &role), schema).await;

    let lease = grant(&node, &transactional(1, 1)).await;
    assert_eq!(shop.commit(&lease, "").await, Err("42501"));
    admin(&server, &format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await;
    for answer in ["", "200, '{}', 'a'::bytea"] {
        assert_eq!(shop.commit(&lease, answer).await, Err("42501"), "not without the grant");
    }
    let rights = include_str!("../../migrations/application.sql").replace("shop", &role);
    admin(&server, &for_schema(&rights, schema)).await;
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

/// In a database whose functions are nobody's unless they are granted.
#[tokio::test]
async fn where_functions_are_granted_each_role_gets_those_it_needs_and_no_others() {
    let Some(server) = server_url() else { return };
    let options = nowhere(&server, "granted").await;
    let schema = options.schema.clone();
    let [owner, gateway, shop, nobody] =
        ["owner", "gateway", "shop", "nobody"].map(|role| format!("{schema}_{role}"));
    for role in [&owner, &gateway, &shop, &nobody] {
        admin(&server, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await;
    }
    admin(
        &server,
        &format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; \
             CREATE SCHEMA {schema} AUTHORIZATION {owner}"
        ),
    )
    .await;
    migrate(&as_role(&server, &owner), &options).await.expect("a migration");
    for (script, placeholder, role) in [
        (include_str!("../../migrations/role.sql"), "hapax_gateway", &gateway),
        (include_str!("../../migrations/application.sql"), "shop", &shop),
    ] {
        let script = script.replace(placeholder, role);
        admin(&server, &for_schema(&script, &schema)).await;
    }
    let mut onlooker = Onlooker::new(&server, &schema).await;
    let of_commit = "'commit', 'header_lines', 'kept_answer'";
    for (role, names) in [
        (&gateway, format!("proname NOT IN ({of_commit})")),
        (&shop, "proname = 'commit'".to_owned()),
        (&nobody, "false".to_owned()),
    ] {
        let others = format!(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace AND \
             has_function_privilege('{role}', oid, 'EXECUTE') <> ({names})"
        );
        assert_eq!(onlooker.number(&others).await, 0, "{role}");
    }

    let asked = PgOptions { migrate: false, ..options.clone() };
    let node = PgStore::connect(&as_role(&server, &gateway), asked).await.expect("a store");
    let mut application = Application::join(&as_role(&server, &shop), &schema).await;
    for (n, answer) in [(1, "200, '{}', 'a'"), (2, "200, '{\"a\": 1}', 'a'::bytea")] {
        let lease = grant(&node, &transactional(n, 1)).await;
        assert_eq!(application.commit(&lease, answer).await, Ok(()));
    }
    let plain = grant(&node, &claim(3, 1)).await;
    node.renew(&plain, TERM, None).await.expect("a renewal");
    settle(&node, &plain, &complete()).await;
    options.clock_offset.advance(TERM);
    // One is found out by a duplicate, the other by a sweep.
    assert_eq!(kept(hold(&node, &transactional(1, 2)).await).status(), 200);
    options.clock_offset.advance(Duration::from_secs(120));
    node.sweep(NonZeroU32::MAX).await.expect("a sweep");
    let found = node.peek(&transactional(2, 2).id).await.expect("a look").expect("a record");
    assert_eq!(kept(found).status(), 200);
    node.list(&ListQuery { limit: 9, ..ListQuery::default() }).await.expect("a list");
    node.stats().await.expect("sizes");
    node.purge(&plain.id, true).await.expect("a purge");
    drop((node, application));
    forget(&server, &options).await;
    for role in [owner, gateway, shop, nobody] {
        admin(&server, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    }
}

/// A script for roles, for another schema.
fn for_schema(script: &str, schema: &str) -> String {
    let script = script.replace("SCHEMA hapax ", &format!("SCHEMA {schema} "));
    script.replace("hapax.", &format!("{schema}."))
}
