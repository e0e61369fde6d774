//! Hints over PostgreSQL's own channels.

use hapax::Store as _;
use hapax_postgres::PgOptions;
use hapax_store_tests::{heard, what_nobody_waits_for_is_not_told};

use crate::scene::Onlooker;
use crate::support::{Place, server_url};

#[tokio::test]
async fn a_hint_that_nobody_waits_for_is_not_told() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let [teller, listener] = [place.open(place.options()).await, place.open(place.options()).await];
    what_nobody_waits_for_is_not_told(&*teller, &*listener).await;
}

#[tokio::test]
async fn hints_come_again_after_the_listening_session_was_ended() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let teller = place.open(place.options()).await;
    let mut hints = teller.wakeups().expect("there is somewhere to listen");
    heard(&*teller, &*teller, &mut hints, 0).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = \
         '{}' AND query LIKE 'LISTEN%'",
        place.schema
    );
    // More, if one was given up that was slow.
    assert!(onlooker.number(&end).await >= 1);
    heard(&*teller, &*teller, &mut hints, 2_000).await;
}

#[tokio::test]
async fn behind_a_pooler_one_listens_elsewhere_or_not_at_all() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let pooled = PgOptions { pooled: true, ..place.options() };
    let deaf = place.open(pooled.clone()).await;
    assert!(deaf.wakeups().is_none());
    assert!(deaf.guarantees().summary.contains("waiters poll"));
    let hearing = place.open(PgOptions { listen_url: Some(server.clone()), ..pooled }).await;
    let mut hints = hearing.wakeups().expect("there is somewhere to listen");
    // It tells, though it cannot listen.
    heard(&*deaf, &*hearing, &mut hints, 0).await;
}
