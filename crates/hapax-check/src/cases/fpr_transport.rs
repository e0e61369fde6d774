//! FPR: differences of transport do not make another request.

use bytes::Bytes;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{same, status};
use crate::profile::Route;
use crate::trial::{PAYLOAD, Trial};
use crate::wire::{Body, Request};

const RETRY: &str = "A retry takes another way than the first request: another connection, \
                     another proxy, another client library.";

pub(super) const CASES: &[Case] = &[
    Case::layer("FPR-04-framing", Kind::Core, "chunks and lengths are framing", |t| {
        Box::pin(framing(t))
    })
    .after(&["REP-01"])
    .promise(
        "The same content chunked, in other chunks or with a Content-Length is the same request.",
        "RFC 9112 section 6",
        RETRY,
    ),
    Case::layer("FPR-04-fields", Kind::Core, "fields of the transport do not count", |t| {
        Box::pin(fields(t))
    })
    .after(&["REP-01"])
    .promise(
        "Order of fields, User-Agent, Date, traceparent, Forwarded and Via do not make another \
         request.",
        "Telnyx (request fields are ignored)",
        RETRY,
    ),
    Case::layer("FPR-04-absolute", Kind::Core, "absolute and origin form are one target", |t| {
        Box::pin(absolute(t))
    })
    .after(&["REP-01"])
    .promise(
        "A target in absolute form is the same request as in origin form.",
        "RFC 9112 section 3.2",
        RETRY,
    ),
    Case::layer("FPR-04-http2", Kind::Core, "HTTP/1.1 and HTTP/2 are one request", |t| {
        Box::pin(versions(t))
    })
    .needs(&[Need::Http2])
    .after(&["REP-01"])
    .promise(
        "A retry over the other version of HTTP is replayed.",
        "RFC 9110 section 2.5",
        RETRY,
    ),
    Case::layer("FPR-04-connection", Kind::Core, "one connection or many", |t| {
        Box::pin(connections(t))
    })
    .after(&["REP-01"])
    .promise(
        "Retries on the same connection and on others are replayed, and other keys on that \
         connection run.",
        "RFC 9112 section 9.3",
        RETRY,
    ),
];

async fn retries(t: &Trial, first: &Request, others: &[Request]) -> Result<(), Stop> {
    let answer = t.send(first).await?;
    status(&answer, 201, "the first request")?;
    for other in others {
        let retry = t.send(other).await?;
        t.count(1, "after a retry that differs in its transport alone")?;
        same(&answer, &retry)?;
    }
    Ok(())
}

async fn framing(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let bytes = Bytes::from_static(PAYLOAD.as_bytes());
    let chunked = |size: usize| {
        let parts = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
        request.clone().framed(Body::Chunks(parts, Vec::new()))
    };
    let trailer = vec![("X-Checksum".to_owned(), b"1".to_vec())];
    let with_trailer = request.clone().framed(Body::Chunks(vec![bytes.clone()], trailer));
    let others = [chunked(1), chunked(7), chunked(1000), with_trailer];
    retries(t, &request, &others).await?;
    // And the other way round.
    let key = t.key();
    let first = t.send(&chunked(5).key(&key)).await?;
    status(&first, 201, "a chunked first request")?;
    same(&first, &t.send(&request.clone().key(&key)).await?)?;
    t.count(2, "after a chunked request and its retry with a length")
}

async fn fields(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).with("User-Agent", "one/1.0");
    let mut reversed = request.clone();
    reversed.fields.reverse();
    let others = [
        reversed,
        request.clone().set("User-Agent", "two/2.0"),
        request.clone().with("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        request
            .clone()
            .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        request.clone().with("Forwarded", "for=192.0.2.60").with("X-Forwarded-For", "192.0.2.60"),
        request.clone().with("Via", "1.1 elsewhere").with("X-Request-Id", "9"),
        request.clone().with("Accept", "*/*").with("Accept-Language", "de"),
        request.clone().with("Cookie", "visited=1"),
    ];
    retries(t, &request, &others).await
}

async fn absolute(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let mut other = request.clone();
    other.target = format!("http://{}{}", t.instance(0).endpoint.authority(), other.target);
    retries(t, &request, &[other]).await
}

async fn versions(t: &Trial) -> Result<(), Stop> {
    let connection = t.open2().await?;
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "the first request over HTTP/1.1")?;
    same(&first, &t.send2(&connection, &request).await?)?;
    t.count(1, "after a retry over HTTP/2")?;
    let request = t.keyed(Route::Plain);
    let first = t.send2(&connection, &request).await?;
    status(&first, 201, "the first request over HTTP/2")?;
    same(&first, &t.send(&request).await?)?;
    t.count(2, "after a retry over HTTP/1.1")
}

async fn connections(t: &Trial) -> Result<(), Stop> {
    let mut wire = t.open().await?;
    let (one, other) = (t.keyed(Route::Plain), t.keyed(Route::Plain));
    wire.send(&one).await;
    let first = wire.answer("POST").await?;
    status(&first, 201, "the first request")?;
    wire.send(&one).await;
    same(&first, &wire.answer("POST").await?)?;
    wire.send(&other).await;
    status(&wire.answer("POST").await?, 201, "another key on the same connection")?;
    t.count(2, "after two keys on one connection")?;
    same(&first, &t.send(&one).await?)?;
    t.count(2, "after a retry on another connection")
}
