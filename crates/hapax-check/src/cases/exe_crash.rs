//! EXE, DBT, CON: the layer is killed, paused and restarted.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, in_time, met, refused, same, same_fields, status};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{Gate, Reply};
use crate::wire::message::Ending;
use crate::wire::{Answer, Request};

const LIMIT: Duration = Duration::from_secs(120);
const TWICE: &str = "A crash between effect and record is where double payments come from.";

pub(super) const CASES: &[Case] = &[
    Case::layer("EXE-02", Kind::Core, "the claim is durable before anything is sent", |t| {
        Box::pin(killed_at_arrival(t))
    })
    .needs(&[Need::Command, Need::Durable])
    .after(&["REP-01"])
    .alone()
    .limit(LIMIT)
    .promise(
        "When the layer is killed as soon as the upstream has the request, a retry after the \
         restart is not run as a first one.",
        "Amazon Builders' Library (record before effect)",
        TWICE,
    ),
    Case::layer("EXE-03", Kind::Core, "the result is durable before the client has it", |t| {
        Box::pin(killed_after_answer(t))
    })
    .needs(&[Need::Command, Need::Durable])
    .after(&["REP-01-fields"])
    .alone()
    .limit(LIMIT)
    .promise(
        "When the layer is killed right after the client got the last byte, the retry after the \
         restart is answered with exactly that.",
        "Amazon Builders' Library",
        "The client saw a success; a retry that says otherwise is a contradiction.",
    ),
    Case::layer("DBT-03", Kind::Core, "a dead owner's key is neither free nor stuck", |t| {
        Box::pin(dead_owner(t))
    })
    .needs(&[Need::Command, Need::Durable, Need::Route(Route::Lease)])
    .after(&["EXE-02"])
    .alone()
    .limit(LIMIT)
    .promise(
        "After the owner was killed, duplicates are told 409 while its lease lasts and that the \
         outcome is unknown soon after; nothing runs again.",
        "field report actor-ts#984 (a key stuck for 24 h)",
        "A key that is free runs twice; one that stays in progress for a day blocks its client.",
    ),
    Case::layer("DBT-09-mid-answer", Kind::Core, "killed inside the upstream's answer", |t| {
        Box::pin(killed_mid_answer(t))
    })
    .needs(&[Need::Command, Need::Durable, Need::Route(Route::Lease)])
    .after(&["EXE-02", "DBT-03"])
    .alone()
    .limit(LIMIT)
    .promise(
        "When the layer is killed between the first and the last byte of the upstream's answer, \
         no retry runs again.",
        "enumeration of crash points",
        TWICE,
    ),
    Case::layer("DBT-09-storm", Kind::Core, "killed at any moment under load", |t| {
        Box::pin(storm(t))
    })
    .needs(&[Need::Command, Need::Durable])
    .after(&["EXE-02", "EXE-03"])
    .alone()
    .limit(LIMIT)
    .promise(
        "Killed at arbitrary moments under load, no key reaches the upstream twice, and each \
         whole answer that a client saw is what its retries get.",
        "enumeration of crash points",
        TWICE,
    ),
    Case::layer("DBT-10", Kind::Profile, "SIGTERM finishes what runs", |t| Box::pin(drain(t)))
        .needs(&[Need::Command, Need::Durable])
        .after(&["REP-01"])
        .alone()
        .limit(LIMIT)
        .promise(
            "On SIGTERM a running protected request is finished and answered, and its result is \
             kept.",
            "Hapax profile",
            "Each deployment would leave requests in doubt.",
        ),
    Case::layer("CON-05", Kind::Core, "a paused owner overwrites nothing", |t| Box::pin(paused(t)))
        .needs(&[Need::Command, Need::Two, Need::Route(Route::ReExecute)])
        .after(&["DBT-03"])
        .alone()
        .limit(LIMIT)
        .promise(
            "An owner that was paused past its lease and then goes on cannot replace the result \
             of the attempt that took over.",
            "field reports Truxify#4623, actor-ts#1082; literature on fencing",
            "The client would see two different results for one operation.",
        ),
    Case::layer("CON-05-alone", Kind::Core, "a pause past the lease runs nothing twice", |t| {
        Box::pin(paused_alone(t))
    })
    .needs(&[Need::Command, Need::Route(Route::Lease)])
    .after(&["REP-01"])
    .alone()
    .limit(LIMIT)
    .promise(
        "When the layer is paused past its lease while the upstream works, no retry runs again, \
         and a result that was told once stays.",
        "field reports Truxify#4623, actor-ts#1082",
        TWICE,
    ),
];

