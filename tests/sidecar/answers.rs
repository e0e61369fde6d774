//! What a retry is told of an operation that committed through `hapax.commit`, by what the application
//! told it.

use std::sync::Arc;

use hapax_tests::{Gateway, Next, Settings, Upstream, respond};

use crate::place::Place;
use crate::{ROUTES, order};

/// An upstream that commits an order for each request by these arguments of `hapax.commit`, and then
/// answers 500 or, without words, hangs up.
fn service(place: &Arc<Place>, arguments: &'static str, then: Option<&'static str>) -> Upstream {
    let place = Arc::clone(place);
    Upstream::start(move |arrival, stream| {
        let claim = arrival.fields.first("hapax-claim").unwrap_or_default();
        place.run(&format!(
            "BEGIN; INSERT INTO orders (key, item) VALUES ('{}', 17); \
             SELECT hapax.commit('{claim}'{arguments}); COMMIT",
            arrival.key
        ));
        then.map_or(Next::Close, |words| respond(stream, 500, &[], words.as_bytes()))
    })
}

fn gateway(place: &Place, upstream: &Upstream) -> Gateway {
    Settings::new(&upstream.url()).store(&place.url()).config(ROUTES).start()
}

#[test]
fn commit_without_an_answer_is_told_as_done_and_not_kept() {
    let place = Arc::new(Place::take());
    let upstream = service(&place, "", None);
    let gateway = gateway(&place, &upstream);
    let first = order("silent").answer(gateway.address());
    assert_eq!(first.problem().as_deref(), Some("outcome-unknown"));
    for _ in 0..2 {
        let retry = order("silent").answer(gateway.address());
        assert_eq!((retry.status, retry.problem().as_deref()), (410, Some("result-not-retained")));
        assert!(!retry.text().contains("original-status"), "{}", retry.text());
    }
    assert_eq!(place.orders()["silent"].len(), 1);
}

#[test]
fn commit_with_a_status_and_a_location_points_there() {
    let place = Arc::new(Place::take());
    let arguments = ", 201, '{\"location\": \"/orders/17\"}', repeat('x', 2000000)";
    let upstream = service(&place, arguments, None);
    let gateway = gateway(&place, &upstream);
    let _unknown = order("large").answer(gateway.address());
    let retry = order("large").answer(gateway.address());
    assert_eq!((retry.status, retry.problem().as_deref()), (410, Some("result-not-retained")));
    assert_eq!(retry.fields.first("location"), Some("/orders/17"));
    assert!(retry.text().contains("\"original-status\":201"), "{}", retry.text());
    assert_eq!(place.orders()["large"].len(), 1);
}

/// Under `standard` a 500 frees the key; but the service had committed.
#[test]
fn failure_answered_after_the_commit_does_not_run_again() {
    let place = Arc::new(Place::take());
    let upstream = service(&place, ", 201, '{\"x-order\": \"17\"}', 'placed'", Some("oops"));
    let gateway = gateway(&place, &upstream);
    let first = order("failed").answer(gateway.address());
    assert_eq!((first.status, first.text().as_str()), (500, "oops"));
    let retry = order("failed").answer(gateway.address());
    assert_eq!((retry.status, retry.text().as_str()), (201, "placed"));
    assert!(retry.replayed());
    assert_eq!(retry.fields.first("x-order"), Some("17"));
    assert_eq!(place.orders()["failed"].len(), 1);
}
