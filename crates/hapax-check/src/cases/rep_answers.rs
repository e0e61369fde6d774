//! REP: a replay is the first answer.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, marked, problem, refused, same, same_fields, status, unmarked, whole};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{After, Framing, Reply};
use crate::wire::WireError;
use crate::wire::message::Ending;

const CUT: &str = "A short answer that looks whole is taken for the result: a list without its \
                   end, a receipt without its number.";

pub(super) const CASES: &[Case] = &[
    Case::layer("REP-01", Kind::Core, "a retry gets the first answer", |t| Box::pin(replayed(t)))
        .after(&["EXE-01"])
        .promise(
            "A retry is answered with the same status and content, and the upstream is not asked \
             again.",
            "draft-07 section 2.6",
            "This is the whole purpose of an idempotency key.",
        ),
    Case::layer("REP-01-fields", Kind::Core, "a replay has the same fields", |t| {
        Box::pin(fields(t))
    })
    .after(&["REP-01"])
    .promise(
        "A replay has the first answer's end-to-end fields: Content-Type, Location, ETag, \
         Content-Language, Link and the application's own.",
        "draft-07 section 2.6; RFC 9110 section 6.3",
        "A client that follows Location finds nothing on the retry if it is lost.",
    ),
    Case::layer("REP-01-repeated", Kind::Core, "every retry gets it", |t| Box::pin(repeated(t)))
        .after(&["REP-01-fields"])
        .promise(
            "The tenth retry gets the first answer as the first retry did.",
            "draft-07 section 2.6",
            "Clients retry as often as their network fails.",
        ),
    Case::layer("REP-02", Kind::Profile, "a replay is marked, a first run is not", |t| {
        Box::pin(marks(t))
    })
    .after(&["REP-01"])
    .promise(
        "A replay carries Idempotent-Replayed: true; first answers and the layer's errors do not.",
        "Stripe, Increase, Whop",
        "The mark is how operators and clients tell a replay from a second run.",
    ),
    Case::layer("REP-02-upstream", Kind::Profile, "the upstream's own mark passes", |t| {
        Box::pin(upstream_mark(t))
    })
    .after(&["REP-01"])
    .promise(
        "Where the upstream sets the mark itself on a first pass, it reaches the client.",
        "RFC 9110 section 7.7",
        "An upstream that deduplicates as well knows better than the layer.",
    ),
    Case::layer("REP-07-binary", Kind::Core, "binary and empty contents survive", |t| {
        Box::pin(binary(t))
    })
    .after(&["REP-01-fields"])
    .promise(
        "Binary, large and empty contents are replayed byte by byte.",
        "RFC 9110 section 6.4; field reports of damaged bodies",
        "A replayed file that went through a text type is broken.",
    ),
    Case::layer("REP-08", Kind::Core, "a retry gets a coding it can read", |t| {
        Box::pin(coding(t))
    })
    .after(&["REP-01"])
    .promise(
        "A first request that accepts gzip and a retry that does not get contents they can read, \
         each labelled as it is.",
        "RFC 9110 section 12.5.3",
        "A client without gzip gets bytes it cannot read, on the one retry that matters.",
    ),
    Case::layer("REP-09-short-length", Kind::Core, "an answer cut before its length is not kept", |t| {
        Box::pin(cut(t, Reply::numbered(201).framed(Framing::LengthLie(40)).then(After::Close)))
    })
    .after(&["REP-01"])
    .promise(
        "An answer shorter than its Content-Length is passed on broken, not as whole, and is \
         never replayed.",
        "RFC 9112 section 8; RFC 9111 section 3.3",
        CUT,
    ),
    Case::layer("REP-09-missing-chunk", Kind::Core, "an answer without its last chunk is not kept", |t| {
        Box::pin(cut(t, Reply::numbered(201).framed(Framing::ChunkedCut).then(After::Close)))
    })
    .after(&["REP-01"])
    .promise(
        "A chunked answer without its last chunk is passed on broken, not as whole, and is never \
         replayed.",
        "RFC 9112 section 8; RFC 9111 section 3.3",
        CUT,
    ),
    Case::layer("REP-10", Kind::Profile, "conditions and ranges do not change a replay", |t| {
        Box::pin(conditions(t))
    })
    .after(&["REP-01"])
    .promise(
        "Range, If-Match, If-None-Match and Accept on the retry do not alter the replay.",
        "RFC 9110 sections 13 and 14; draft-07",
        "The first success changed the ETag, so a judged If-Match would turn success into 412.",
    ),
    Case::layer("REP-12", Kind::Profile, "too large a result is never run again", |t| {
        Box::pin(oversized(t))
    })
    .needs(&[Need::Route(Route::Small)])
    .after(&["REP-01", "HTP-12"])
    .promise(
        "A result over the limit reaches the first client whole; the retry is told \
         result-not-retained and nothing runs again.",
        "draft gap G14 (three different behaviours were measured)",
        "A retry that re-executes because the answer was large is a second effect.",
    ),
    Case::layer("REP-01-upstream-down", Kind::Core, "replays need no upstream", |t| {
        Box::pin(upstream_down(t))
    })
    .after(&["REP-01"])
    .alone()
    .promise(
        "A kept answer is replayed while the upstream is down.",
        "draft-07 section 2.6",
        "Retries come exactly when something is down.",
    ),
    Case::layer("REP-01-restart", Kind::Core, "replays survive a restart", |t| {
        Box::pin(restart(t))
    })
    .needs(&[Need::Command, Need::Durable])
    .after(&["REP-01-fields"])
    .alone()
    .promise(
        "A kept answer is replayed after every instance of the layer was restarted.",
        "draft-07 section 2.6",
        "A deployment between request and retry must not run a payment twice.",
    ),
];

