//! HTP: what an intermediary adds, removes and lets pass.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail, same, status};
use crate::profile::Route;
use crate::trial::{ARRIVAL_LIMIT, Trial};
use crate::upstream::{After, Framing, Gate, Reply};
use crate::wire::{Body, chunked};

const TRANSPARENT: &str = "Putting the layer in front of a service would break what it does not \
                           even protect.";

pub(super) const CASES: &[Case] = &[
    Case::layer("HTP-01", Kind::Core, "fields of the connection stop at the layer", |t| {
        Box::pin(hop_by_hop(t))
    })
    .after(&["KEY-11-optional"])
    .promise(
        "Fields of the client's connection, and those that Connection lists, do not reach the \
         upstream, and Via is added.",
        "RFC 9110 sections 7.6.1 and 7.6.3",
        "They steer a connection that is not theirs.",
    ),
    Case::layer("HTP-07", Kind::Profile, "a protected request does not upgrade", |t| {
        Box::pin(no_upgrade(t))
    })
    .after(&["HTP-01"])
    .promise(
        "Upgrade on a protected request is not forwarded: 101 cannot be kept.",
        "RFC 9110 section 7.8",
        "A connection that became something else has no answer to replay.",
    ),
    Case::layer("HTP-07-unprotected", Kind::Profile, "other requests do", |t| Box::pin(upgrade(t)))
        .after(&["EXE-01"])
        .promise(
            "An unprotected request with Upgrade gets its 101 and bytes in both directions.",
            "RFC 9110 section 7.8",
            TRANSPARENT,
        ),
    Case::layer("HTP-08-events", Kind::Core, "events stream through", |t| Box::pin(events(t)))
        .after(&["EXE-01"])
        .promise(
            "An event stream on an unprotected request reaches the client event by event.",
            "Hapax profile",
            TRANSPARENT,
        ),
    Case::layer("HTP-08-upload", Kind::Core, "uploads stream through", |t| Box::pin(upload(t)))
        .after(&["KEY-11-optional"])
        .promise(
            "The first bytes of an unprotected upload reach the upstream before its last ones are \
             sent.",
            "Hapax profile",
            TRANSPARENT,
        ),
    Case::layer("HTP-08-trailers", Kind::Core, "trailers pass", |t| Box::pin(trailers(t)))
        .after(&["EXE-01"])
        .promise(
            "Trailer fields of an unprotected answer reach a client that allows them.",
            "RFC 9110 section 6.5",
            TRANSPARENT,
        ),
    Case::layer("HTP-08-large", Kind::Core, "long downloads pass", |t| Box::pin(large(t)))
        .after(&["EXE-01"])
        .promise(
            "An unprotected download of several megabytes arrives byte by byte the same.",
            "Hapax profile",
            TRANSPARENT,
        ),
    Case::layer("HTP-08-off", Kind::Profile, "unprotected routes stay untouched", |t| {
        Box::pin(off(t))
    })
    .needs(&[Need::Route(Route::Off)])
    .after(&["EXE-01"])
    .promise(
        "On a route without protection a key passes through and every request runs, whatever the \
         key looks like.",
        "Firefox attaches keys by itself behind a preference",
        TRANSPARENT,
    ),
    Case::layer("HTP-10", Kind::Core, "the client's address is appended", |t| {
        Box::pin(forwarded(t))
    })
    .after(&["EXE-01"])
    .promise(
        "X-Forwarded-For, where it is sent, gets the peer's address appended; it never reaches \
         the upstream as the client wrote it.",
        "RFC 7239 section 4",
        "Upstreams that trust the last entry would believe the client.",
    ),
    Case::layer("HTP-10-trace", Kind::Core, "a trace belongs to its request", |t| {
        Box::pin(trace(t))
    })
    .after(&["REP-06"])
    .promise(
        "A first request's trace context goes upstream as the same trace, and a replay emits none \
         of it.",
        "W3C trace context",
        "Operators would look at the wrong request.",
    ),
];

