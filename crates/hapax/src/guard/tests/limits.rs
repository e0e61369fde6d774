//! Limits, draining, and that nothing is left behind.

use super::*;
use crate::record::Status;

fn small(in_flight_max: usize) -> Scene {
    let mut scene = Scene::new();
    scene.guard = Guard::builder(Arc::clone(&scene.store) as Arc<dyn Store>)
        .clock(Arc::new(RuntimeClock(Instant::now())))
        .in_flight_max(in_flight_max)
        .build();
    scene
}

async fn start_of(scene: &Scene, caller: &str, key: &str) -> JoinHandle<String> {
    let intent = intent_of(caller, key, &scene.policy);
    let (guard, effect) = (scene.guard.clone(), scene.effect(secs(5), answer(200)));
    let running = tokio::spawn(async move { words(&guard.run(intent, effect).await) });
    settle_down().await;
    running
}

#[tokio::test(start_paused = true)]
async fn sec_07_one_callers_flood_leaves_a_tenth_for_others() {
    let scene = small(10);
    let mut running = Vec::new();
    for n in 0..9 {
        running.push(start_of(&scene, "flood", &format!("k{n}")).await);
    }
    assert_eq!(start_of(&scene, "flood", "one more").await.await.unwrap(), "overloaded");
    // A duplicate takes no place.
    running.push(start_of(&scene, "flood", "k0").await);
    assert_eq!(scene.guard.in_flight(), 9);
    running.push(start_of(&scene, "other", "k").await);
    assert_eq!(start_of(&scene, "third", "k").await.await.unwrap(), "overloaded");
    assert_eq!(scene.after(), secs(0));
    let ended = all(running).await;
    assert_eq!(ended.iter().filter(|words| *words == "ran 200 kept").count(), 10, "{ended:?}");
    assert_eq!(start_of(&scene, "flood", "one more").await.await.unwrap(), "ran 200 kept");
    assert_eq!(scene.runs(), 11);
}

