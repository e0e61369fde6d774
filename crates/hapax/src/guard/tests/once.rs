//! Functions that are no HTTP handlers (M16), their steps (M17) and their child keys (M14).

use bytes::Bytes;

use super::*;
use crate::policy::OnUnknown;

async fn once(scene: &Scene, key: &str, value: Result<&str, &str>) -> Result<Once, OnceError> {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes())).map_err(str::to_owned);
    let runs = Arc::clone(&scene.runs);
    let effect = move |_attempt| async move {
        runs.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(secs(1)).await;
        value
    };
    scene.guard.once(intent(key, &scene.policy), effect).await
}

#[tokio::test(start_paused = true)]
async fn m16_a_function_runs_once_and_its_value_is_kept() {
    let scene = Scene::new();
    let (first, second) = tokio::join!(once(&scene, "k", Ok("v")), once(&scene, "k", Ok("w")));
    assert_eq!(first, Ok(Once { ran: true, value: "v".into() }));
    assert_eq!(second, Ok(Once { ran: false, value: "v".into() }));
    let third = once(&scene, "k", Ok("w")).await;
    assert_eq!(third, Ok(Once { ran: false, value: "v".into() }));
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn m16_a_failure_without_effect_is_shared_and_frees_the_key() {
    let scene = Scene::new();
    let (first, second) =
        tokio::join!(once(&scene, "k", Err("no route")), once(&scene, "k", Err("never called")));
    assert_eq!(first, Err(OnceError::Failed("no route".into())));
    assert_eq!(second, Err(OnceError::Failed("another call's run failed".into())));
    assert_eq!(once(&scene, "k", Ok("v")).await, Ok(Once { ran: true, value: "v".into() }));
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn m16_what_cannot_be_known_is_an_error_of_its_own() {
    let scene = Scene::new();
    let panics = scene.guard.once(intent("k", &scene.policy), |_attempt| async {
        panic!("on purpose");
    });
    assert_eq!(panics.await, Err(OnceError::Unknown));
    assert_eq!(once(&scene, "k", Ok("v")).await, Err(OnceError::Unknown));
    assert_eq!(scene.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn m16_every_refusal_says_that_nothing_ran() {
    let mut scene = Scene::new();
    assert!(once(&scene, "used", Ok("v")).await.is_ok());
    let other = another_payload(intent("used", &scene.policy));
    let refused = scene.guard.once(other, |_attempt| async { Ok(Bytes::new()) }).await;
    assert_eq!(refused, Err(OnceError::Mismatch));
    scene.plan(Operation::Claim, Fault::Refused);
    assert_eq!(once(&scene, "away", Ok("v")).await, Err(OnceError::Store));
    scene.policy.concurrent = Concurrent::Reject;
    let _owner = scene.start("busy", secs(5), answer(200)).await;
    assert!(matches!(once(&scene, "busy", Ok("v")).await, Err(OnceError::Busy { .. })));
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn m17_finished_steps_are_handed_to_the_next_attempt_and_m14_child_keys_stay() {
    let policy = Policy { unknown: OnUnknown::ReExecute, ..Policy::default() };
    let scene = Scene::with(policy);
    let keys = Arc::new(Mutex::new(Vec::new()));
    let attempt_of = |saves: Option<&'static str>, expects: Option<&'static str>| {
        let keys = Arc::clone(&keys);
        move |attempt: Attempt| async move {
            let progress = attempt.lease().unwrap().progress.clone();
            assert_eq!(progress.as_deref(), expects.map(str::as_bytes));
            let children = ["mail", "charge"].map(|step| attempt.child_key(step).unwrap());
            keys.lock().unwrap().push(children.map(|key| key.as_str().to_owned()));
            match saves {
                None => Ok(Bytes::from_static(b"done")),
                Some(step) => {
                    attempt.save("nothing yet".into()).await.unwrap();
                    attempt.save(step.into()).await.unwrap();
                    // Renewals without progress keep what was saved.
                    tokio::time::sleep(secs(8)).await;
                    panic!("after the step, on purpose");
                }
            }
        }
    };
    let intent = intent("k", &scene.policy);
    let first = scene.guard.once(intent.clone(), attempt_of(Some("step 1"), None)).await;
    assert_eq!(first, Err(OnceError::Unknown));
    pass(secs(61)).await;
    let second = scene.guard.once(intent, attempt_of(None, Some("step 1"))).await;
    assert_eq!(second, Ok(Once { ran: true, value: "done".into() }));
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0][0], keys[0][1]);
}

#[tokio::test(start_paused = true)]
async fn m14_child_keys_of_other_operations_differ() {
    let scene = Scene::new();
    let child_of = async |caller: &str, key: &str| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let intent = intent_of(caller, key, &scene.policy);
        let verdict = scene.guard.run(intent, move |attempt| async move {
            tell.send(attempt.child_key("mail").unwrap()).unwrap();
            answer(200)
        });
        assert_eq!(words(&verdict.await), "ran 200 kept");
        told.await.unwrap().as_str().to_owned()
    };
    let one = child_of("caller", "k").await;
    assert_ne!(one, child_of("caller", "l").await);
    assert_ne!(one, child_of("other", "k").await);
    assert!(!one.contains('k'));
}