async fn hop_by_hop(t: &Trial) -> Result<(), Stop> {
    let request = t
        .keyed(Route::Plain)
        .with("Connection", "keep-alive, X-Hop")
        .with("X-Hop", "1")
        .with("Keep-Alive", "timeout=9")
        .with("Proxy-Connection", "keep-alive")
        .with("Proxy-Authorization", "Basic eA==")
        .with("TE", "gzip")
        .with("X-Kept", "1");
    for request in [request.clone(), request.without("Idempotency-Key")] {
        status(&t.send(&request).await?, 201, "a request with fields of its connection")?;
    }
    for arrival in t.station.arrivals() {
        for name in ["x-hop", "proxy-connection"] {
            ensure(arrival.head.text(name).is_none(), || format!("{name} reached the upstream"))?;
        }
        ensure(arrival.head.text("keep-alive").as_deref() != Some("timeout=9"), || {
            "the client's Keep-Alive reached the upstream".to_owned()
        })?;
        ensure(arrival.head.text("te").as_deref() != Some("gzip"), || {
            "the client's TE reached the upstream".to_owned()
        })?;
        ensure(!arrival.head.lists("connection", "x-hop"), || {
            "the client's Connection reached the upstream".to_owned()
        })?;
        ensure(arrival.head.text("x-kept").is_some(), || "X-Kept was lost".to_owned())?;
        ensure(arrival.head.text("via").is_some(), || "no Via was added".to_owned())?;
    }
    t.count(2, "after two requests")
}

fn upgrading() -> Reply {
    Reply::raw(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .then(After::Echo)
}

async fn no_upgrade(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).with("Connection", "Upgrade").with("Upgrade", "websocket");
    let answer = t.send(&request).await?;
    ensure(answer.status != 101, || "a protected request was upgraded".to_owned())?;
    for arrival in t.station.arrivals() {
        ensure(arrival.head.text("upgrade").is_none(), || {
            "Upgrade of a protected request reached the upstream".to_owned()
        })?;
    }
    Ok(())
}

async fn upgrade(t: &Trial) -> Result<(), Stop> {
    t.station.reply(upgrading());
    let request = t
        .request("GET", &t.path(Route::Plain))
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket");
    let mut wire = t.open().await?;
    wire.send(&request).await;
    let answer = wire.answer("GET").await?;
    status(&answer, 101, "an unprotected request with Upgrade")?;
    for word in ["hello", "again, with more bytes"] {
        wire.write("bytes on the upgraded connection", word.as_bytes()).await;
        let back = wire.read_some(word.len(), Duration::from_secs(10)).await;
        ensure(back == word.as_bytes(), || {
            format!("{word:?} came back as {:?}", back.escape_ascii().to_string())
        })?;
    }
    Ok(())
}

async fn events(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    let reply = Reply::new(200)
        .with("Content-Type", "text/event-stream")
        .body("data: one\n\ndata: two\n\n")
        .framed(Framing::Chunked(Vec::new()))
        .body_gated(&gate);
    t.station.reply(reply);
    let mut wire = t.open().await?;
    wire.send(&t.request("GET", &t.path(Route::Plain))).await;
    let head = wire.head().await?;
    ensure(head.word(1) == "200", || format!("the stream began with {:?}", head.start))?;
    // However it is framed, the first event must be there before the second one is made.
    let first = wire.read_until("data: one", Duration::from_secs(10)).await;
    gate.open();
    if let Err(came) = first {
        return fail(format!("before the second event the client had {came:?}"));
    }
    let second = wire.read_until("data: two", Duration::from_secs(10)).await;
    second.or_else(|came| fail(format!("after the first event came {came:?}")))
}

