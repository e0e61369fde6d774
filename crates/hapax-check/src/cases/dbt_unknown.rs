//! DBT: nobody knows what became of a request.

use std::time::Duration;

use tokio::time::Instant;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, in_time, met, problem, refused, same, status, well_formed_problem};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{After, Gate, Reply};

pub(super) const CASES: &[Case] = &[
    Case::layer("DBT-01", Kind::Profile, "a time-out says that the outcome is unknown", |t| {
        Box::pin(timed_out(t))
    })
    .needs(&[Need::Route(Route::Timeout)])
    .after(&["REP-01", "HTP-12"])
    .promise(
        "When the upstream does not answer in time, the first client is told 504 \
         outcome-unknown, not a plain gateway error.",
        "TigerBeetle, Adyen and Stripe speak of an indeterminate outcome",
        "A client that takes 504 for a failure tells its user that nothing was charged.",
    ),
    Case::layer("DBT-01-lost", Kind::Profile, "a lost answer says so too", |t| Box::pin(lost(t)))
        .after(&["EXE-07-fresh", "HTP-12"])
        .promise(
            "When the answer is lost, the first client is told 502 outcome-unknown.",
            "Hapax profile",
            "The request was delivered; a plain 502 hides that.",
        ),
    Case::layer("DBT-02", Kind::Core, "a lost answer never frees the key", |t| {
        Box::pin(never_again(t))
    })
    .after(&["REP-01", "EXE-07-fresh"])
    .promise(
        "However often a request whose answer was lost is retried, it is not run again unasked.",
        "draft-07 section 2.6 (outstanding); payments practice",
        "Treating an unknown outcome as a failure is the classic double payment.",
    ),
    Case::layer("DBT-02-timeout", Kind::Core, "a time-out never frees the key", |t| {
        Box::pin(timed_out_once(t))
    })
    .needs(&[Need::Route(Route::Timeout)])
    .after(&["REP-01"])
    .promise(
        "However often a request that timed out is retried, it is not run again unasked.",
        "draft-07 section 2.6 (outstanding); payments practice",
        "The upstream is still at work when the client retries: two payments.",
    ),
    Case::layer("DBT-02-mismatch", Kind::Profile, "a key in doubt still compares", |t| {
        Box::pin(doubt_compares(t))
    })
    .after(&["DBT-02", "FPR-01"])
    .promise(
        "Another payload with a key in doubt is a mismatch.",
        "draft-07 section 2.7",
        "The client would take the doubt for its new operation's.",
    ),
    Case::layer("DBT-02-held", Kind::Profile, "the key is held as outcome-unknown", |t| {
        Box::pin(held(t))
    })
    .after(&["DBT-02", "HTP-12"])
    .promise(
        "Retries of a key in doubt are told 409 outcome-unknown, which is not in-progress.",
        "draft-07 section 2.7",
        "A client must know whether waiting helps or someone has to look.",
    ),
    Case::layer("DBT-07", Kind::Profile, "a late answer settles the key", |t| Box::pin(late(t)))
        .needs(&[Need::Route(Route::Timeout)])
        .after(&["DBT-02-timeout"])
        .promise(
            "An answer that comes after the client's time-out is kept, and the next retry gets it.",
            "Hapax profile",
            "Most unknown outcomes are merely slow ones; they settle themselves.",
        ),
    Case::layer("DBT-11", Kind::Profile, "doubt outlives the retention", |t| Box::pin(outlives(t)))
        .needs(&[Need::Route(Route::Short)])
        .after(&["DBT-02-held"])
        .promise(
            "A key in doubt does not turn into a free one when the time for kept results is over.",
            "Hapax profile",
            "An expired doubt that runs again is the silent double charge.",
        ),
];

async fn timed_out(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let began = Instant::now();
    let first = t.send(&t.keyed(Route::Timeout)).await?;
    was_sent(t)?;
    in_time(problem(&first, 504, "outcome-unknown"))?;
    well_formed_problem(&first)?;
    ensure(began.elapsed() >= Duration::from_millis(900), || {
        format!("the upstream was given {} ms instead of 1 s", began.elapsed().as_millis())
    })?;
    t.count(1, "after a time-out")
}

