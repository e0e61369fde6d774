//! CON: duplicates of a request that still runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{
    ensure, fail, in_time, marked, problem, refused, same, status, still_running,
    well_formed_problem,
};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{Gate, Reply};

pub(super) const CASES: &[Case] = &[
    Case::layer("CON-01", Kind::Core, "a duplicate in flight is told 409", |t| {
        Box::pin(rejected(t, Route::Reject))
    })
    .needs(&[Need::Route(Route::Reject)])
    .after(&["REP-01"])
    .promise(
        "Where duplicates are refused, one of a running request gets 409 with Retry-After at \
         once, and the upstream is not asked.",
        "draft-07 sections 2.6 and 2.7; RFC 9110 section 10.2.3",
        "Without the answer the client waits or runs the operation a second time.",
    ),
    Case::layer("CON-01-after-wait", Kind::Core, "a duplicate does not wait for ever", |t| {
        Box::pin(rejected(t, Route::BriefWait))
    })
    .needs(&[Need::Route(Route::BriefWait)])
    .after(&["REP-01"])
    .promise(
        "Where duplicates wait, they get 409 with Retry-After once the wait is over.",
        "draft-07 section 2.6",
        "Unbounded waiting turns one slow upstream into a pile of connections.",
    ),
    Case::layer("CON-01-problem", Kind::Profile, "the 409 says in-progress", |t| {
        Box::pin(says_in_progress(t))
    })
    .needs(&[Need::Route(Route::Reject)])
    .after(&["CON-01", "HTP-12"])
    .promise(
        "The 409 is problem details with the code in-progress.",
        "draft-07 section 2.7",
        "An application's own 409 has the same status and another meaning.",
    ),
    Case::layer("CON-02", Kind::Core, "the 409 is not kept", |t| Box::pin(not_kept(t)))
        .needs(&[Need::Route(Route::Reject)])
        .after(&["CON-01"])
        .promise(
            "After the owner finished, the key answers with the real result, not with the 409.",
            "Stripe",
            "The client would never learn what became of its operation.",
        ),
    Case::layer("CON-03", Kind::Profile, "duplicates wait for the result", |t| {
        Box::pin(waits(t, false))
    })
    .after(&["REP-01"])
    .promise(
        "By default a duplicate of a running request waits and gets the replay.",
        "Restate attach; IETF working group issue 42",
        "A client that retries after a time-out gets its result at once.",
    ),
    Case::layer("CON-03-marked", Kind::Profile, "what waiters get is marked", |t| {
        Box::pin(waits(t, true))
    })
    .after(&["CON-03", "REP-02"])
    .promise(
        "The answer to a waiting duplicate is marked as a replay.",
        "Stripe",
        "The mark is how operators and clients tell a replay from a second run.",
    ),
    Case::layer("CON-03-hang-up", Kind::Profile, "a waiter that leaves disturbs nobody", |t| {
        Box::pin(waiter_leaves(t))
    })
    .after(&["CON-03"])
    .promise(
        "A waiting duplicate that disconnects cancels neither the owner nor other waiters.",
        "Hapax profile",
        "Anyone could cancel a payment by sending its duplicate and hanging up.",
    ),
    Case::layer("CON-03-failure", Kind::Profile, "waiters share a failure", |t| {
        Box::pin(shared_failure(t))
    })
    .after(&["CON-03"])
    .promise(
        "Duplicates that waited for a request that failed with 500 get that 500; fifty clicks on \
         a failing service are one run.",
        "Hapax profile",
        "A failing service would be asked again by each waiter in turn.",
    ),
    Case::layer("CON-04", Kind::Core, "a slow owner keeps its claim", |t| Box::pin(slow(t)))
        .needs(&[Need::Route(Route::Lease)])
        .after(&["REP-01"])
        .promise(
            "While the owner lives, duplicates are refused although the lease's term went by \
             several times; nothing runs again.",
            "field report Truxify#5846 (10 s lock, 60 s handler)",
            "Slow requests are the ones that get retried.",
        ),
    Case::layer("CON-06", Kind::Core, "a duplicate at the last moment runs nothing", |t| {
        Box::pin(last_moment(t))
    })
    .after(&["EXE-04"])
    .promise(
        "Duplicates that arrive around the very end of the first run get the replay or 409.",
        "field reports Truxify#6898, granit#1151",
        "A claim that is freed before its result is visible leaves a gap.",
    ),
    Case::layer("CON-07", Kind::Core, "keys do not wait for each other", |t| {
        Box::pin(independent(t))
    })
    .after(&["REP-01"])
    .promise(
        "While one key's request hangs, requests with other keys run.",
        "RFC 9113 (multiplexing)",
        "One stuck request would take the service down.",
    ),
    Case::layer("CON-07-http2", Kind::Core, "nor on one HTTP/2 connection", |t| {
        Box::pin(independent2(t))
    })
    .needs(&[Need::Http2])
    .after(&["CON-07"])
    .promise(
        "While one key's stream hangs, other streams of the same connection are answered.",
        "RFC 9113 (multiplexing)",
        "One stuck request would block everything a client library multiplexes.",
    ),
];

