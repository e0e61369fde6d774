//! EXE: simultaneous first requests, and clients that hang up.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail, refused, same, status};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{Gate, Reply};

pub(super) const CASES: &[Case] = &[
    Case::layer("EXE-04", Kind::Core, "simultaneous requests run once", |t| {
        Box::pin(simultaneous(t))
    })
    .after(&["REP-01"])
    .promise(
        "Many identical first requests at once, over all instances, reach the upstream once.",
        "draft-07 section 2.6; field report remitlend#1624 (check, then act)",
        "A double click or an impatient client library is two payments.",
    ),
    Case::layer("EXE-04-versions", Kind::Core, "also over both versions of HTTP", |t| {
        Box::pin(both_versions(t))
    })
    .needs(&[Need::Http2])
    .after(&["EXE-04"])
    .promise(
        "Identical first requests at once over HTTP/1.1 and HTTP/2 reach the upstream once.",
        "draft-07 section 2.6",
        "Two code paths with a claim each are no claim.",
    ),
    Case::layer("EXE-05", Kind::Profile, "a client that hangs up loses nothing", |t| {
        Box::pin(hang_up(t))
    })
    .after(&["REP-01"])
    .promise(
        "When the client disconnects after its request, the upstream's answer is still kept and \
         the retry gets it.",
        "hyper issue 2728 (handlers are dropped on disconnect)",
        "Mobile clients hang up all the time; the lost key would run the payment again.",
    ),
    Case::layer(
        "EXE-05-mid-answer",
        Kind::Profile,
        "hanging up in the middle of the answer",
        |t| Box::pin(hang_up_late(t)),
    )
    .after(&["EXE-05"])
    .promise(
        "When the client disconnects while the answer is under way, it is kept whole all the same.",
        "hyper issue 2728",
        "The lost second half would make the retry run again, or be replayed short.",
    ),
    Case::layer("EXE-06", Kind::Core, "half a request is no request", |t| Box::pin(half(t)))
        .after(&["REP-01"])
        .promise(
            "When the client disconnects inside its body, the upstream sees no complete request \
             and the key stays free for the whole one.",
            "RFC 9112 section 8",
            "A cut upload must neither be carried out nor block its retry.",
        ),
];

const COPIES: usize = 12;

async fn simultaneous(t: &Trial) -> Result<(), Stop> {
    // The upstream takes its time, so that everyone is there before the first answer.
    t.station.reply(Reply::default().delayed(Duration::from_millis(300)));
    for round in 1..=3 {
        let request = t.keyed(Route::Plain);
        let answers = t.send_all(&vec![request; COPIES]).await?;
        t.count(round, &format!("after {COPIES} simultaneous requests"))?;
        let Some(first) = answers.iter().find(|answer| answer.status == 201) else {
            return fail("none of the simultaneous requests was answered with the result");
        };
        for answer in &answers {
            match answer.status {
                409 => {}
                _ => same(first, answer)?,
            }
        }
    }
    Ok(())
}

async fn both_versions(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::default().delayed(Duration::from_millis(300)));
    let connection = t.open2().await?;
    let request = t.keyed(Route::Plain);
    let over2 = futures_util::future::try_join_all((0..6).map(|_| t.send2(&connection, &request)));
    let copies = vec![request.clone(); 6];
    let (one, two) = futures_util::future::try_join(t.send_all(&copies), over2).await?;
    t.count(1, "after simultaneous requests over both versions")?;
    for answer in one.iter().chain(&two) {
        refused(answer, &[201, 409], "a simultaneous request")?;
    }
    Ok(())
}

async fn hang_up(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Plain);
    let mut wire = t.open().await?;
    wire.send(&request).await;
    t.arrived(1).await?;
    drop(wire);
    t.log.note("the client hung up");
    // The layer gets the time to notice before the upstream answers.
    t.attend(Duration::from_millis(300)).await;
    gate.open();
    let retry = t.send_until_settled(&request).await?;
    t.count(1, "after a client that hung up retried")?;
    status(&retry, 201, "the retry of a client that hung up")?;
    ensure(retry.body == "{\"made\":1}", || {
        format!("the retry got another answer: {}", retry.describe())
    })?;
    same(&retry, &t.send(&request).await?)?;
    t.count(1, "after a further retry")
}

async fn hang_up_late(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    let body: String = (0..20_000).map(|number| format!("{number:05}\n")).collect();
    t.station.reply(Reply::new(200).body(body.clone()).body_gated(&gate));
    let request = t.keyed(Route::Plain);
    let mut wire = t.open().await?;
    wire.send(&request).await;
    t.arrived(1).await?;
    // Whatever the layer passes on before the end, the client leaves after a moment.
    wire.read_some(1000, Duration::from_millis(300)).await;
    drop(wire);
    t.log.note("the client hung up inside the answer");
    gate.open();
    let retry = t.send_until_settled(&request).await?;
    t.count(1, "after a client that hung up retried")?;
    status(&retry, 200, "the retry of a client that hung up")?;
    ensure(retry.body == body, || {
        format!("{} of {} bytes were replayed", retry.body.len(), body.len())
    })
}

async fn half(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let message = request.to_bytes();
    let mut wire = t.open().await?;
    wire.write("a request without its last bytes", &message[..message.len() - 10]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(wire);
    t.log.note("the client hung up inside its body");
    let retry = t.send_until_settled(&request).await?;
    status(&retry, 201, "the whole request after half of it")?;
    t.count(1, "after half a request and a whole one")?;
    same(&retry, &t.send(&request).await?)
}
