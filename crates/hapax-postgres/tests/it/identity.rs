//! Whose records these are (ruling 8).

use hapax::{Key, Principal, Store as _, StoreError};
use hapax_postgres::{OpenError, PgOptions, PgStore};

use crate::scene::{Onlooker, claim, grant};
use crate::support::{Place, server_url};

async fn open(server: &str, options: PgOptions) -> Result<PgStore, OpenError> {
    PgStore::connect(server, options).await
}

#[tokio::test]
async fn a_node_with_another_secret_or_other_scope_rules_is_refused() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let rules = place.options();
    drop(open(&server, rules.clone()).await.expect("the first node"));
    drop(open(&server, rules.clone()).await.expect("a node like it"));
    let others = [
        PgOptions { secret: Some(b"another".to_vec()), ..rules.clone() },
        PgOptions { secret: None, ..rules.clone() },
        PgOptions { scope_rules: "principal = shared".to_owned(), ..rules },
    ];
    for options in others {
        let refused = open(&server, options).await;
        assert!(matches!(refused, Err(OpenError::Refused { .. })), "{refused:?}");
    }
}

/// Eight nodes start at once on an empty database, and agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_without_a_secret_share_the_one_that_the_first_made() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    drop(place.open(place.options()).await);
    Onlooker::new(&server, &place.schema).await.run("DELETE FROM hapax.identity").await;
    let options = PgOptions { secret: None, ..place.options() };
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let (server, options) = (server.clone(), options.clone());
            tokio::spawn(async move { open(&server, options).await.expect("a node") })
        })
        .collect();
    let key = Key::from_text("k-1").unwrap();
    let mut ids = Vec::new();
    for node in starting {
        let node = node.await.unwrap();
        let scope = node.secret().scope(Principal::Shared, "api.example");
        ids.push(node.secret().record_id(&scope, &key));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let configured = open(&server, place.options()).await;
    assert!(matches!(configured, Err(OpenError::Refused { .. })), "{configured:?}");
    // As it was, for whoever uses the place next.
    Onlooker::new(&server, &place.schema).await.run("DELETE FROM hapax.identity").await;
}

/// The database is replaced while a node runs, as by a restore or a name that leads elsewhere.
#[tokio::test]
async fn a_running_node_is_refused_by_records_that_are_not_its_own() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.run("UPDATE hapax.identity SET digest = sha256('another')").await;
    for n in [1, 2] {
        let refused = node.claim(&claim(n, 1)).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    assert_eq!(node.peek(&claim(2, 1).id).await.unwrap(), None);
    onlooker.run("DELETE FROM hapax.identity").await;
}