async fn rejected(t: &Trial, route: Route) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(route);
    let duplicates = async {
        t.arrived(1).await?;
        let mut judged = Ok(());
        for instance in 0..t.layer.instances.len() {
            let answer = t.send_to(instance, &request).await;
            let told = answer.and_then(|answer| still_running(&answer));
            if judged.is_ok() {
                judged = told;
            }
        }
        gate.open();
        judged
    };
    let (first, judged) = futures_util::future::join(t.send(&request), duplicates).await;
    judged?;
    status(&first?, 201, "the first request")?;
    t.count(1, "after duplicates of a running request")
}

async fn says_in_progress(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Reject);
    let duplicate = async {
        t.arrived(1).await?;
        let answer = t.send(&request).await;
        gate.open();
        answer
    };
    let (first, duplicate) = futures_util::future::join(t.send(&request), duplicate).await;
    first?;
    let duplicate = duplicate?;
    problem(&duplicate, 409, "in-progress")?;
    well_formed_problem(&duplicate)
}

async fn not_kept(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Reject);
    let duplicates = async {
        t.arrived(1).await?;
        for _ in 0..3 {
            status(&t.send(&request).await?, 409, "a duplicate")?;
        }
        gate.open();
        Ok(())
    };
    let (first, judged) = futures_util::future::join(t.send(&request), duplicates).await;
    judged?;
    let first = first?;
    same(&first, &t.send_until_settled(&request).await?)?;
    t.count(1, "after duplicates and a retry")
}

async fn waits(t: &Trial, mark: bool) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Plain);
    let opening = async {
        t.arrived(1).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        gate.open();
        Ok(())
    };
    let duplicates = async {
        t.arrived(1).await?;
        futures_util::future::try_join_all((0..5).map(|_| t.send(&request))).await
    };
    let (first, (), duplicates) =
        futures_util::future::try_join3(t.send(&request), opening, duplicates).await?;
    status(&first, 201, "the first request")?;
    for duplicate in &duplicates {
        same(&first, duplicate)?;
        if mark {
            marked(duplicate, "the answer to a waiting duplicate")?;
        }
    }
    t.count(1, "after five waiting duplicates")
}

async fn waiter_leaves(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Plain);
    let others = async {
        t.arrived(1).await?;
        for _ in 0..3 {
            let mut wire = t.open().await?;
            wire.send(&request).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(wire);
        }
        t.log.note("three waiting duplicates hung up");
        let staying = async {
            let answer = t.send(&request).await?;
            same_as_made(&answer)
        };
        let opening = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            gate.open();
        };
        futures_util::future::join(staying, opening).await.0
    };
    let (first, judged) = futures_util::future::join(t.send(&request), others).await;
    same_as_made(&first?)?;
    judged?;
    t.count(1, "after duplicates that hung up")
}

fn same_as_made(answer: &crate::wire::Answer) -> Result<(), Stop> {
    ensure(answer.status == 201 && answer.body == "{\"made\":1}", || {
        format!("came {} instead of the first run's result", answer.describe())
    })
}

