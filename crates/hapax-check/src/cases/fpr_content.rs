//! FPR: what makes a request another one.

use crate::case::{Case, Kind, Stop};
use crate::judge::{ensure, not_replayed, problem, refused, same, status};
use crate::profile::Route;
use crate::trial::{OTHER_PAYLOAD, PAYLOAD, Trial};
use crate::upstream::{Gate, Reply};
use crate::wire::{Body, Request};

const REUSE: &str = "A client that reuses a key by mistake would believe that its second, other \
                     operation was carried out.";

pub(super) const CASES: &[Case] = &[
    Case::layer("FPR-01", Kind::Core, "another body is refused", |t| Box::pin(other_body(t)))
        .after(&["REP-01"])
        .promise(
            "The same key with another body is refused with 422, 409 or 400; nothing runs and \
             nothing is replayed.",
            "draft-07 section 2.7",
            REUSE,
        ),
    Case::layer("FPR-01-problem", Kind::Profile, "the refusal says key-reused", |t| {
        Box::pin(key_reused(t))
    })
    .after(&["FPR-01", "HTP-12"])
    .promise(
        "The refusal is 422 with the code key-reused.",
        "draft-07 section 2.7",
        "A client must tell this from a conflict, which it may repeat.",
    ),
    Case::layer("FPR-02", Kind::Core, "a refusal leaves the record intact", |t| {
        Box::pin(intact(t))
    })
    .after(&["FPR-01"])
    .promise(
        "After a refused mismatch the original request is still replayed.",
        "draft gap G11",
        "Otherwise one wrong request of anyone makes the right one run again.",
    ),
    Case::layer("FPR-03", Kind::Profile, "a mismatch in flight is 422, not 409", |t| {
        Box::pin(in_flight(t))
    })
    .after(&["FPR-01"])
    .promise(
        "A mismatch against a running request is told at once and as a mismatch.",
        "rocket-rides-atomic (parameters are checked before the lock)",
        "409 tells the client to retry, which can never succeed.",
    ),
    Case::layer("FPR-05-query", Kind::Profile, "another query is another request", |t| {
        Box::pin(other_target(t, &[("?a=1&b=2", "?a=1&b=3"), ("?a=1&b=2", "?b=2&a=1"), ("", "?x")]))
    })
    .after(&["FPR-02"])
    .promise(
        "The query's bytes are compared, their order included.",
        "Whop (method, path and query count)",
        REUSE,
    ),
    Case::layer("FPR-05-path", Kind::Profile, "the path's bytes are compared", |t| {
        Box::pin(other_target(t, &[("/a%41", "/aA"), ("/a", "/a/"), ("/a", "/A")]))
    })
    .after(&["FPR-02"])
    .promise(
        "Paths that differ in their bytes are different requests.",
        "RFC 9110 section 4.2.3 (only the origin knows which paths are equivalent)",
        REUSE,
    ),
    Case::layer("FPR-05-encoded-slash", Kind::Profile, "an encoded slash is no slash", |t| {
        Box::pin(encoded_slash(t))
    })
    .after(&["FPR-02"])
    .promise(
        "/a%2Fb is never taken for /a/b: it is refused or another request.",
        "RFC 3986 section 2.2",
        "Two resources would share one answer.",
    ),
    Case::layer("FPR-05-media-type", Kind::Profile, "another media type is another request", |t| {
        Box::pin(media_type(t))
    })
    .after(&["FPR-02"])
    .promise(
        "The same bytes as another Content-Type are refused with 422.",
        "field report (a replay bypassed 415)",
        "The upstream would have read the bytes differently.",
    ),
    Case::layer("FPR-06", Kind::Profile, "reordered JSON is another request by default", |t| {
        Box::pin(reordered(t))
    })
    .after(&["FPR-01"])
    .promise(
        "By default bodies are compared byte by byte: reordered members are refused with 422.",
        "Telnyx; Shopify documents field order",
        "A layer that guesses equality conflates what an application tells apart.",
    ),
    Case::layer("FPR-07", Kind::Profile, "a fresh multipart boundary changes nothing", |t| {
        Box::pin(boundary(t))
    })
    .after(&["REP-01"])
    .promise(
        "A form that is sent again with a fresh boundary and equal parts is the same request.",
        "client libraries build forms anew on each retry",
        "Every retry of an upload would be refused.",
    ),
    Case::layer("FPR-07-other-part", Kind::Profile, "another part is another request", |t| {
        Box::pin(other_part(t))
    })
    .after(&["FPR-07", "FPR-01"])
    .promise(
        "A form with a fresh boundary and another part, or with a part that contains the old \
         boundary, is refused.",
        "draft-07 section 2.7",
        REUSE,
    ),
    Case::layer("FPR-08", Kind::Profile, "no body equals an empty body", |t| Box::pin(empty(t)))
        .after(&["FPR-01", "FPR-04-framing"])
        .promise(
            "An absent body and one of no bytes are the same; {} and null differ from them.",
            "RFC 9110 section 6.4",
            "Client libraries differ in how they send nothing.",
        ),
];

