//! The samples' own tables as the last line of defence: a violation of their rules is a recognised
//! retry or a wrong order, and never a failure of the service.

use hapax_tests::{Answer, Gateway, Request};

use crate::application::{Application, Language, Sample};
use crate::place::Place;
use crate::{gateway, order};

/// A sample on tables with rules, behind a gateway.
struct Scene {
    _application: Application,
    gateway: Gateway,
    place: Place,
}

impl Scene {
    fn of(language: Language) -> Self {
        let place = Place::with_rules();
        let sample = Sample::new(language, place.url(), 0);
        let (gateway, application) = (gateway(&place, &sample), sample.start());
        Self { _application: application, gateway, place }
    }

    fn ask(&self, request: &Request) -> Answer {
        request.answer(self.gateway.address())
    }
}

fn in_each_language(test: fn(&Scene)) {
    for language in [Language::Python, Language::Node] {
        test(&Scene::of(language));
    }
}

/// After the retention (TTL-01) a key is new to the gateway, and not to the table.
#[test]
fn retry_after_its_record_has_expired_gets_the_order_that_there_is() {
    in_each_language(|scene| {
        let first = scene.ask(&order("k"));
        scene.place.forget();
        let retry = scene.ask(&order("k"));
        assert_eq!((retry.status, retry.replayed()), (201, false), "{}", retry.text());
        assert_eq!(retry.body, first.body);
        let again = scene.ask(&order("k"));
        assert!(again.replayed() && again.body == first.body, "{}", again.text());
        assert_eq!((scene.place.orders()["k"].len(), scene.place.charges()), (1, 1));
    });
}

/// FPR-01 by the application itself, when the gateway knows no earlier request.
#[test]
fn another_order_under_a_key_that_has_expired_is_refused() {
    in_each_language(|scene| {
        let _placed = scene.ask(&order("k"));
        scene.place.forget();
        let other = scene.ask(&order("k").body(br#"{"item": 18}"#));
        assert_eq!(other.status, 422, "{}", other.text());
        assert_eq!((scene.place.orders()["k"].len(), scene.place.charges()), (1, 1));
    });
}

/// SCO-01: what is unique is the caller's key, not the key.
#[test]
fn one_key_of_two_callers_is_two_orders() {
    in_each_language(|scene| {
        let [one, two] = ["Bearer one", "Bearer two"].map(|caller| {
            scene.ask(&order("k").without("Authorization").field("Authorization", caller))
        });
        assert_eq!((one.status, two.status), (201, 201));
        assert_ne!(one.body, two.body);
        assert_eq!((scene.place.orders()["k"].len(), scene.place.charges()), (2, 2));
    });
}

/// FAI-02: an order that the tables refuse is a business failure, kept and replayed.
#[test]
fn an_order_that_breaks_another_rule_is_refused_and_the_refusal_replayed() {
    in_each_language(|scene| {
        let wrong = order("k").body(br#"{"item": -1}"#);
        let [first, again] = [scene.ask(&wrong), scene.ask(&wrong)];
        assert_eq!((first.status, first.replayed()), (422, false), "{}", first.text());
        assert_eq!((again.status, again.replayed()), (422, true), "{}", again.text());
        assert_eq!((scene.place.orders().len(), scene.place.charges()), (0, 0));
    });
}
