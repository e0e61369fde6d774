//! EXE: the first execution.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail, problem, refused, same, status, unmarked, whole};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{After, Reply};
use crate::wire::Body;

pub(super) const CASES: &[Case] = &[
    Case::layer("EXE-01", Kind::Core, "forwarded once and unchanged", |t| Box::pin(forwarded(t)))
        .promise(
            "A first request reaches the upstream exactly once with its path, query and content \
             untouched, and its answer comes back whole, without a mark of a replay.",
            "draft-07 section 2.6; RFC 9110 section 7.7",
            "Everything else builds on a layer that does not change what it protects.",
        ),
    Case::layer("EXE-10", Kind::Profile, "the key reaches the upstream", |t| Box::pin(key_sent(t)))
        .after(&["EXE-01"])
        .promise(
            "The key is forwarded with the same field value.",
            "rocket-rides-atomic",
            "The upstream needs the key to deduplicate by itself and to answer probes.",
        ),
    Case::layer("EXE-07-fresh", Kind::Core, "no re-send on a fresh connection", |t| {
        Box::pin(not_sent_again(t, Reply::hang_up()))
    })
    .after(&["EXE-01"])
    .promise(
        "An upstream that reads the request and closes without an answer is not asked again.",
        "RFC 9110 section 9.2.2",
        "The upstream may have done its work; sending again does it twice.",
    ),
    Case::layer("EXE-07-reset", Kind::Core, "no re-send after a reset", |t| {
        Box::pin(not_sent_again(t, Reply::hang_up().then(After::Reset)))
    })
    .after(&["EXE-01"])
    .promise(
        "An upstream that reads the request and resets the connection is not asked again.",
        "RFC 9110 section 9.2.2",
        "A reset after delivery says nothing about the effect.",
    ),
    Case::layer("EXE-07-pooled", Kind::Core, "no re-send on a used connection", |t| {
        Box::pin(pooled(t))
    })
    .after(&["EXE-01"])
    .promise(
        "A request lost on a connection that served others before is not sent again either.",
        "RFC 9110 section 9.2.2; RFC 9112 section 9.3.1",
        "Client libraries re-send on pooled connections by default; each re-send is a second run.",
    ),
    Case::layer("EXE-07-cut-head", Kind::Core, "no re-send after half an answer", |t| {
        Box::pin(not_sent_again(t, Reply::raw("HTTP/1.1 201 Crea")))
    })
    .after(&["EXE-01"])
    .promise(
        "An upstream that breaks off inside its status line is not asked again.",
        "RFC 9110 section 9.2.2",
        "An answer had begun: the work was done.",
    ),
    Case::layer("EXE-09", Kind::Profile, "too large a body is refused", |t| {
        Box::pin(too_large(t, false))
    })
    .needs(&[Need::Route(Route::Small)])
    .after(&["EXE-01"])
    .promise(
        "A protected request over the body limit is refused with 413 and never runs unprotected.",
        "RFC 9110 section 15.5.14",
        "A silently unprotected request runs twice when it is retried.",
    ),
    Case::layer("EXE-09-chunked", Kind::Profile, "too large a chunked body is refused", |t| {
        Box::pin(too_large(t, true))
    })
    .needs(&[Need::Route(Route::Small)])
    .after(&["EXE-01"])
    .promise(
        "The body limit holds for chunked requests, whose length nobody declares.",
        "RFC 9110 section 15.5.14",
        "A limit that trusts Content-Length is none.",
    ),
    Case::layer("EXE-08", Kind::Profile, "an unreachable upstream frees the key", |t| {
        Box::pin(unreachable(t))
    })
    .after(&["HTP-12"])
    .alone()
    .promise(
        "Where nothing was sent, the client is told 502 or 503, and the same key executes once \
         the upstream is back.",
        "Adyen NO_CONNECTION_AVAILABLE",
        "Nothing happened, so a retry must not be answered with the error for a day.",
    ),
];

