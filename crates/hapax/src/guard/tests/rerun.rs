//! Unknown outcomes that run again (DBT-04) or are looked up (DBT-05).

use super::*;
use crate::machine::Claimed;
use crate::policy::OnUnknown;

fn re_executing() -> Scene {
    Scene::with(Policy { unknown: OnUnknown::ReExecute, ..Policy::default() })
}

#[tokio::test(start_paused = true)]
async fn dbt_04_two_nodes_and_ten_retries_are_two_runs() {
    let (one, two) = {
        let one = re_executing();
        let two = one.other_node();
        (one, two)
    };
    assert_eq!(one.run("k", secs(0), lost()).await, "ran unknown lost");
    assert_eq!(one.after(), secs(0));
    // Until the cap is over, duplicates are busy, here and there.
    for node in [&one, &two] {
        assert_eq!(node.run("k", secs(0), lost()).await, "busy");
    }
    assert_eq!(one.after(), secs(20));
    pass(secs(41)).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(one.start("k", secs(1), lost()).await);
        calls.push(two.start("k", secs(1), lost()).await);
    }
    let ended = all(calls).await;
    assert_eq!(ended.iter().filter(|words| *words == "ran unknown lost").count(), 1, "{ended:?}");
    assert_eq!(ended.iter().filter(|words| *words == "busy").count(), 9, "{ended:?}");
    assert_eq!(one.runs(), 2);
    // The attempts are used up: held for good.
    pass(secs(61)).await;
    for node in [&one, &two] {
        assert_eq!(node.run("k", secs(0), lost()).await, "held");
    }
    pass(secs(3600)).await;
    assert_eq!(two.run("k", secs(0), lost()).await, "held");
    assert_eq!(one.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn dbt_04_nothing_runs_again_while_the_first_call_may_still_be_answered() {
    let scene = re_executing();
    assert_eq!(scene.run("k", secs(85), answer(200)).await, "ran unknown timed-out");
    for _ in 0..5 {
        assert_eq!(scene.run("k", secs(0), answer(500)).await, "busy");
    }
    assert_eq!(scene.after(), secs(80));
    assert_eq!(scene.run("k", secs(0), answer(500)).await, "waited 200 kept");
    assert_eq!(scene.after(), secs(85));
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_04_a_second_attempt_says_that_it_is_one_and_keeps_its_answer() {
    let scene = re_executing();
    assert_eq!(scene.run("k", secs(0), lost()).await, "ran unknown lost");
    pass(secs(61)).await;
    let verdict = scene.guard.run(intent("k", &scene.policy), |attempt| async move {
        assert_eq!(attempt.lease().unwrap().number, 2);
        answer(200)
    });
    assert_eq!(words(&verdict.await), "ran 200 kept");
    assert_eq!(scene.run("k", secs(0), lost()).await, "replayed 200");
}

#[tokio::test(start_paused = true)]
async fn dbt_03_and_04_after_a_dead_owner_exactly_one_runs() {
    let scene = re_executing();
    // An owner that claims and is never heard of again.
    let claim = intent("k", &scene.policy).claim();
    assert!(matches!(scene.store.claim(&claim).await.unwrap(), Claimed::Granted(_)));
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "busy");
    pass(secs(5)).await;
    // Its lease is over, the cap is not.
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "busy");
    pass(secs(35)).await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(scene.start("k", secs(0), answer(200)).await);
    }
    let ended = all(calls).await;
    assert_eq!(scene.runs(), 1);
    assert_eq!(ended.iter().filter(|words| *words == "ran 200 kept").count(), 1, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn dbt_02_under_hold_a_dead_owner_is_never_replaced() {
    let scene = Scene::new();
    let claim = intent("k", &scene.policy).claim();
    scene.store.claim(&claim).await.unwrap();
    // It waits while the lease lives and is told when it has lapsed.
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "held");
    assert_eq!(scene.after(), secs(10));
    for _ in 0..100 {
        assert_eq!(scene.run("k", secs(0), answer(200)).await, "held");
    }
    assert_eq!(scene.runs(), 0);
}