async fn upload(t: &Trial) -> Result<(), Stop> {
    let request = t
        .request("POST", &t.path(Route::Plain))
        .with("Trailer", "X-Checksum")
        .framed(Body::Chunks(Vec::new(), Vec::new()));
    let mut wire = t.open().await?;
    wire.write(&request.describe(), &request.head_bytes()).await;
    wire.write("first chunk", &chunked::write(&[b'a'; 5000])).await;
    let seen = t.station.wait_body_bytes(5000, ARRIVAL_LIMIT).await;
    ensure(seen, || "the upload's first bytes were held back".to_owned())?;
    wire.write("second chunk", &chunked::write(&[b'b'; 5000])).await;
    let trailers = [("X-Checksum".to_owned(), b"abc".to_vec())];
    wire.write("last chunk with a trailer", &chunked::write_last(&trailers)).await;
    status(&wire.answer("POST").await?, 201, "an upload without a key")?;
    let Some(arrival) = t.station.arrivals().pop() else { return fail("no upload arrived") };
    ensure(arrival.body == [[b'a'; 5000], [b'b'; 5000]].concat(), || {
        format!("{} of 10000 bytes arrived", arrival.body.len())
    })?;
    let trailers = crate::wire::head::all(&arrival.trailers, "x-checksum");
    ensure(trailers == [b"abc"], || "the upload's trailer did not arrive".to_owned())
}

async fn trailers(t: &Trial) -> Result<(), Stop> {
    let trailers = vec![("X-Checksum".to_owned(), "abc".to_owned())];
    let reply = Reply::new(200)
        .with("Trailer", "X-Checksum")
        .body("content")
        .framed(Framing::Chunked(trailers));
    t.station.reply(reply);
    let request =
        t.request("GET", &t.path(Route::Plain)).with("TE", "trailers").with("Connection", "TE");
    let answer = t.send(&request).await?;
    let came = crate::wire::head::all(&answer.trailers, "x-checksum");
    ensure(came == [b"abc"], || format!("the trailer did not pass: {}", answer.describe()))
}

async fn large(t: &Trial) -> Result<(), Stop> {
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    t.station.reply(Reply::new(200).body(body.clone()));
    let answer = t.send(&t.request("GET", &t.path(Route::Plain))).await?;
    status(&answer, 200, "a download")?;
    ensure(answer.body == body, || {
        format!("{} of {} bytes came, or other ones", answer.body.len(), body.len())
    })
}

async fn off(t: &Trial) -> Result<(), Stop> {
    for (at, value) in ["\"k\"", "\"k\"", "\"unterminated", ""].into_iter().enumerate() {
        let answer = t.send(&t.post(Route::Off).raw_key(value)).await?;
        status(&answer, 201, "a request on an unprotected route")?;
        t.count(at + 1, "after requests on an unprotected route")?;
        let seen = t.station.arrivals().pop().and_then(|arrival| arrival.key());
        ensure(seen.as_deref() == Some(value), || {
            format!("the key {value:?} reached the upstream as {seen:?}")
        })?;
    }
    Ok(())
}

async fn forwarded(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).with("X-Forwarded-For", "192.0.2.60");
    status(&t.send(&request).await?, 201, "a request with X-Forwarded-For")?;
    let Some(arrival) = t.station.arrivals().pop() else { return fail("nothing arrived") };
    let seen: Vec<String> = arrival
        .head
        .all("x-forwarded-for")
        .iter()
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect();
    let last = seen.join(", ");
    let last = last.rsplit(',').next().unwrap_or_default().trim();
    ensure(last != "192.0.2.60", || {
        format!("the upstream saw X-Forwarded-For {seen:?}, which the client wrote")
    })
}

async fn trace(t: &Trial) -> Result<(), Stop> {
    let (one, other) = ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736");
    let parent = |id: &str| format!("00-{id}-b7ad6b7169203331-01");
    let reply = Reply::numbered(201).with("traceresponse", parent(one));
    t.station.reply(reply);
    let request = t.keyed(Route::Plain).with("traceparent", parent(one));
    let first = t.send(&request).await?;
    let Some(arrival) = t.station.arrivals().pop() else { return fail("nothing arrived") };
    let seen = arrival.head.text("traceparent").unwrap_or_default();
    ensure(seen.contains(one), || format!("the upstream saw traceparent {seen:?}"))?;
    let retry = t.send(&request.set("traceparent", parent(other))).await?;
    same(&first, &retry)?;
    for (name, value) in &retry.fields {
        let text = String::from_utf8_lossy(value);
        ensure(!text.contains(one), || format!("the replay's field {name} names the first trace"))?;
    }
    t.count(1, "after a retry with another trace")
}
