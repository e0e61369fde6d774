//! HTP: answers before the body, interim answers, errors and limits.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, refused, same, status, well_formed_problem};
use crate::profile::Route;
use crate::trial::{OTHER_PAYLOAD, PAYLOAD, Trial};
use crate::upstream::Reply;
use crate::wire::Request;

pub(super) const CASES: &[Case] = &[
    Case::layer("HTP-05", Kind::Core, "100 is sent when the body is wanted", |t| {
        Box::pin(continues(t))
    })
    .after(&["REP-01"])
    .promise(
        "With Expect: 100-continue a good request is told to go on, also where it will be a \
         replay.",
        "RFC 9110 section 10.1.1",
        "A client that waits for 100 would hang for its own time-out.",
    ),
    Case::layer("HTP-05-refused", Kind::Core, "no 100 for a key that is refused", |t| {
        Box::pin(no_continue(t))
    })
    .needs(&[Need::Route(Route::Required)])
    .after(&["KEY-11", "KEY-05-unterminated"])
    .promise(
        "With Expect: 100-continue an invalid or missing key is answered finally, without 100 \
         and without the body.",
        "RFC 9110 section 10.1.1",
        "A large upload is sent in vain.",
    ),
    Case::layer("HTP-06", Kind::Profile, "interim answers are no answers", |t| {
        Box::pin(interim(t))
    })
    .after(&["REP-01"])
    .promise(
        "102 and 103 of the upstream are never taken for the answer and never replayed.",
        "RFC 9110 section 15.2",
        "An early hint kept as the result loses the result.",
    ),
    Case::layer("HTP-12", Kind::Core, "every error of the layer is a problem", |t| {
        Box::pin(problems(t))
    })
    .after(&["FPR-01"])
    .promise(
        "Every error of the layer is application/problem+json with type, title, status and \
         detail, and no cache may store it.",
        "RFC 9457; draft-07 section 2.7",
        "A client cannot act on an error that it cannot read.",
    ),
    Case::layer("HTP-12-large", Kind::Core, "so is the refusal of a large body", |t| {
        Box::pin(large_problem(t))
    })
    .needs(&[Need::Route(Route::Small)])
    .after(&["EXE-09", "HTP-12"])
    .promise(
        "The refusal of a body over the limit is a problem as well.",
        "RFC 9457",
        "A client cannot act on an error that it cannot read.",
    ),
    Case::layer("HTP-13", Kind::Core, "after a refusal the connection is in step", |t| {
        Box::pin(in_step(t))
    })
    .after(&["KEY-05-unterminated"])
    .promise(
        "After a refusal on a kept connection, its body is drained or the connection closed; the \
         next request is read correctly.",
        "RFC 9112 section 9.6",
        "The unread body is taken for the next request: a smuggled one.",
    ),
    Case::layer(
        "HTP-14-fields",
        Kind::Profile,
        "huge headers are refused and claim nothing",
        |t| Box::pin(huge_fields(t)),
    )
    .after(&["REP-01"])
    .promise(
        "A header section of a megabyte is refused with 431 or 400, and its key stays free.",
        "RFC 6585 section 5; RFC 9110 section 5.4",
        "Unbounded input is memory for anyone to take.",
    ),
    Case::layer(
        "HTP-14-target",
        Kind::Profile,
        "a huge target is refused and claims nothing",
        |t| Box::pin(huge_target(t)),
    )
    .after(&["REP-01"])
    .promise(
        "A target of a megabyte is refused with 414, 431 or 400, and its key stays free.",
        "RFC 9110 section 15.5.15",
        "Unbounded input is memory for anyone to take.",
    ),
];

async fn continues(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).with("Expect", "100-continue");
    for round in ["the first request", "the retry"] {
        let mut wire = t.open().await?;
        wire.write(&format!("head of {round}"), &request.head_bytes()).await;
        let head = wire.head().await?;
        ensure(head.word(1) == "100", || {
            format!("{round} with Expect got {:?} before its body", head.start)
        })?;
        wire.write("body", PAYLOAD.as_bytes()).await;
        status(&wire.answer("POST").await?, 201, round)?;
        t.count(1, &format!("after {round} with Expect"))?;
    }
    Ok(())
}