async fn forwarded(t: &Trial) -> Result<(), Stop> {
    let path = format!("{}/a%20b?x=1&y=%7E&x=2", t.path(Route::Plain));
    let body: Vec<u8> = (0..=255).chain([0, 13, 10, 255]).collect();
    let request = t
        .request("POST", &path)
        .with("Content-Type", "application/octet-stream")
        .with("X-Custom", "kept")
        .key(&t.key())
        .body(body.clone());
    let answer = t.send(&request).await?;
    status(&answer, 201, "a first request")?;
    whole(&answer, "the first answer")?;
    unmarked(&answer, "the first answer")?;
    ensure(answer.body == "{\"made\":1}", || {
        format!("the upstream's content was changed: {}", answer.describe())
    })?;
    t.count(1, "after one request")?;
    let Some(arrival) = t.station.arrivals().pop() else { return fail("nothing arrived") };
    ensure(arrival.target() == path && arrival.method() == "POST", || {
        format!("the upstream saw {:?}", arrival.head.start)
    })?;
    ensure(arrival.body == body, || {
        format!("the content changed: {} bytes became {}", body.len(), arrival.body.len())
    })?;
    ensure(arrival.head.text("x-custom").as_deref() == Some("kept"), || {
        "the field X-Custom did not reach the upstream".to_owned()
    })
}

async fn key_sent(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    for value in [format!("\"{key}\""), format!("\"{key} \\\"2\\\\\"")] {
        t.send(&t.post(Route::Plain).raw_key(&value)).await?;
        let seen = t.station.arrivals().pop().and_then(|arrival| arrival.key());
        ensure(seen.as_deref() == Some(value.as_str()), || {
            format!("the upstream saw the key {seen:?} instead of {value:?}")
        })?;
    }
    Ok(())
}

async fn not_sent_again(t: &Trial, reply: Reply) -> Result<(), Stop> {
    t.station.reply_once([reply]);
    let answer = t.send(&t.keyed(Route::Plain)).await?;
    t.count(1, "although it answered nothing usable to the first")?;
    refused(&answer, &[500, 502, 503, 504], "a request whose answer got lost")
}

async fn pooled(t: &Trial) -> Result<(), Stop> {
    // Several good answers first, so that whichever connection is used next has served before.
    for _ in 0..4 {
        status(&t.send(&t.keyed(Route::Plain)).await?, 201, "a first request")?;
    }
    t.station.reply_once([Reply::hang_up()]);
    let answer = t.send(&t.keyed(Route::Plain)).await?;
    t.count(5, "after four answered requests and one lost answer")?;
    refused(&answer, &[500, 502, 503, 504], "a request whose answer got lost")
}

async fn too_large(t: &Trial, chunked: bool) -> Result<(), Stop> {
    let body = vec![b'x'; 64 * 1024];
    let request = t.keyed(Route::Small).set("Content-Type", "application/octet-stream");
    let request = match chunked {
        true => {
            let parts = body.chunks(1000).map(bytes::Bytes::copy_from_slice).collect();
            request.framed(Body::Chunks(parts, Vec::new()))
        }
        false => request.body(body),
    };
    let answer = t.send(&request).await?;
    status(&answer, 413, "a body over the limit")?;
    t.count(0, "after a refused body")?;
    ensure(t.station.cut_count() == 0, || "a part of the refused request was sent".to_owned())
}

async fn unreachable(t: &Trial) -> Result<(), Stop> {
    t.log.note("the upstream stops listening");
    t.layer.upstream.stop().await;
    let request = t.keyed(Route::Plain);
    let answer = t.send(&request).await?;
    refused(&answer, &[502, 503], "a request without an upstream")?;
    t.layer.upstream.start().await.map_err(|error| Stop::Skip(error.to_string()))?;
    t.log.note("the upstream listens again");
    // A breaker or a name cache may need a moment; the key must not.
    let mut retry = t.send(&request).await?;
    for _ in 0..20 {
        if retry.status != 502 && retry.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        retry = t.send(&request).await?;
    }
    status(&retry, 201, "the retry after the upstream came back")?;
    unmarked(&retry, "the first execution")?;
    t.count(1, "after the upstream came back")?;
    let again = t.send(&request).await?;
    same(&retry, &again)?;
    t.count(1, "after a further retry")?;
    problem(&answer, 502, "upstream-unreachable")
}
