//! HTP: messages that are malformed on purpose.

use futures_util::future::BoxFuture;

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail, problem, refused, status};
use crate::profile::Route;
use crate::trial::{ALICE, PAYLOAD, Trial};
use crate::upstream::Reply;
use crate::wire::frames::{self, Refusal};
use crate::wire::message::Ending;

const SMUGGLED: &str = "Two parties that frame a message differently let an attacker put a \
                        request of his own in front of someone else's.";

const fn ambiguous(
    id: &'static str,
    title: &'static str,
    source: &'static str,
    run: for<'a> fn(&'a Trial) -> BoxFuture<'a, Result<(), Stop>>,
) -> Case {
    Case::layer(id, Kind::Core, title, run).after(&["EXE-01"]).promise(
        "An ambiguous request is refused with 400, or forwarded once in a form that is not; \
         nothing is smuggled to the upstream.",
        source,
        SMUGGLED,
    )
}

pub(super) const CASES: &[Case] = &[
    ambiguous("HTP-02-length-and-chunks", "both framings at once", "RFC 9112 section 6.3", |t| {
        Box::pin(framed_twice(t))
    }),
    ambiguous("HTP-02-two-lengths", "two unequal lengths", "RFC 9112 section 6.3", |t| {
        Box::pin(refused_fields(t, "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"))
    }),
    ambiguous("HTP-02-bad-length", "a length that is no number", "RFC 9110 section 8.6", |t| {
        Box::pin(bad_lengths(t))
    }),
    ambiguous(
        "HTP-02-unknown-coding",
        "chunked is not the last coding",
        "RFC 9112 section 6.1",
        |t| Box::pin(refused_fields(t, "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
    ),
    ambiguous("HTP-02-http10", "chunks in HTTP/1.0", "RFC 9112 section 6.1", |t| {
        Box::pin(old_version(t))
    }),
    ambiguous("HTP-02-space-colon", "a space before the colon", "RFC 9112 section 5.1", |t| {
        Box::pin(refused_fields(t, "Content-Length : 5\r\n", "hello"))
    }),
    ambiguous("HTP-02-fold", "a folded line", "RFC 9112 section 5.2", |t| Box::pin(folded(t))),
    ambiguous("HTP-02-nul", "a NUL in a value", "RFC 9110 section 5.5", |t| {
        Box::pin(refused_fields(t, "X-Note: a\0b\r\nContent-Length: 5\r\n", "hello"))
    }),
    ambiguous("HTP-02-bare-cr", "a bare CR in a value", "RFC 9112 section 2.2", |t| {
        Box::pin(refused_fields(t, "X-Note: a\rX-Evil: 1\r\nContent-Length: 5\r\n", "hello"))
    }),
    ambiguous("HTP-02-no-host", "no Host", "RFC 9112 section 3.2", |t| Box::pin(hosts(t, &[]))),
    ambiguous("HTP-02-two-hosts", "two Hosts", "RFC 9112 section 3.2", |t| {
        Box::pin(hosts(t, &["one.check.example", "two.check.example"]))
    }),
    ambiguous("HTP-02-chunk-size", "a broken chunk", "RFC 9112 section 7.1", |t| {
        Box::pin(refused_fields(t, "Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n"))
    }),
    Case::layer("HTP-03-connection-field", Kind::Core, "connection fields in HTTP/2", |t| {
        Box::pin(connection_field(t))
    })
    .needs(&[Need::Http2])
    .after(&["EXE-01"])
    .promise(
        "An HTTP/2 request with connection-specific fields is refused, or they are dropped.",
        "RFC 9113 section 8.2.2",
        SMUGGLED,
    ),
    Case::layer("HTP-03-split", Kind::Core, "line ends in HTTP/2 values", |t| Box::pin(split(t)))
        .needs(&[Need::Http2])
        .after(&["EXE-01"])
        .promise(
            "An HTTP/2 field with CR, LF or NUL never becomes two lines at the upstream.",
            "RFC 9113 section 8.2.1",
            SMUGGLED,
        ),
    Case::layer("HTP-04", Kind::Core, "a broken answer is 502", |t| Box::pin(broken_answer(t)))
        .after(&["REP-09-missing-chunk", "DBT-02"])
        .promise(
            "An upstream's answer with broken framing becomes 502, its connection is not used \
             again, and the retry does not run.",
            "RFC 9112 section 6.3",
            "The request was delivered; what came back cannot be trusted.",
        ),
    Case::layer("HTP-04-problem", Kind::Profile, "a broken answer leaves doubt", |t| {
        Box::pin(broken_problem(t))
    })
    .after(&["HTP-04", "HTP-12"])
    .promise(
        "The first client of a broken answer is told outcome-unknown, and so are its retries.",
        "RFC 9112 section 6.3; Hapax profile",
        "A plain 502 hides that the request was delivered.",
    ),
];

/// A request written by hand: the usual one up to its framing.
fn by_hand(t: &Trial, version: &str, fields: &str, body: &str) -> Vec<u8> {
    let host = t.instance(0).endpoint.authority();
    format!(
        "POST {} HTTP/{version}\r\nHost: {host}\r\nAuthorization: {ALICE}\r\n\
         Idempotency-Key: \"{}\"\r\n{fields}\r\n{body}",
        t.path(Route::Plain),
        t.key()
    )
    .into_bytes()
}

/// Must be refused or at least not reach the upstream: a closed connection is a refusal too.
async fn refused_fields(t: &Trial, fields: &str, body: &str) -> Result<(), Stop> {
    let message = by_hand(t, "1.1", fields, body);
    let mut wire = t.open().await?;
    wire.write(&format!("a request with {fields:?}"), &message).await;
    if let Ok(answer) = wire.read_within("POST", Duration::from_secs(8)).await {
        refused(&answer, &[400, 413, 431, 501, 502], "the ambiguous request")?;
    }
    drop(wire);
    t.count(0, "after an ambiguous request")
}

async fn bad_lengths(t: &Trial) -> Result<(), Stop> {
    for value in ["+5", "-5", "5, 6", "0x5", "five", "99999999999999999999999"] {
        refused_fields(t, &format!("Content-Length: {value}\r\n"), "hello").await?;
    }
    Ok(())
}

async fn framed_twice(t: &Trial) -> Result<(), Stop> {
    let inner = format!("GET {}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", t.path(Route::Plain));
    let fields = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + inner.len());
    let message = by_hand(t, "1.1", &fields, &format!("0\r\n\r\n{inner}"));
    let mut wire = t.open().await?;
    wire.write("a request with both framings and another in its body", &message).await;
    let answer = wire.read_within("POST", Duration::from_secs(8)).await;
    // A second answer would mean that the inner request was taken for one.
    let second = wire.read_within("GET", Duration::from_secs(1)).await;
    for arrival in t.station.arrivals() {
        ensure(!arrival.target().ends_with("/smuggled"), || {
            "the request inside the body reached the upstream".to_owned()
        })?;
        let framings =
            arrival.head.all("content-length").len() + arrival.head.all("transfer-encoding").len();
        ensure(framings <= 1, || "both framings were forwarded".to_owned())?;
    }
    ensure(second.is_err(), || "the request inside the body was answered".to_owned())?;
    if let Ok(answer) = answer {
        refused(&answer, &[201, 400, 501], "a request with both framings")?;
    }
    ensure(t.station.count() <= 1, || "more than one request arrived".to_owned())
}

async fn old_version(t: &Trial) -> Result<(), Stop> {
    let inner = format!("GET {}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", t.path(Route::Plain));
    let fields = "Transfer-Encoding: chunked\r\n";
    let message = by_hand(t, "1.0", fields, &format!("0\r\n\r\n{inner}"));
    let mut wire = t.open().await?;
    wire.write("an HTTP/1.0 request in chunks", &message).await;
    let answer = wire.read_within("POST", Duration::from_secs(8)).await;
    // Ends once the inner request is answered, or refused with the connection.
    let _second = wire.read_within("GET", Duration::from_secs(1)).await;
    let smuggled =
        t.station.arrivals().iter().any(|arrival| arrival.target().ends_with("/smuggled"));
    ensure(!smuggled, || "the request inside the body reached the upstream".to_owned())?;
    if let Ok(answer) = answer {
        refused(&answer, &[201, 400, 501, 505], "an HTTP/1.0 request in chunks")?;
    }
    ensure(t.station.count() <= 1, || "more than one request arrived".to_owned())
}

async fn folded(t: &Trial) -> Result<(), Stop> {
    let message = by_hand(t, "1.1", "X-Note: a\r\n b: c\r\nContent-Length: 5\r\n", "hello");
    let mut wire = t.open().await?;
    wire.write("a request with a folded line", &message).await;
    let answer = wire.read_within("POST", Duration::from_secs(8)).await;
    if let Ok(answer) = &answer {
        refused(answer, &[201, 400], "a request with a folded line")?;
    }
    for arrival in t.station.arrivals() {
        // Joined by spaces is the safe normal form.
        let note = arrival.head.text("x-note").unwrap_or_default();
        let words: Vec<&str> = note.split_whitespace().collect();
        ensure(words == ["a", "b:", "c"], || {
            format!("the folded line arrived as {:?}", arrival.head.raw.escape_ascii().to_string())
        })?;
    }
    Ok(())
}

async fn hosts(t: &Trial, names: &[&str]) -> Result<(), Stop> {
    let key = t.key();
    let mut request = t.request("POST", &t.path(Route::Plain)).without("Host").key(&key).body("x");
    for name in names {
        request = request.with("Host", name);
    }
    match t.try_send(0, &request).await {
        Ok(answer) => status(&answer, 400, &format!("a request with {} Hosts", names.len()))?,
        Err(error) => t.log.note(format!("refused without an answer: {error}")),
    }
    t.count(0, &format!("after a request with {} Hosts", names.len()))
}

async fn raw2(t: &Trial, more: &[(&[u8], &[u8])]) -> Result<Refusal, Stop> {
    let (path, key) = (t.path(Route::Plain), format!("\"{}\"", t.key()));
    let authority = t.instance(0).endpoint.authority();
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", authority.as_bytes()),
        (b":path", path.as_bytes()),
        (b"authorization", ALICE.as_bytes()),
        (b"idempotency-key", key.as_bytes()),
    ];
    fields.extend_from_slice(more);
    let names: Vec<String> = more
        .iter()
        .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    t.log.sent(format!("raw HTTP/2 POST with {}", names.join(", ")));
    let came = frames::request(
        &t.instance(0).endpoint,
        &fields,
        PAYLOAD.as_bytes(),
        Duration::from_secs(8),
    )
    .await;
    t.log.came(format!("{came:?}"));
    came.map_err(|error| Stop::Fail(error.to_string()))
}

