//! TTL: how long a key is remembered.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail, in_time, met, same, status, unmarked};
use crate::profile::Route;
use crate::trial::{OTHER_PAYLOAD, Trial};
use crate::upstream::{Gate, Reply};
use crate::wire::{Answer, Request};

pub(super) const CASES: &[Case] = &[
    Case::layer("TTL-01", Kind::Core, "an expired key is a new one", |t| {
        Box::pin(expires(t, None))
    })
    .needs(&[Need::Route(Route::Short)])
    .after(&["REP-01"])
    .promise(
        "A key is replayed until its retention is over; then it executes as a first request, \
         without a mark.",
        "Stripe; draft gap G12",
        "A key that outlives its time blocks; one that dies early runs twice.",
    ),
    Case::layer("TTL-01-other-body", Kind::Core, "an expired key takes another body", |t| {
        Box::pin(expires(t, Some(OTHER_PAYLOAD)))
    })
    .needs(&[Need::Route(Route::Short)])
    .after(&["FPR-01"])
    .promise(
        "After its expiry a key executes also with another body: a dead record refuses nothing.",
        "draft gap G12",
        "422 from a record that is gone cannot be explained to anyone.",
    ),
    Case::layer("TTL-03", Kind::Core, "a running request does not expire", |t| {
        Box::pin(running(t))
    })
    .needs(&[Need::Route(Route::Short)])
    .after(&["REP-01"])
    .promise(
        "A request that takes longer than the retention keeps its claim, and its result is kept \
         from its completion on.",
        "field reports of lock time-outs",
        "Slow requests would run twice.",
    ),
    Case::layer("TTL-04", Kind::Profile, "the advertised time is kept", |t| {
        Box::pin(advertised(t))
    })
    .after(&["REP-01"])
    .promise(
        "First answers carry Idempotency-Expires, and so do replays, with the same time.",
        "draft-07 section 2.5.2; Hapax profile",
        "A client must know when a retry stops being safe.",
    ),
    Case::layer("TTL-05", Kind::Core, "the policy is published", |t| Box::pin(policy(t))).promise(
        "The policy, with the lifetime of keys, can be read at /.well-known/idempotency as \
             JSON.",
        "draft-07 section 2.5.2 (MUST publish)",
        "Clients guess how long a retry is safe, and guess wrong.",
    ),
    Case::layer("TTL-05-linked", Kind::Core, "problem types can be read", |t| Box::pin(linked(t)))
        .after(&["HTP-12"])
        .promise(
            "The type of a problem resolves to its documentation, or a describedby link does.",
            "draft-07 section 2.7; RFC 9457 section 3.1.1",
            "A developer who meets the error finds out what to do.",
        ),
];

/// What is replayed when asked for this long after the first request is not forgotten early.
const NOT_EARLY: Duration = Duration::from_millis(1500);