/// Sends without waiting for the answer.
async fn send_off(t: &Trial, request: &Request) -> Result<crate::trial::Wire, Stop> {
    let mut wire = t.open().await?;
    wire.send(request).await;
    Ok(wire)
}

async fn killed_at_arrival(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    // Where the lease is short, nobody has to wait for its end.
    let brief = t.layer.routes.has(Route::Lease);
    let request = t.keyed(if brief { Route::Lease } else { Route::Plain });
    let wire = send_off(t, &request).await?;
    t.arrived(1).await?;
    t.kill(0).await?;
    gate.open();
    drop(wire);
    t.start(0).await?;
    for _ in 0..3 {
        let retry = t.send(&request).await?;
        t.count(1, "after the layer was killed and the request retried")?;
        refused(&retry, &[409], "the retry of a request whose owner was killed")?;
    }
    Ok(())
}

async fn killed_after_answer(t: &Trial) -> Result<(), Stop> {
    for round in 1..=4 {
        let request = t.keyed(Route::Plain);
        let first = t.send(&request).await?;
        t.kill(0).await?;
        status(&first, 201, "the first request")?;
        t.start(0).await?;
        let retry = t.send(&request).await?;
        t.count(round, "after the layer was killed behind its answer")?;
        same_fields(&first, &retry)?;
    }
    Ok(())
}

/// The key must come to "outcome unknown" (or to its result) and never run again.
async fn comes_to_rest(t: &Trial, request: &Request, count: usize) -> Result<Answer, Stop> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = t.send(request).await?;
        t.count(count, "after the owner's end")?;
        if !answer.still_busy() {
            return Ok(answer);
        }
        ensure(tokio::time::Instant::now() < deadline, || {
            format!("20 s after a lease of 1 s the key is still busy: {}", answer.describe())
        })?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn dead_owner(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Lease);
    let wire = send_off(t, &request).await?;
    t.arrived(1).await?;
    let other = t.layer.instances.len() - 1;
    t.kill(0).await?;
    drop(wire);
    if other == 0 {
        t.start(0).await?;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = t.send_to(other, &request).await?;
        t.count(1, "after the owner was killed")?;
        status(&answer, 409, "a duplicate of a killed owner's request")?;
        if !answer.still_busy() {
            break;
        }
        ensure(tokio::time::Instant::now() < deadline, || {
            format!("20 s after a lease of 1 s the key is still busy: {}", answer.describe())
        })?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    t.count(1, "after the lease of the killed owner")
}

async fn killed_mid_answer(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    let body = "x".repeat(4000);
    t.station.reply(Reply::new(200).body(body).body_gated(&gate));
    let request = t.keyed(Route::Lease);
    let wire = send_off(t, &request).await?;
    t.arrived(1).await?;
    // The upstream sends its head and half its content at once; the layer may have them.
    tokio::time::sleep(Duration::from_millis(100)).await;
    t.kill(0).await?;
    gate.open();
    drop(wire);
    t.start(0).await?;
    let answer = comes_to_rest(t, &request, 1).await?;
    status(&answer, 409, "a retry of a request whose answer died with its owner")
}