async fn shared_failure(t: &Trial) -> Result<(), Stop> {
    let instances = t.layer.instances.len();
    let gate = Gate::new();
    t.station.reply(Reply::numbered(500).gated(&gate));
    let request = t.keyed(Route::Plain);
    let duplicates = async {
        t.arrived(1).await?;
        let sending =
            futures_util::future::try_join_all((0..10).map(|n| t.send_to(n % instances, &request)));
        let opening = async {
            t.attend(Duration::from_millis(800)).await;
            gate.open();
        };
        futures_util::future::join(sending, opening).await.0
    };
    let (first, duplicates) = futures_util::future::join(t.send_to(0, &request), duplicates).await;
    in_time(status(&in_time(first)?, 500, "the first request"))?;
    for (n, duplicate) in in_time(duplicates)?.iter().enumerate() {
        // An answer that is not kept does not leave the instance that has it.
        if n % instances == 0 || problem(duplicate, 409, "in-progress").is_err() {
            in_time(status(duplicate, 500, "a duplicate that waited for a failure"))?;
        }
    }
    // A duplicate that was held up until the failure was over is a retry, and runs.
    in_time(t.count(1, "after ten duplicates of a failing request"))
}

async fn slow(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Lease);
    let duplicates = async {
        t.arrived(1).await?;
        let until = Instant::now() + Duration::from_millis(3500);
        let mut judged = Ok(());
        let mut instance = 0;
        let mut over = false;
        // The last one is sent after several leases, however late that is.
        while !over && judged.is_ok() {
            over = Instant::now() >= until;
            let answer = t.send_to(instance % t.layer.instances.len(), &request).await;
            judged = answer.and_then(|answer| {
                problem(&answer, 409, "in-progress").or_else(|_| {
                    // Others word it in their own way, but it must be a conflict.
                    refused(&answer, &[409], "a duplicate of a slow request")?;
                    match answer.code().as_deref() {
                        Some("outcome-unknown") => fail("the living owner's claim lapsed"),
                        _ => Ok(()),
                    }
                })
            });
            instance += 1;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        gate.open();
        judged
    };
    let (first, judged) = futures_util::future::join(t.send(&request), duplicates).await;
    t.at_most(1, "after a request that took several leases")?;
    // A layer that stood still for a lease could not renew its claim.
    in_time(judged)?;
    let first = first?;
    in_time(status(&first, 201, "the slow request"))?;
    in_time(same(&first, &t.send_until_settled(&request).await?))?;
    t.count(1, "after a request that took several leases")
}

async fn last_moment(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::default().delayed(Duration::from_millis(40)));
    for round in 1..=6_usize {
        let request = t.keyed(Route::Plain);
        let sent = (0..16_u64).map(|number| {
            let request = &request;
            async move {
                // Spread over the end of the first run.
                tokio::time::sleep(Duration::from_millis(number * 6)).await;
                t.send_to(number as usize % t.layer.instances.len(), request).await
            }
        });
        let answers = futures_util::future::try_join_all(sent).await?;
        t.count(round, "after duplicates around the end of the first run")?;
        for answer in &answers {
            refused(answer, &[201, 409], "a duplicate around the end of the first run")?;
            ensure(answer.status == 409 || answer.body == answers[0].body, || {
                format!("a duplicate got another result: {}", answer.describe())
            })?;
        }
    }
    Ok(())
}

async fn independent(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply_once([Reply::default().gated(&gate)]);
    let stuck = t.keyed(Route::Plain);
    let others = async {
        t.arrived(1).await?;
        let requests: Vec<_> = (0..6).map(|_| t.keyed(Route::Plain)).collect();
        let began = Instant::now();
        let answers = t.send_all(&requests).await;
        gate.open();
        for answer in answers? {
            status(&answer, 201, "another key while one hangs")?;
        }
        in_time(ensure(began.elapsed() < Duration::from_secs(8), || {
            format!("other keys took {} s", began.elapsed().as_secs())
        }))
    };
    let (first, judged) = futures_util::future::join(t.send(&stuck), others).await;
    judged?;
    status(&first?, 201, "the stuck request")?;
    t.count(7, "after seven keys")
}

async fn independent2(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply_once([Reply::default().gated(&gate)]);
    let connection = t.open2().await?;
    let stuck = t.keyed(Route::Plain);
    let others = async {
        t.arrived(1).await?;
        let requests: Vec<_> = (0..6).map(|_| t.keyed(Route::Plain)).collect();
        let sent = requests.iter().map(|request| t.send2(&connection, request));
        let answers = futures_util::future::try_join_all(sent).await;
        gate.open();
        for answer in answers? {
            status(&answer, 201, "another stream while one hangs")?;
        }
        Ok(())
    };
    let (first, judged) = futures_util::future::join(t.send2(&connection, &stuck), others).await;
    judged?;
    status(&first?, 201, "the stuck stream")?;
    t.count(7, "after seven keys on one connection")
}