async fn connection_field(t: &Trial) -> Result<(), Stop> {
    // A control: the frames are right, only the fields below are not.
    if raw2(t, &[]).await? != Refusal::Answered || t.station.count() != 1 {
        return Err(Stop::Skip("a well-formed raw HTTP/2 request was not answered".to_owned()));
    }
    let fields: [(&[u8], &[u8]); 3] =
        [(b"connection", b"x-hop"), (b"transfer-encoding", b"chunked"), (b"upgrade", b"websocket")];
    for field in fields {
        let before = t.station.count();
        raw2(t, &[field]).await?;
        for arrival in t.station.arrivals().iter().skip(before) {
            let name = String::from_utf8_lossy(field.0).into_owned();
            let sent = arrival.head.text(&name).unwrap_or_default();
            ensure(sent.as_bytes() != field.1, || {
                format!("the field {name} of an HTTP/2 request was forwarded")
            })?;
            ensure(arrival.body == PAYLOAD, || "the content was framed anew".to_owned())?;
        }
    }
    Ok(())
}

async fn split(t: &Trial) -> Result<(), Stop> {
    if raw2(t, &[]).await? != Refusal::Answered || t.station.count() != 1 {
        return Err(Stop::Skip("a well-formed raw HTTP/2 request was not answered".to_owned()));
    }
    let fields: [(&[u8], &[u8]); 4] = [
        (b"x-note", b"a\r\nx-evil: 1"),
        (b"x-note", b"a\nx-evil: 1"),
        (b"x-note", b"a\0b"),
        (b"x-note\r\nx-evil", b"1"),
    ];
    for field in fields {
        raw2(t, &[field]).await?;
    }
    for arrival in t.station.arrivals() {
        ensure(arrival.head.text("x-evil").is_none(), || {
            "a field of an HTTP/2 request was split into two".to_owned()
        })?;
    }
    t.count(1, "after HTTP/2 requests with line ends in their fields")
}