/// Clients send while the layer is killed; afterwards every key is retried.
async fn storm(t: &Trial) -> Result<(), Stop> {
    for round in 0..5_u64 {
        let stations: Vec<_> = (0..24).map(|_| t.station()).collect();
        let requests: Vec<Request> = stations
            .iter()
            .map(|station| {
                station.reply(Reply::default().delayed(Duration::from_millis(15)));
                let mut request = t.keyed(Route::Lease);
                request.target = t.path_of(station, Route::Lease);
                request
            })
            .collect();
        let sending =
            futures_util::future::join_all(requests.iter().map(|request| t.try_send(0, request)));
        let killing = async {
            tokio::time::sleep(Duration::from_millis(5 + 12 * round)).await;
            t.kill(0).await
        };
        let (came, killed) = futures_util::future::join(sending, killing).await;
        killed?;
        t.start(0).await?;
        for ((request, station), first) in requests.iter().zip(&stations).zip(came) {
            let arrived = station.count();
            let whole = first
                .ok()
                .filter(|answer| answer.ending == Ending::Complete && answer.status == 201);
            let retry = t.send(request).await?;
            ensure(station.count() <= arrived.max(1), || {
                format!("a key reached the upstream {} times", station.count())
            })?;
            if let Some(first) = whole {
                same(&first, &retry)?;
            }
        }
    }
    Ok(())
}

async fn drain(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Plain);
    let mut wire = send_off(t, &request).await?;
    t.arrived(1).await?;
    t.terminate(0).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let first = wire.answer("POST").await?;
    status(&first, 201, "a request that ran at SIGTERM")?;
    let code = t.wait_end(0, Duration::from_secs(45)).await?;
    ensure(code == Some(0), || format!("the layer ended with exit code {code:?}"))?;
    t.start(0).await?;
    same(&first, &t.send(&request).await?)?;
    t.count(1, "after SIGTERM, a restart and a retry")
}

/// An owner that is paused later than this may have given up before.
const PAUSED_AFTER_MAX: Duration = Duration::from_millis(800);

async fn paused(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply_once([Reply::default().gated(&gate)]);
    let request = t.keyed(Route::ReExecute);
    let began = tokio::time::Instant::now();
    let mut wire = send_off(t, &request).await?;
    let arrived = t.arrived(1).await;
    t.pause(0).await?;
    met(arrived.is_ok() && began.elapsed() < PAUSED_AFTER_MAX, || {
        format!("the owner was paused {} ms after its claim", began.elapsed().as_millis())
    })?;
    // The other instance takes over once the lease and the late answer's time are over.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let second = loop {
        // Paused in the middle of a step, the owner may hold what the other one needs.
        let answer = in_time(t.send_to(1, &request).await)?;
        t.at_most(2, "while the owner was paused")?;
        if answer.status == 201 {
            break answer;
        }
        // The second attempt has a second only, and there is no third.
        let over = t.station.count() == 2 && !answer.still_busy();
        in_time(ensure(!over && tokio::time::Instant::now() < deadline, || {
            format!("nobody took over: {}", answer.describe())
        }))?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    t.count(2, "after the take-over")?;
    gate.open();
    t.resume(0).await?;
    // The paused owner may answer its own client what it likes, but the record is the other's.
    let _ = wire.read_within("POST", Duration::from_secs(5)).await;
    for instance in [0, 1, 0, 1] {
        let retry = t.send_until_settled_at(instance, &request).await?;
        same(&second, &retry)?;
    }
    t.count(2, "after the paused owner went on")
}

async fn paused_alone(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Lease);
    let mut wire = send_off(t, &request).await?;
    t.arrived(1).await?;
    t.pause(0).await?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    gate.open();
    t.resume(0).await?;
    let first = wire.read("POST").await.ok().filter(|answer| answer.status == 201);
    let rest = comes_to_rest(t, &request, 1).await?;
    if let Some(first) = first.filter(|_| rest.status == 201) {
        same(&first, &rest)?;
    }
    let again = t.send(&request).await?;
    same(&rest, &again)?;
    t.count(1, "after a pause past the lease")
}