async fn replayed(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "the first request")?;
    let retry = t.send(&request).await?;
    t.count(1, "after a retry")?;
    same(&first, &retry)
}

fn rich() -> Reply {
    Reply::new(202)
        .with("Content-Type", "application/vnd.order+json; charset=utf-8")
        .with("Location", "/orders/{n}")
        .with("ETag", "W/\"v{n}\"")
        .with("Content-Language", "de, en")
        .with("Link", "</orders/{n}/receipt>; rel=\"receipt\", </help>; rel=help")
        .with("Vary", "Accept")
        .with("X-Custom", "a, \"b\"")
        .body("{\"order\":{n},\"total\":\"12,50 \u{20ac}\"}")
}

async fn fields(t: &Trial) -> Result<(), Stop> {
    t.station.reply(rich());
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 202, "the first request")?;
    for name in ["content-type", "location", "etag", "content-language", "link", "x-custom"] {
        ensure(first.has(name), || format!("the first answer lost its field {name}"))?;
    }
    same_fields(&first, &t.send(&request).await?)?;
    t.count(1, "after a retry")
}

async fn repeated(t: &Trial) -> Result<(), Stop> {
    t.station.reply(rich());
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    for _ in 0..10 {
        same_fields(&first, &t.send(&request).await?)?;
    }
    t.count(1, "after ten retries")
}

async fn marks(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    unmarked(&t.send(&request).await?, "the first answer")?;
    marked(&t.send(&request).await?, "the replay")?;
    let other = t.send(&request.raw_key("\"unterminated")).await?;
    unmarked(&other, "the refusal of a malformed key")
}

async fn upstream_mark(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(201).with("Idempotent-Replayed", "true"));
    let answer = t.send(&t.keyed(Route::Plain)).await?;
    marked(&answer, "the upstream's marked answer")
}

async fn binary(t: &Trial) -> Result<(), Stop> {
    let all: Vec<u8> = (0..=255_u8).collect();
    let bodies = [all.clone(), Vec::new(), b"\r\n\r\n\0".to_vec(), all.repeat(1500)];
    for (at, body) in bodies.into_iter().enumerate() {
        let kind = "application/octet-stream";
        t.station.reply(Reply::new(200).with("Content-Type", kind).body(body.clone()));
        let request = t.keyed(Route::Plain);
        let first = t.send(&request).await?;
        ensure(first.body == body, || {
            format!("a content of {} bytes came as {}", body.len(), first.describe())
        })?;
        same_fields(&first, &t.send(&request).await?)?;
        t.count(at + 1, &format!("after a retry with a content of {} bytes", body.len()))?;
    }
    Ok(())
}

/// "readable content\n" with gzip's header, one stored block, its checksum and its length.
const PLAIN: &[u8] = b"readable content\n";

fn gzip() -> Vec<u8> {
    let mut zipped = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let length = PLAIN.len() as u16;
    zipped.push(1);
    zipped.extend_from_slice(&length.to_le_bytes());
    zipped.extend_from_slice(&(!length).to_le_bytes());
    zipped.extend_from_slice(PLAIN);
    zipped.extend_from_slice(&checksum(PLAIN).to_le_bytes());
    zipped.extend_from_slice(&u32::from(length).to_le_bytes());
    zipped
}

/// CRC-32 as gzip wants it.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