async fn other_body(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "the first request")?;
    for body in [OTHER_PAYLOAD, "{}", ""] {
        let answer = t.send(&request.clone().body(body)).await?;
        t.count(1, "after another body with the same key")?;
        not_replayed(&first, &answer, "another body")?;
        refused(&answer, &[400, 409, 422], "another body with the same key")?;
    }
    Ok(())
}

async fn key_reused(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    t.send(&request).await?;
    problem(&t.send(&request.body(OTHER_PAYLOAD)).await?, 422, "key-reused")
}

async fn intact(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    let other = request.clone().body(OTHER_PAYLOAD);
    for _ in 0..3 {
        t.send(&other).await?;
        same(&first, &t.send(&request).await?)?;
    }
    t.count(1, "after mismatches and retries in turn")
}

async fn in_flight(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply(Reply::default().gated(&gate));
    let request = t.keyed(Route::Plain);
    let steps = async {
        t.arrived(1).await?;
        let answer = t.send(&request.clone().body(OTHER_PAYLOAD)).await;
        // The owner is still running: the answer cannot have waited for it.
        gate.open();
        status(&answer?, 422, "another body with the same key")
    };
    let (first, judged) = futures_util::future::join(t.send(&request), steps).await;
    judged?;
    status(&first?, 201, "the first request")?;
    t.count(1, "after a mismatch in flight")
}

/// Pairs of endings: the first is executed, the second must be refused as another request.
async fn other_target(t: &Trial, pairs: &[(&str, &str)]) -> Result<(), Stop> {
    for (at, (one, other)) in pairs.iter().enumerate() {
        let mut request = t.keyed(Route::Plain);
        let base = request.target.clone();
        request.target = format!("{base}{one}");
        let first = t.send(&request).await?;
        status(&first, 201, &format!("the target with {one:?}"))?;
        let mut second = request.clone();
        second.target = format!("{base}{other}");
        let answer = t.send(&second).await?;
        t.count(at + 1, &format!("after {other:?} with the key of {one:?}"))?;
        status(&answer, 422, "another request with the same key")?;
        same(&first, &t.send(&request).await?)?;
    }
    Ok(())
}

async fn encoded_slash(t: &Trial) -> Result<(), Stop> {
    let mut encoded = t.keyed(Route::Plain);
    let mut plain = encoded.clone();
    encoded.target.push_str("/a%2Fb");
    plain.target.push_str("/a/b");
    let first = t.send(&encoded).await?;
    let second = t.send(&plain).await?;
    not_replayed(&first, &second, "/a/b")?;
    match first.status {
        400 => {
            status(&second, 201, "/a/b after a refused /a%2Fb")?;
            t.count(1, "after /a%2Fb and /a/b")
        }
        _ => {
            status(&first, 201, "/a%2Fb")?;
            status(&second, 422, "another request with the same key")?;
            t.count(1, "after /a%2Fb and /a/b")
        }
    }
}

async fn media_type(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    let answer = t.send(&request.clone().set("Content-Type", "text/plain")).await?;
    t.count(1, "after the same bytes as text/plain")?;
    status(&answer, 422, "another request with the same key")?;
    same(&first, &t.send(&request).await?)
}

async fn reordered(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    t.send(&request).await?;
    let equal = ["{\"amount\":100,\"item\":\"chair\"}", "{\"item\":\"chair\",\"amount\":100} "];
    for body in equal {
        let answer = t.send(&request.clone().body(body)).await?;
        t.count(1, "after other bytes of equal JSON")?;
        status(&answer, 422, "other bytes of equal JSON")?;
    }
    Ok(())
}

fn form(request: &Request, boundary: &str, file: &str) -> Request {
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{file}\r\n--{boundary}--\r\n"
    );
    request
        .clone()
        .set("Content-Type", format!("multipart/form-data; boundary={boundary}"))
        .body(body)
}

async fn boundary(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&form(&request, "aaaa1111", "content")).await?;
    status(&first, 201, "the form")?;
    for boundary in ["bbbb2222", "----WebKitFormBoundary7MA4YWxkTrZu0gW"] {
        let retry = t.send(&form(&request, boundary, "content")).await?;
        t.count(1, "after the form with a fresh boundary")?;
        same(&first, &retry)?;
    }
    Ok(())
}

async fn other_part(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&form(&request, "aaaa1111", "content")).await?;
    for file in ["other", "content\r\n--aaaa1111", "bbbb2222"] {
        let answer = t.send(&form(&request, "bbbb2222x", file)).await?;
        t.count(1, "after a form with another part")?;
        not_replayed(&first, &answer, "another form")?;
        status(&answer, 422, "another request with the same key")?;
    }
    Ok(())
}

async fn empty(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request.clone().framed(Body::Absent)).await?;
    status(&first, 201, "a request without a body")?;
    same(&first, &t.send(&request.clone().body("")).await?)?;
    let no_chunks = Body::Chunks(Vec::new(), Vec::new());
    same(&first, &t.send(&request.clone().framed(no_chunks)).await?)?;
    t.count(1, "after the same nothing in three forms")?;
    for body in ["{}", "null", PAYLOAD] {
        let answer = t.send(&request.clone().body(body)).await?;
        ensure(answer.status == 422, || {
            format!("{body} instead of no body was answered {}", answer.describe())
        })?;
    }
    t.count(1, "after other bodies")
}