async fn no_continue(t: &Trial) -> Result<(), Stop> {
    let missing = t.post(Route::Required);
    let invalid = t.post(Route::Required).raw_key("\"unterminated");
    for request in [missing, invalid] {
        let request = request.with("Expect", "100-continue");
        let mut wire = t.open().await?;
        wire.write(&request.describe(), &request.head_bytes()).await;
        let answer = wire.answer("POST").await?;
        ensure(answer.interim.is_empty(), || {
            "the body was asked for although the key is refused".to_owned()
        })?;
        status(&answer, 400, "a request without a good key")?;
    }
    t.count(0, "after refused requests")
}

async fn interim(t: &Trial) -> Result<(), Stop> {
    let mut reply = Reply::numbered(201);
    reply.interim = vec![102, 103, 103];
    t.station.reply(reply);
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "a request with interim answers")?;
    ensure(!first.has("link"), || "the early hint's fields are in the answer".to_owned())?;
    let retry = t.send(&request).await?;
    same(&first, &retry)?;
    ensure(retry.interim.is_empty(), || format!("{:?} were replayed", retry.interim))?;
    t.count(1, "after a retry")
}

async fn problems(t: &Trial) -> Result<(), Stop> {
    let used = t.keyed(Route::Plain);
    t.send(&used).await?;
    let mut refusals = vec![t.send(&used.body(OTHER_PAYLOAD)).await?];
    // Without these prefixes the refusal above has to do.
    if t.layer.routes.has(Route::Required) {
        refusals.push(t.send(&t.post(Route::Required)).await?);
    }
    for refusal in &refusals {
        ensure(refusal.status >= 400, || format!("no refusal: {}", refusal.describe()))?;
        well_formed_problem(refusal)?;
    }
    Ok(())
}

async fn large_problem(t: &Trial) -> Result<(), Stop> {
    let refusal = t.send(&t.keyed(Route::Small).body(vec![b' '; 64 * 1024])).await?;
    status(&refusal, 413, "a body over the limit")?;
    well_formed_problem(&refusal)
}

async fn in_step(t: &Trial) -> Result<(), Stop> {
    // The body looks like a request, which it must never become.
    let inner = format!(
        "POST {}/smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        t.path(Route::Plain)
    );
    let bad = t.post(Route::Plain).raw_key("\"unterminated").body(inner.repeat(200));
    let mut wire = t.open().await?;
    wire.send(&bad).await;
    let refusal = wire.answer("POST").await?;
    status(&refusal, 400, "a malformed key")?;
    let good = t.keyed(Route::Plain);
    wire.send(&good).await;
    match wire.read("POST").await {
        Ok(answer) => {
            status(&answer, 201, "the next request on the connection")?;
            t.count(1, "after a refusal and a good request")?;
        }
        // Closing is the other right way.
        Err(_) => {
            status(&t.send(&good).await?, 201, "the next request")?;
        }
    }
    let smuggled =
        t.station.arrivals().iter().any(|arrival| arrival.target().ends_with("/smuggled"));
    ensure(!smuggled, || "the refused request's body was taken for a request".to_owned())?;
    t.count(1, "after a refusal and a good request")
}

/// The request is refused, claims nothing, and its key executes afterwards.
async fn claims_nothing(t: &Trial, huge: &Request, allowed: &[u16]) -> Result<(), Stop> {
    let mut wire = t.open().await?;
    wire.write("a huge request", &huge.to_bytes()).await;
    if let Ok(answer) = wire.read_within("POST", Duration::from_secs(10)).await {
        refused(&answer, allowed, "a huge request")?;
    }
    t.count(0, "after a huge request")?;
    let key = crate::wire::head::all(&huge.fields, "idempotency-key")
        .first()
        .map(|value| value.to_vec())
        .unwrap_or_default();
    let answer = t.send(&t.post(Route::Plain).raw_key(key)).await?;
    status(&answer, 201, "the key of the refused huge request")
}

async fn huge_fields(t: &Trial) -> Result<(), Stop> {
    let huge = t.keyed(Route::Plain).with("X-Huge", vec![b'x'; 1 << 20]);
    claims_nothing(t, &huge, &[400, 413, 431]).await
}

async fn huge_target(t: &Trial) -> Result<(), Stop> {
    let mut huge = t.keyed(Route::Plain);
    huge.target = format!("{}?{}", huge.target, "x".repeat(1 << 20));
    claims_nothing(t, &huge, &[400, 414, 431]).await
}