async fn coding(t: &Trial) -> Result<(), Stop> {
    let mut reply = Reply::new(200)
        .with("Content-Type", "text/plain")
        .with("Vary", "Accept-Encoding")
        .body(PLAIN);
    reply.gzip = Some(gzip().into());
    t.station.reply(reply);
    let key = t.key();
    let zipped = t.send(&t.post(Route::Plain).key(&key).with("Accept-Encoding", "gzip")).await?;
    let labelled = zipped.text("content-encoding").unwrap_or_default().eq_ignore_ascii_case("gzip");
    let expected = if labelled { gzip() } else { PLAIN.to_vec() };
    ensure(zipped.body == expected, || {
        format!("the first content is not what its label says: {}", zipped.describe())
    })?;
    for accept in [Some("identity"), None, Some("gzip;q=0")] {
        let mut retry = t.post(Route::Plain).key(&key);
        if let Some(accept) = accept {
            retry = retry.with("Accept-Encoding", accept);
        }
        let answer = t.send(&retry).await?;
        t.count(1, "after a retry with another Accept-Encoding")?;
        // Without the field any coding is allowed, as long as the label is true.
        let zip = answer.text("content-encoding").unwrap_or_default().eq_ignore_ascii_case("gzip");
        let free = accept.is_none() && zip && answer.body == gzip();
        ensure(free || (!zip && answer.body == PLAIN), || {
            format!("with Accept-Encoding {accept:?} came {}", answer.describe())
        })?;
    }
    Ok(())
}

async fn cut(t: &Trial, reply: Reply) -> Result<(), Stop> {
    t.station.reply_once([reply]);
    let request = t.keyed(Route::Plain);
    match t.try_send(0, &request).await {
        // A layer that collects the answer first may say that it is broken.
        Ok(answer) => ensure(answer.ending != Ending::Complete || answer.status >= 500, || {
            format!("the cut answer was passed on as whole: {}", answer.describe())
        })?,
        Err(WireError::Closed | WireError::Reset(_) | WireError::Garbage(_)) => {}
        Err(error @ (WireError::Connect(_) | WireError::Late(_))) => {
            return Err(Stop::Fail(error.to_string()));
        }
    }
    let retry = t.send_until_settled(&request).await?;
    t.count(1, "after a retry of a request whose answer was cut")?;
    ensure(retry.status >= 400, || format!("the retry was answered {}", retry.describe()))
}

async fn conditions(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(200).with("ETag", "\"new\"").with("Accept-Ranges", "bytes"));
    let mut request = t.keyed(Route::Plain).with("If-Match", "\"old\"");
    request.method = "PATCH".to_owned();
    let first = t.send(&request).await?;
    status(&first, 200, "the first request")?;
    let retries = [
        request.clone(),
        request.clone().without("If-Match").with("If-None-Match", "\"new\""),
        request.clone().with("If-None-Match", "*"),
        request.clone().with("Range", "bytes=0-3"),
        request.clone().with("Accept", "image/png"),
        request.with("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    for retry in &retries {
        same(&first, &t.send(retry).await?)?;
        t.count(1, "after a conditional retry")?;
    }
    Ok(())
}

async fn oversized(t: &Trial) -> Result<(), Stop> {
    let body = vec![b'z'; 300 * 1024];
    let reply = Reply::new(201).with("Location", "/orders/1").body(body.clone());
    t.station.reply(reply.clone());
    for (at, framing) in [Framing::Length, Framing::Chunked(Vec::new())].into_iter().enumerate() {
        t.station.reply(reply.clone().framed(framing));
        let request = t.keyed(Route::Small);
        let first = t.send(&request).await?;
        status(&first, 201, "the first request")?;
        whole(&first, "the large first answer")?;
        ensure(first.body == body, || {
            format!("{} of {} bytes came", first.body.len(), body.len())
        })?;
        for _ in 0..2 {
            let retry = t.send_until_settled(&request).await?;
            t.count(at + 1, "after a retry of a request with a large result")?;
            problem(&retry, 410, "result-not-retained")?;
        }
    }
    Ok(())
}

async fn upstream_down(t: &Trial) -> Result<(), Stop> {
    t.station.reply(rich());
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    t.log.note("the upstream stops listening");
    t.layer.upstream.stop().await;
    same_fields(&first, &t.send(&request).await?)?;
    let other = t.send(&t.keyed(Route::Plain)).await?;
    refused(&other, &[502, 503, 504], "a first request without an upstream")
}

async fn restart(t: &Trial) -> Result<(), Stop> {
    t.station.reply(rich());
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    for number in 0..t.layer.instances.len() {
        t.terminate(number).await?;
        t.wait_end(number, Duration::from_secs(40)).await?;
        t.start(number).await?;
    }
    for number in 0..t.layer.instances.len() {
        same_fields(&first, &t.send_to(number, &request).await?)?;
    }
    t.count(1, "after a restart and a retry")
}
