//! FAI: which answers are kept.

use std::collections::BTreeMap;

use hapax::event::Answer;
use hapax::{Disposition, Failures, Policy, Preset};

use crate::scene::*;

/// What the retry after an answer of `status` met.
async fn retry_after(failures: &Failures, status: u16, lines: &[(&str, &str)]) -> &'static str {
    let scene = Scene::of(Policy { failures: failures.clone(), ..Policy::default() });
    scene.plan(answer(status, lines, "first"));
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), &first.body[..]), (status, &b"first"[..]));
    let again = scene.send(post("k", "b")).await;
    match scene.runs() {
        2 => "ran",
        1 if again.is_replay() => "replayed",
        1 => {
            again.problem(409, "outcome-unknown");
            "held"
        }
        runs => panic!("{runs} runs"),
    }
}

#[tokio::test(start_paused = true)]
async fn fai_01_to_05_each_preset_does_with_each_status_as_said() {
    let kept = [200, 201, 204, 301, 302, 307, 400, 402, 404, 409, 412, 422];
    let refused = [401, 403, 407, 408, 421, 425, 429];
    let retry = [("retry-after", "1")];
    for preset in [Preset::Standard, Preset::Strict] {
        let failures = Failures::preset(preset);
        for status in kept {
            assert_eq!(retry_after(&failures, status, &[]).await, "replayed", "{status}");
        }
        for status in refused {
            assert_eq!(retry_after(&failures, status, &[]).await, "ran", "{status}");
        }
        for status in [502, 504] {
            assert_eq!(retry_after(&failures, status, &[]).await, "held", "{status}");
        }
        let standard = preset == Preset::Standard;
        for status in [500, 501, 507] {
            let expected = if standard { "ran" } else { "replayed" };
            assert_eq!(retry_after(&failures, status, &[]).await, expected, "{status}");
        }
        assert_eq!(retry_after(&failures, 503, &retry).await, "ran");
        let expected = if standard { "ran" } else { "held" };
        assert_eq!(retry_after(&failures, 503, &[]).await, expected);
    }
    let success_only = Failures::preset(Preset::SuccessOnly);
    for (status, expected) in [(201, "replayed"), (302, "ran"), (404, "ran"), (500, "ran")] {
        assert_eq!(retry_after(&success_only, status, &[]).await, expected, "{status}");
    }
    let store_all = Failures::preset(Preset::StoreAll);
    for status in [200, 401, 500, 503] {
        assert_eq!(retry_after(&store_all, status, &[]).await, "replayed", "{status}");
    }
    let table = BTreeMap::from([(500, Disposition::Keep), (404, Disposition::Free)]);
    let own = Failures { by_status: table, ..Failures::default() };
    assert_eq!(retry_after(&own, 500, &[]).await, "replayed");
    assert_eq!(retry_after(&own, 404, &[]).await, "ran");
}

#[tokio::test(start_paused = true)]
async fn fai_06_the_upstream_decides_for_one_answer_and_nobody_sees_it() {
    let standard = Failures::default();
    for (status, said, expected) in [
        (500, "final", "replayed"),
        (200, "release", "ran"),
        (200, "unknown", "held"),
        (200, " release ", "ran"),
        (200, "nonsense", "replayed"),
    ] {
        let lines = [("hapax-outcome", said)];
        assert_eq!(retry_after(&standard, status, &lines).await, expected, "{said}");
    }
    let scene = Scene::new();
    scene.plan(answer(200, &[("hapax-outcome", "final")], ""));
    for _ in 0..2 {
        assert_eq!(scene.send(post("k", "b")).await.header("hapax-outcome"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn fai_07_the_layers_own_answers_are_not_kept() {
    let scene = Scene::new();
    scene.send(post("\"", "b")).await.problem(400, "invalid-key");
    scene
        .send(post_with("k", &[("connection", "cookie")], "b"))
        .await
        .problem(400, "invalid-request");
    scene.fault(hapax::store::Operation::Claim, hapax::store::Fault::Refused);
    scene.send(post("k", "b")).await.problem(503, "store-unavailable");
    assert_eq!(scene.send(post("k", "b")).await.status, 200);
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn obs_01_every_request_is_counted_once() {
    let scene = Scene::new();
    scene.plan(answer(200, &[], "")).plan(answer(500, &[], "")).plan(answer(502, &[], ""));
    for key in ["kept", "kept", "freed", "unknown", "unknown", "\""] {
        scene.send(post(key, "b")).await;
    }
    scene.send(post("kept", "other")).await;
    scene.send(request("POST", "/pay", &[], "b".into())).await;
    scene.send(request("GET", "/pay", &[], "b".into())).await;
    let mut lines = scene.heard.lines();
    lines.retain(|line| !line.starts_with("replay-age"));
    let expected = [
        Answer::Executed,
        Answer::Replayed,
        Answer::Released,
        Answer::Unknown,
        Answer::Held,
        Answer::InvalidKey,
        Answer::KeyReused,
        Answer::Unprotected,
        Answer::Unprotected,
    ];
    assert_eq!(lines, expected.map(Answer::as_str));
}