/// The upstream's second can be over before the request is on its way.
fn was_sent(t: &Trial) -> Result<(), Stop> {
    met(t.station.count() > 0, || "the upstream's time was over before it was asked".to_owned())
}

async fn lost(t: &Trial) -> Result<(), Stop> {
    for (at, reply) in
        [Reply::hang_up(), Reply::hang_up().then(After::Reset)].into_iter().enumerate()
    {
        t.station.reply_once([reply]);
        let first = t.send(&t.keyed(Route::Plain)).await?;
        t.count(at + 1, "after a lost answer")?;
        problem(&first, 502, "outcome-unknown")?;
        well_formed_problem(&first)?;
    }
    Ok(())
}

async fn never_again(t: &Trial) -> Result<(), Stop> {
    let replies =
        [Reply::hang_up(), Reply::hang_up().then(After::Reset), Reply::raw("HTTP/1.1 20")];
    for (at, reply) in replies.into_iter().enumerate() {
        t.station.reply_once([reply]);
        let request = t.keyed(Route::Plain);
        // What the first client is told is judged elsewhere.
        let _ = t.try_send(0, &request).await;
        for _ in 0..4 {
            let retry = t.send(&request).await?;
            t.count(at + 1, "after retries of a request whose answer was lost")?;
            refused(&retry, &[409, 500, 502, 504], "a retry with an unknown outcome")?;
        }
    }
    Ok(())
}

async fn timed_out_once(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Timeout);
    let first = t.send(&request).await?;
    was_sent(t)?;
    refused(&first, &[500, 502, 504], "a request that timed out")?;
    for _ in 0..4 {
        let retry = t.send(&request).await?;
        t.count(1, "after retries of a request that timed out")?;
        refused(&retry, &[409, 500, 502, 504], "a retry after a time-out")?;
    }
    Ok(())
}

async fn doubt_compares(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::hang_up()]);
    let request = t.keyed(Route::Plain);
    let _ = t.try_send(0, &request).await;
    let other = t.send(&request.body(crate::trial::OTHER_PAYLOAD)).await?;
    status(&other, 422, "another payload with a key in doubt")?;
    t.count(1, "after another payload with a key in doubt")
}

async fn held(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::hang_up()]);
    let request = t.keyed(Route::Plain);
    let _ = t.try_send(0, &request).await;
    for _ in 0..3 {
        let retry = t.send(&request).await?;
        problem(&retry, 409, "outcome-unknown")?;
        well_formed_problem(&retry)?;
    }
    t.count(1, "after retries of a key in doubt")
}

async fn late(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Timeout);
    let first = t.send(&request).await?;
    was_sent(t)?;
    status(&first, 504, "the first request")?;
    let meanwhile = t.send(&request).await?;
    t.at_most(1, "after a time-out and a retry")?;
    status(&meanwhile, 409, "a retry before the late answer")?;
    gate.open();
    let deadline = Instant::now() + Duration::from_secs(10);
    let retry = loop {
        let retry = t.send(&request).await?;
        t.count(1, "after a late answer and retries")?;
        if retry.status != 409 || Instant::now() > deadline {
            break retry;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // On a machine that stands still the answer comes later than it is awaited.
    in_time(status(&retry, 201, "a retry after the late answer"))?;
    ensure(retry.body == "{\"made\":1}", || {
        format!("the retry got another answer: {}", retry.describe())
    })?;
    same(&retry, &t.send(&request).await?)?;
    t.count(1, "after a late answer and retries")
}

async fn outlives(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::hang_up()]);
    let request = t.keyed(Route::Short);
    let _ = t.try_send(0, &request).await;
    // The neighbour shows that the retention is over indeed.
    let neighbour = t.keyed(Route::Short);
    status(&t.send(&neighbour).await?, 201, "a neighbour")?;
    t.count(2, "after two keys")?;
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        status(&t.send(&neighbour).await?, 201, "the neighbour's retry")?;
        if t.station.count() > 2 {
            break;
        }
        ensure(Instant::now() < deadline, || {
            "a result kept for 2 s is still there after 15 s".to_owned()
        })?;
    }
    let retry = t.send(&request).await?;
    t.count(3, "after the retention of a key in doubt")?;
    problem(&retry, 409, "outcome-unknown")
}