/// Sends until the key executes again, and judges every replay before; with it, how long after `began`
/// the last replay was asked for.
async fn until_expired(
    t: &Trial,
    first: &Answer,
    request: &Request,
    began: Instant,
) -> Result<(Answer, Duration), Stop> {
    let count = t.station.count();
    let settled = Instant::now();
    let mut last = Duration::ZERO;
    loop {
        let (asked, since) = (settled.elapsed(), began.elapsed());
        let answer = t.send(request).await?;
        if t.station.count() > count {
            // The margin is for the clock's resolution, not for early expiry.
            ensure(began.elapsed() >= Duration::from_millis(1900), || {
                format!("a result kept for 2 s was gone after {} ms", began.elapsed().as_millis())
            })?;
            return Ok((answer, last));
        }
        same(first, &answer)?;
        last = since;
        // The answer had come, so its time was running: a late replay cannot be the machine's.
        ensure(asked < Duration::from_millis(3500), || {
            format!("a result kept for 2 s was replayed after {} ms", asked.as_millis())
        })?;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn expires(t: &Trial, other: Option<&'static str>) -> Result<(), Stop> {
    let began = Instant::now();
    let request = t.keyed(Route::Short);
    let first = t.send(&request).await?;
    status(&first, 201, "the first request")?;
    let (again, replayed) = match other {
        None => until_expired(t, &first, &request, began).await?,
        Some(body) => (until_taken(t, &request.body(body)).await?, NOT_EARLY),
    };
    status(&again, 201, "the key after its expiry")?;
    unmarked(&again, "the execution after the expiry")?;
    t.count(2, "after the expiry")?;
    // Otherwise nobody looked at the time that matters.
    met(replayed >= NOT_EARLY, || {
        format!("the key was last asked for after {} ms of 2 s", replayed.as_millis())
    })
}

/// Sends until the key takes this request, which is not the one it was first used for.
async fn until_taken(t: &Trial, request: &Request) -> Result<Answer, Stop> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let answer = t.send(request).await?;
        if t.station.count() > 1 {
            return Ok(answer);
        }
        ensure(Instant::now() < deadline, || {
            format!("15 s after a retention of 2 s: {}", answer.describe())
        })?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn running(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply_once([Reply::default().gated(&gate)]);
    let request = t.keyed(Route::Short);
    let duplicate = async {
        t.arrived(1).await?;
        tokio::time::sleep(Duration::from_millis(3500)).await;
        let sending = t.send(&request);
        let opening = async {
            t.attend(Duration::from_millis(700)).await;
            t.count(1, "while the request took longer than its retention")?;
            gate.open();
            Ok(Instant::now())
        };
        futures_util::future::try_join(sending, opening).await
    };
    let (first, judged) = futures_util::future::join(t.send(&request), duplicate).await;
    let (duplicate, settled) = judged?;
    let first = first?;
    status(&first, 201, "the slow request")?;
    let retry = t.send(&request).await?;
    let judged = kept_from_completion(t, &first, &duplicate, &retry);
    // The result is kept for a while only, which a standing machine sleeps through.
    if settled.elapsed() < NOT_EARLY { judged } else { in_time(judged) }
}

fn kept_from_completion(
    t: &Trial,
    first: &Answer,
    duplicate: &Answer,
    retry: &Answer,
) -> Result<(), Stop> {
    t.count(1, "after a request longer than its retention, a duplicate and a retry")?;
    if duplicate.status != 409 {
        same(first, duplicate)?;
    }
    same(first, retry)
}

async fn advertised(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let began = Instant::now();
    let first = t.send(&request).await?;
    let took = began.elapsed();
    let replay = t.send(&request).await?;
    let Some(told) = first.text("idempotency-expires") else {
        return fail("the first answer has no Idempotency-Expires");
    };
    let again = replay.text("idempotency-expires");
    ensure(again.as_deref().is_some_and(|again| keeps(&told, again, took)), || {
        format!("Idempotency-Expires was {told:?} and is {again:?} on the replay")
    })
}

/// Whether a replay's time is what the first answer's promised. One may count from the request and the
/// other from its completion, which lie at most the first answer's time apart; both are whole seconds.
fn keeps(told: &str, again: &str, took: Duration) -> bool {
    match (instant(told), instant(again)) {
        (Some(told), Some(again)) => (told..=told + took.as_secs() + 1).contains(&again),
        (_, None) | (None, Some(_)) => told == again,
    }
}

/// Seconds since 1970 of a time, where it is a date as HTTP has them or such a number.
fn instant(text: &str) -> Option<u64> {
    let date = || httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    text.parse().ok().or_else(|| date().map(|since| since.as_secs()))
}

async fn policy(t: &Trial) -> Result<(), Stop> {
    let answer = t.send(&t.request("GET", "/.well-known/idempotency")).await?;
    status(&answer, 200, "the policy document")?;
    let Some(json) = answer.json() else {
        return fail(format!("the policy document is no JSON: {}", answer.describe()));
    };
    // An ISO 8601 duration begins with P and has a digit next, or T and a digit.
    let text = json.to_string();
    let duration = text.split('"').any(|part| {
        let rest = part.strip_prefix('P').map(|rest| rest.strip_prefix('T').unwrap_or(rest));
        rest.is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    });
    ensure(duration, || format!("no ISO 8601 lifetime stands in the policy: {}", answer.describe()))
}

async fn linked(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    t.send(&request).await?;
    let refusal = t.send(&request.body(OTHER_PAYLOAD)).await?;
    let link = refusal.text("link").and_then(|link| {
        link.contains("describedby")
            .then(|| link.split(['<', '>']).nth(1).unwrap_or_default().to_owned())
    });
    let kind = refusal
        .json()
        .and_then(|json| json.get("type").and_then(|kind| kind.as_str().map(str::to_owned)));
    let Some(target) = link.or(kind) else {
        return fail(format!("neither a type nor a link came: {}", refusal.describe()));
    };
    if target.starts_with("http://") || target.starts_with("https://") {
        // Documentation elsewhere is fine and not ours to visit.
        return Ok(());
    }
    ensure(target.starts_with('/'), || format!("the problem's type is {target:?}"))?;
    let page = t.send(&t.request("GET", &target)).await?;
    status(&page, 200, &format!("the documentation at {target}"))?;
    ensure(!page.body.is_empty(), || format!("the documentation at {target} is empty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TTL-04: never a shorter time than was advertised, and no longer one than the work explains.
    #[test]
    fn a_replay_keeps_the_time_that_the_first_answer_told() {
        let (told, later) = ("Mon, 23 Nov 2026 06:44:16 GMT", "Mon, 23 Nov 2026 06:44:17 GMT");
        let moment = Duration::from_millis(5);
        assert!(keeps(told, told, moment) && keeps(told, later, moment));
        assert!(!keeps(later, told, moment), "it may not be earlier");
        assert!(!keeps(told, "Mon, 23 Nov 2026 06:44:18 GMT", moment));
        assert!(keeps("100", "107", Duration::from_secs(7)) && !keeps("100", "99", moment));
        assert!(keeps("P1D", "P1D", moment) && !keeps("P1D", "P2D", moment));
    }
}
