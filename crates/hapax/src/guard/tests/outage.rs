//! Stores that fail: nothing runs unprotected, nothing runs twice, and every caller gets an answer.

use super::*;
use crate::policy::StoreOutage;
use crate::record::Status;

#[tokio::test(start_paused = true)]
async fn ruling_11_a_claim_with_a_lost_answer_runs_nothing_and_is_released() {
    let scene = Scene::new();
    scene.plan(Operation::Claim, Fault::After);
    // The store stays away for a while.
    for _ in 0..3 {
        scene.plan(Operation::Settle, Fault::Before);
    }
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "store-failed");
    assert!(matches!(scene.status("k").await, Status::Running { .. }));
    pass(secs(2)).await;
    assert_eq!(scene.status("k").await, Status::Released);
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!(scene.runs(), 1);
    assert_eq!(*scene.guard.0.releases.borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn ruling_11_a_claim_that_was_lost_on_its_way_leaves_no_trace() {
    let scene = Scene::new();
    scene.plan(Operation::Claim, Fault::Before);
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "store-failed");
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 kept");
    pass(secs(10)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn sec_06_a_store_that_is_not_there_runs_nothing() {
    let scene = Scene::new();
    scene.plan(Operation::Claim, Fault::Refused);
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "store-failed");
    assert_eq!((scene.runs(), *scene.guard.0.releases.borrow()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn sec_06_a_store_that_hangs_runs_nothing_and_is_given_up() {
    let scene = Scene::new();
    scene.plan(Operation::Claim, Fault::Delay(Box::pin(std::future::pending())));
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "store-failed");
    assert_eq!((scene.runs(), scene.after()), (0, secs(5)));
}

#[tokio::test(start_paused = true)]
async fn dbt_08_a_failing_settlement_costs_the_caller_nothing_and_nothing_runs_again() {
    let scene = Scene::new();
    for _ in 0..4 {
        scene.plan(Operation::Settle, Fault::Before);
    }
    assert_eq!(scene.run("k", secs(0), answer(201)).await, "ran 201 kept");
    assert_eq!(scene.after(), secs(0));
    assert_eq!(scene.heard.count("settle-failed"), 1);
    // Settled after 100, 300, 700 and 1500 ms; whoever waits gets it then.
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "replayed 201 after waiting");
    assert_eq!(scene.after(), millis(1500));
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_08_a_settlement_with_a_lost_answer_is_repeated_without_harm() {
    let scene = Scene::new();
    scene.plan(Operation::Settle, Fault::After);
    assert_eq!(scene.run("k", secs(0), answer(201)).await, "ran 201 kept");
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "replayed 201");
    pass(secs(1)).await;
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "replayed 201");
    assert_eq!(*scene.guard.0.settlements.borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn dbt_08_a_store_that_never_comes_back_leaves_the_key_held() {
    let scene = Scene::new();
    for _ in 0..200 {
        scene.plan(Operation::Settle, Fault::Before);
    }
    assert_eq!(scene.run("k", secs(0), answer(201)).await, "ran 201 kept");
    pass(secs(11)).await;
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "held");
    pass(secs(3600)).await;
    assert_eq!(*scene.guard.0.settlements.borrow(), 0);
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "held");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_08_a_settlement_that_hangs_is_given_up_and_retried() {
    let scene = Scene::new();
    scene.plan(Operation::Settle, Fault::Delay(Box::pin(std::future::pending())));
    assert_eq!(scene.run("k", secs(0), answer(201)).await, "ran 201 kept");
    assert_eq!(scene.after(), secs(5));
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "replayed 201 after waiting");
}

fn open() -> Scene {
    Scene::with(Policy { store_outage: StoreOutage::Open, ..Policy::default() })
}

#[tokio::test(start_paused = true)]
async fn sec_06_an_open_route_runs_unprotected_and_says_so() {
    let scene = open();
    for _ in 0..2 {
        scene.plan(Operation::Claim, Fault::Refused);
        assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 unprotected");
    }
    assert_eq!(scene.runs(), 2);
    scene.plan(Operation::Claim, Fault::Refused);
    let verdict = scene.guard.run(intent("k", &scene.policy), |attempt| async move {
        assert!(attempt.lease().is_none() && attempt.child_key("x").is_none());
        assert!(attempt.may_send() && attempt.save("step".into()).await.is_ok());
        answer(201)
    });
    assert_eq!(words(&verdict.await), "ran 201 unprotected");
}

#[tokio::test(start_paused = true)]
async fn sec_06_an_open_route_still_bounds_and_catches_its_effect() {
    let scene = open();
    scene.plan(Operation::Claim, Fault::Refused);
    let slow = scene.run("k", secs(100), answer(200)).await;
    assert_eq!(slow, "ran unknown timed-out unprotected");
    scene.plan(Operation::Claim, Fault::Refused);
    let verdict = scene.guard.run(intent("k", &scene.policy), |_attempt| async {
        panic!("unprotected, on purpose");
    });
    assert_eq!(words(&verdict.await), "ran unknown panicked unprotected");
    assert_eq!(scene.guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn sec_06_a_claim_that_an_open_route_did_get_is_settled_by_what_ran() {
    let scene = open();
    scene.plan(Operation::Claim, Fault::After);
    assert_eq!(scene.run("k", secs(1), answer(200)).await, "ran 200 unprotected");
    // The record says what happened, not that nothing did.
    pass(secs(1)).await;
    assert_eq!(scene.run("k", secs(1), answer(500)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn ttl_07_a_full_store_refuses_new_keys_even_where_routes_stay_open() {
    let clock = Arc::new(RuntimeClock(Instant::now()));
    let store = Arc::new(MemoryStore::with_clock(1, Arc::clone(&clock) as Arc<dyn Clock>));
    let policy = Policy { store_outage: StoreOutage::Open, ..Policy::default() };
    let scene = Scene::on(store, policy, Arc::default(), clock);
    assert_eq!(scene.run("one", secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!(scene.run("two", secs(0), answer(200)).await, "store-full");
    assert_eq!(scene.run("one", secs(0), answer(200)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn ruling_11_releases_tried_again_are_bounded_and_what_is_over_lapses() {
    let scene = Scene::new();
    let over = settle::RELEASES_MAX + 1;
    for _ in 0..over {
        scene.plan(Operation::Claim, Fault::After);
    }
    for n in 0..over {
        assert_eq!(scene.run(&format!("k{n}"), secs(0), answer(200)).await, "store-failed");
    }
    assert_eq!(*scene.guard.0.releases.borrow(), settle::RELEASES_MAX);
    pass(secs(11)).await;
    assert_eq!(*scene.guard.0.releases.borrow(), 0);
    assert_eq!(scene.status("k0").await, Status::Released);
    assert_eq!(scene.status(&format!("k{}", over - 1)).await, Status::Lapsed);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_look_fails_is_told() {
    let one = Scene::new();
    let two = one.other_node();
    let owner = one.start("k", secs(5), answer(200)).await;
    two.plan(Operation::Peek, Fault::Refused);
    assert_eq!(two.run("k", secs(0), answer(200)).await, "store-failed");
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
}