#[tokio::test(start_paused = true)]
async fn dbt_10_draining_waits_for_what_runs() {
    let scene = Scene::new();
    let owner = scene.start("k", secs(5), answer(200)).await;
    scene.guard.drain(Instant::now() + secs(30)).await;
    assert_eq!(scene.after(), secs(5));
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    // With nothing to do it is over at once.
    scene.guard.drain(Instant::now() + secs(30)).await;
    assert_eq!(scene.after(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn dbt_10_draining_leaves_in_doubt_what_does_not_end() {
    let scene = Scene::new();
    let other = scene.other_node();
    let owner = scene.start("k", secs(29), answer(200)).await;
    let follower = scene.start("k", secs(29), answer(200)).await;
    // Told that it is over and still listening: its doubt is settled already.
    let mut late = Scene::on(
        Arc::clone(&scene.store),
        Policy { upstream_timeout: secs(1), ..Policy::default() },
        Arc::clone(&scene.runs),
        Arc::new(RuntimeClock(Instant::now())),
    );
    late.guard = scene.guard.clone();
    assert_eq!(late.run("late", secs(1000), answer(200)).await, "ran unknown timed-out");
    scene.guard.drain(Instant::now() + secs(4)).await;
    assert_eq!(scene.after(), secs(5));
    assert_eq!(all(vec![owner, follower]).await, ["ran unknown drained", "waited unknown drained"]);
    for key in ["k", "late"] {
        assert_eq!(scene.status(key).await, Status::InDoubt);
        assert_eq!(other.run(key, secs(0), answer(200)).await, "held");
    }
    assert_eq!((scene.guard.in_flight(), scene.runs()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn dbt_10_draining_waits_for_settlements_tried_again() {
    let scene = Scene::new();
    for _ in 0..4 {
        scene.plan(Operation::Settle, Fault::Before);
    }
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 kept");
    scene.guard.drain(Instant::now() + secs(30)).await;
    assert_eq!(scene.status("k").await, Status::Completed);
    assert_eq!(scene.after(), millis(1500));
}

#[tokio::test(start_paused = true)]
async fn dbt_10_draining_ends_although_the_store_is_away() {
    let scene = Scene::new();
    for _ in 0..1000 {
        scene.plan(Operation::Settle, Fault::Before);
    }
    let owner = scene.start("k", secs(50), answer(200)).await;
    scene.guard.drain(Instant::now() + secs(3)).await;
    assert_eq!(scene.after(), secs(8));
    assert_eq!(owner.await.unwrap(), "ran unknown drained");
}

#[tokio::test(start_paused = true)]
async fn dbt_10_a_claim_granted_after_the_cut_runs_nothing_and_is_free_again() {
    let scene = Scene::new();
    let slowly = Box::pin(tokio::time::sleep(secs(2)));
    scene.plan(Operation::Claim, Fault::Delay(slowly));
    let asking = scene.start("k", secs(1), answer(200)).await;
    scene.guard.drain(Instant::now() + secs(1)).await;
    assert_eq!(asking.await.unwrap(), "ran not-sent");
    assert_eq!((scene.runs(), scene.after()), (0, secs(2)));
    assert_eq!(scene.status("k").await, Status::Released);
}

#[tokio::test(start_paused = true)]
async fn dbt_10_waiters_for_another_node_do_not_hold_up_the_end() {
    let one = Scene::new();
    let two = one.other_node();
    let _owner = one.start("k", secs(20), answer(200)).await;
    let waiter = two.start("k", secs(0), answer(200)).await;
    two.guard.drain(Instant::now() + secs(1)).await;
    assert_eq!(waiter.await.unwrap(), "busy");
    assert_eq!(two.after(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind_by_thousands_of_runs() {
    let one = Scene::with(Policy { late_answer: secs(1), ..Policy::default() });
    let two = one.other_node();
    let outcomes = [answer(200), answer(429), answer(500), answer(502), Outcome::NotSent, lost()];
    let mut calls = Vec::new();
    for n in 0..3000_usize {
        let (key, outcome) = (format!("k{n}"), &outcomes[n % outcomes.len()]);
        let takes = millis(n as u64 % 50);
        for node in [&one, &two, &one] {
            let (guard, effect) = (node.guard.clone(), node.effect(takes, outcome.clone()));
            let intent = intent(&key, &node.policy);
            calls.push(tokio::spawn(async move { words(&guard.run(intent, effect).await) }));
        }
        // Some leave.
        if n % 7 == 0 {
            calls.pop();
        }
        if n % 11 == 0
            && let Some(call) = calls.pop()
        {
            call.abort();
        }
    }
    let ended = futures_util::future::join_all(calls).await;
    assert!(ended.iter().all(Result::is_ok));
    pass(secs(10)).await;
    for node in [&one, &two] {
        assert_eq!(node.guard.in_flight(), 0);
        assert!(node.guard.0.flights.is_empty());
        assert!(node.guard.0.wakeups.is_empty());
        assert_eq!(*node.guard.0.settlements.borrow(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exe_04_threads_and_nodes_race_for_one_run_per_key() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let nodes = [Guard::new(Arc::clone(&store)), Guard::new(store)];
    for n in 0..200 {
        let runs = Arc::new(AtomicU32::new(0));
        let mut calls = Vec::new();
        for call in 0..16 {
            let (guard, runs) = (nodes[call % 2].clone(), Arc::clone(&runs));
            let intent = intent(&format!("k{n}"), &Policy::default());
            calls.push(tokio::spawn(async move {
                let effect = move |_attempt| async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    answer(200)
                };
                words(&guard.run(intent, effect).await)
            }));
        }
        for words in all(calls).await {
            assert!(words.contains(" 200"), "{words}");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1, "k{n}");
    }
    for guard in nodes {
        guard.drain(Instant::now() + secs(30)).await;
        assert_eq!(guard.in_flight(), 0);
        assert!(guard.0.flights.is_empty() && guard.0.wakeups.is_empty());
    }
}