/// Answers as planned and counts how often it is asked.
#[derive(Debug)]
struct Planned {
    asked: AtomicU32,
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Hangs,
    Panics,
    Says(&'static Probed),
}

#[async_trait]
impl Probe for Planned {
    async fn ask(&self) -> Probed {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.plan {
            Plan::Hangs => std::future::pending().await,
            Plan::Panics => panic!("a probe that panics on purpose"),
            Plan::Says(probed) => probed.clone(),
        }
    }
}

struct Probing {
    probe: Arc<Planned>,
    scene: Scene,
}

impl Probing {
    fn new(plan: Plan) -> Self {
        let policy = Policy { unknown: OnUnknown::Probe, ..Policy::default() };
        Self {
            probe: Arc::new(Planned { asked: AtomicU32::new(0), plan }),
            scene: Scene::with(policy),
        }
    }

    async fn run(&self, takes: Duration, outcome: Outcome) -> String {
        self.run_on(&self.scene, takes, outcome).await
    }

    async fn run_on(&self, scene: &Scene, takes: Duration, outcome: Outcome) -> String {
        let probe = Some(Arc::clone(&self.probe) as Arc<dyn Probe>);
        let intent = Intent { probe, ..intent("k", &scene.policy) };
        words(&scene.guard.run(intent, scene.effect(takes, outcome)).await)
    }

    fn asked(&self) -> u32 {
        self.probe.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn dbt_05_executed_is_settled_and_replayed() {
    let executed =
        Probed::Executed(RecordedResponse { status: 209, ..RecordedResponse::default() });
    let probing = Probing::new(Plan::Says(Box::leak(Box::new(executed))));
    assert_eq!(probing.run(secs(0), lost()).await, "ran unknown lost");
    pass(secs(61)).await;
    assert_eq!(probing.run(secs(0), lost()).await, "replayed 209");
    assert_eq!(probing.run(secs(0), lost()).await, "replayed 209");
    assert_eq!((probing.asked(), probing.scene.runs()), (1, 1));
    assert_eq!(probing.scene.heard.count("resolved by probe"), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_05_not_executed_runs() {
    let probing = Probing::new(Plan::Says(&Probed::NotExecuted));
    assert_eq!(probing.run(secs(0), lost()).await, "ran unknown lost");
    pass(secs(61)).await;
    assert_eq!(probing.run(secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!((probing.asked(), probing.scene.runs()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn dbt_05_what_the_probe_does_not_know_stays_held() {
    for plan in [Plan::Says(&Probed::Unknown), Plan::Panics, Plan::Hangs] {
        let probing = Probing::new(plan);
        assert_eq!(probing.run(secs(0), lost()).await, "ran unknown lost");
        pass(secs(61)).await;
        assert_eq!(probing.run(secs(0), answer(200)).await, "held", "{plan:?}");
        assert!(probing.scene.after() <= secs(91), "{plan:?}");
        assert_eq!((probing.asked(), probing.scene.runs()), (1, 1));
        assert_eq!(probing.scene.guard.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn dbt_05_the_probe_is_not_asked_while_the_first_call_may_still_be_answered() {
    let probing = Probing::new(Plan::Says(&Probed::NotExecuted));
    assert_eq!(probing.run(secs(85), answer(200)).await, "ran unknown timed-out");
    for _ in 0..5 {
        assert_eq!(probing.run(secs(0), answer(500)).await, "busy");
    }
    assert_eq!(probing.asked(), 0);
    assert_eq!(probing.run(secs(0), answer(500)).await, "waited 200 kept");
    assert_eq!((probing.asked(), probing.scene.runs()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn dbt_05_the_probe_is_not_asked_of_a_dead_owner_before_the_cap() {
    let probing = Probing::new(Plan::Says(&Probed::NotExecuted));
    let claim = intent("k", &probing.scene.policy).claim();
    probing.scene.store.claim(&claim).await.unwrap();
    pass(secs(11)).await;
    assert_eq!(probing.run(secs(0), answer(200)).await, "busy");
    assert_eq!(probing.asked(), 0);
    pass(secs(50)).await;
    assert_eq!(probing.run(secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!(probing.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_05_the_probe_is_not_asked_early_when_the_owner_was_drained() {
    let probing = Probing::new(Plan::Says(&Probed::NotExecuted));
    let second = probing.scene.other_node();
    let owner = probing.scene.start("k", secs(50), answer(200)).await;
    probing.scene.guard.drain(Instant::now()).await;
    assert_eq!(owner.await.unwrap(), "ran unknown drained");
    // The upstream may still be at it.
    assert_eq!(probing.run_on(&second, secs(0), answer(500)).await, "busy");
    assert_eq!((probing.asked(), probing.scene.runs()), (0, 1));
    pass(secs(61)).await;
    assert_eq!(probing.run_on(&second, secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!(probing.asked(), 1);
}
