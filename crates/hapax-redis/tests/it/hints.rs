//! Hints over the server's own channels.

use hapax::Store as _;
use hapax_store_tests::{heard, what_nobody_waits_for_is_not_told};

use crate::scene::{both, standalone};
use crate::server::{Server, tell};
use crate::support::Place;

#[tokio::test]
async fn a_hint_that_nobody_waits_for_is_not_told() {
    for server in both() {
        let place = Place::take(&server);
        let [teller, listener] =
            [place.open(place.options()).await, place.open(place.options()).await];
        what_nobody_waits_for_is_not_told(&*teller, &*listener).await;
    }
}

#[tokio::test]
async fn hints_come_again_after_the_listening_connection_was_ended() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let teller = place.open(place.options()).await;
    let mut hints = teller.wakeups().expect("there is somewhere to listen");
    heard(&*teller, &*teller, &mut hints, 0).await;
    let ended: i64 = tell(&server.address(), "CLIENT KILL TYPE pubsub").await;
    assert_eq!(ended, 1);
    heard(&*teller, &*teller, &mut hints, 2_000).await;
}