fn broken() -> [Reply; 4] {
    [
        Reply::raw("this is no HTTP\r\n\r\n"),
        Reply::raw("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n"),
        Reply::raw("HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        Reply::raw("HTTP/1.1 201 Created\r\nContent-Length: abc\r\n\r\nabc"),
    ]
}

async fn broken_answer(t: &Trial) -> Result<(), Stop> {
    for (at, reply) in broken().into_iter().enumerate() {
        t.station.reply_once([reply]);
        let request = t.keyed(Route::Plain);
        match t.try_send(0, &request).await {
            // Behind a head that was passed on already, only a cut can tell.
            Ok(answer) if answer.ending == Ending::Cut => {}
            Ok(answer) => status(&answer, 502, "a broken answer")?,
            Err(error) => t.log.note(error.to_string()),
        }
        let retry = t.send(&request).await?;
        t.count(at + 1, "after a broken answer and a retry")?;
        refused(&retry, &[409, 502], "the retry of a request with a broken answer")?;
    }
    let arrivals = t.station.arrivals();
    for (at, arrival) in arrivals.iter().enumerate() {
        let again = arrivals[at + 1..].iter().any(|other| other.connection == arrival.connection);
        if again {
            return fail("the connection of a broken answer was used again");
        }
    }
    Ok(())
}

async fn broken_problem(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::raw("this is no HTTP\r\n\r\n")]);
    let request = t.keyed(Route::Plain);
    problem(&t.send(&request).await?, 502, "outcome-unknown")?;
    problem(&t.send(&request).await?, 409, "outcome-unknown")?;
    t.count(1, "after a broken answer and a retry")
}
