//! KEY: which field values denote which key.

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, refused, same, status};
use crate::profile::Route;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::layer("KEY-01", Kind::Core, "the field name has no case", |t| Box::pin(field_case(t)))
        .after(&["REP-01"])
        .promise(
            "idempotency-key, IDEMPOTENCY-KEY and Idempotency-Key are the same field.",
            "RFC 9110 section 5.1",
            "Proxies and HTTP/2 change the case on the way; a retry would run again.",
        ),
    Case::layer("KEY-02", Kind::Core, "quoted keys work", |t| Box::pin(quoted(t)))
        .after(&["REP-01"])
        .promise(
            "A key as a structured-field string is accepted, escaped quotes and backslashes too.",
            "draft-07 section 2.1; RFC 9651 section 3.3.3",
            "It is the form that the draft demands.",
        ),
    Case::layer("KEY-02-illegal-escape", Kind::Core, "an illegal escape is refused", |t| {
        Box::pin(super::key_malformed::refused_value(t, Route::Plain, b"\"a\\b\"", &[400]))
    })
    .after(&["EXE-01"])
    .promise(
        "A string with a backslash before anything but a quote or a backslash is refused with 400.",
        "RFC 9651 section 4.2.5",
        "Two parsers read such a value differently, so its identity is a guess.",
    ),
    Case::layer("KEY-03", Kind::Profile, "bare keys work", |t| Box::pin(bare(t)))
        .after(&["REP-01"])
        .promise(
            "Bare values are opaque keys, whatever other structured-field type they look like.",
            "deployed practice (Telnyx, Restate and most others)",
            "Most clients send bare UUIDs; about a third begin with a digit and are no token.",
        ),
    Case::layer("KEY-04", Kind::Profile, "quoted first, bare on the retry", |t| {
        Box::pin(both_forms(t, true))
    })
    .after(&["KEY-03"])
    .promise(
        "A quoted key and the same key bare are one key.",
        "measured middlewares differ (draft gap G8)",
        "A client library that changes its quoting between versions would run a payment twice.",
    ),
    Case::layer("KEY-04-reverse", Kind::Profile, "bare first, quoted on the retry", |t| {
        Box::pin(both_forms(t, false))
    })
    .after(&["KEY-03"])
    .promise(
        "A bare key and the same key in quotes are one key.",
        "measured middlewares differ (draft gap G8)",
        "A client library that changes its quoting between versions would run a payment twice.",
    ),
    Case::layer("KEY-05-strict-bare", Kind::Profile, "strict routes refuse bare keys", |t| {
        Box::pin(strict_bare(t))
    })
    .needs(&[Need::Route(Route::StrictSyntax)])
    .after(&["EXE-01"])
    .promise(
        "Where the syntax is strict, a bare value is refused and a quoted one runs.",
        "draft-07 section 2.1",
        "Ignoring the value instead would run the request unprotected.",
    ),
    Case::layer("KEY-06", Kind::Profile, "parameters are not part of the key", |t| {
        Box::pin(parameters(t))
    })
    .after(&["REP-01"])
    .promise(
        "A quoted key with parameters is the same key as without.",
        "RFC 9651 section 3.3",
        "An intermediary may add parameters; the operation stays the same.",
    ),
    Case::layer("KEY-09", Kind::Profile, "255 characters are accepted", |t| Box::pin(longest(t)))
        .after(&["REP-01"])
        .promise(
            "A key of 255 characters works, counted after decoding.",
            "Stripe; RFC 9651 section 3.3.3",
            "Keys made of several ids are long; refusing or cutting them breaks callers.",
        ),
    Case::layer("KEY-09-too-long", Kind::Profile, "256 characters are refused", |t| {
        Box::pin(too_long(t))
    })
    .after(&["EXE-01"])
    .promise(
        "A key of more than 255 characters is refused with 400, never cut.",
        "Stripe",
        "Cutting makes two different operations one.",
    ),
    Case::layer("KEY-10", Kind::Core, "keys are case-sensitive", |t| Box::pin(key_case(t)))
        .after(&["REP-01"])
        .promise(
            "Keys that differ in case are different keys.",
            "RFC 9110 section 5.5; AWS",
            "Base64 keys differ in case alone; merging them answers one operation with another's \
             result.",
        ),
    Case::layer(
        "KEY-10-whitespace",
        Kind::Core,
        "whitespace around is no part, inside it is",
        |t| Box::pin(whitespace(t)),
    )
    .after(&["KEY-02"])
    .promise(
        "Whitespace around the field value is not part of the key; whitespace in quotes is.",
        "RFC 9110 section 5.5",
        "Intermediaries trim fields; a key must survive that.",
    ),
];

async fn field_case(t: &Trial) -> Result<(), Stop> {
    let key = format!("\"{}\"", t.key());
    let first = t.send(&t.post(Route::Plain).with("Idempotency-Key", &key)).await?;
    status(&first, 201, "the first request")?;
    for name in ["idempotency-key", "IDEMPOTENCY-KEY", "iDEMPOTENCY-kEY"] {
        same(&first, &t.send(&t.post(Route::Plain).with(name, &key)).await?)?;
        t.count(1, &format!("after a retry with the field name {name}"))?;
    }
    Ok(())
}

async fn quoted(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    let values = [format!("\"{key}\""), format!("\"{key}a\\\"b\""), format!("\"{key}a\\\\b\"")];
    for (at, value) in values.iter().enumerate() {
        twice(t, value, at + 1).await?;
    }
    Ok(())
}

/// Sends a key value twice; it must execute once as the `count`th execution and then be replayed.
async fn twice(t: &Trial, value: &str, count: usize) -> Result<(), Stop> {
    let request = t.post(Route::Plain).raw_key(value);
    let first = t.send(&request).await?;
    status(&first, 201, &format!("the key {value}"))?;
    t.count(count, &format!("after the key {value}"))?;
    same(&first, &t.send(&request).await?)?;
    t.count(count, &format!("after a retry with the key {value}"))
}

async fn bare(t: &Trial) -> Result<(), Stop> {
    // Principals are unique to the case, since these keys are not.
    let caller = format!("Bearer {}", t.key());
    let values = ["8e03978e-40d5-43e8-bc93-6894a57f9324", "12345", "?1", "YWJj+/=", "order:17_a"];
    for (at, value) in values.iter().enumerate() {
        let request = t.post(Route::Plain).set("Authorization", &caller).raw_key(value);
        let first = t.send(&request).await?;
        status(&first, 201, &format!("the bare key {value}"))?;
        t.count(at + 1, &format!("after the bare key {value}"))?;
        same(&first, &t.send(&request).await?)?;
        t.count(at + 1, &format!("after a retry with the bare key {value}"))?;
    }
    Ok(())
}

async fn both_forms(t: &Trial, quoted_first: bool) -> Result<(), Stop> {
    let key = t.key();
    let quoted = t.post(Route::Plain).key(&key);
    let bare = t.post(Route::Plain).raw_key(&key);
    let (one, other) = if quoted_first { (quoted, bare) } else { (bare, quoted) };
    let first = t.send(&one).await?;
    status(&first, 201, "the first form of the key")?;
    let retry = t.send(&other).await?;
    t.count(1, "after both forms of the key")?;
    same(&first, &retry)
}

async fn strict_bare(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    let answer = t.send(&t.post(Route::StrictSyntax).raw_key(&key)).await?;
    status(&answer, 400, "a bare key on a strict route")?;
    t.count(0, "after a bare key on a strict route")?;
    let answer = t.send(&t.post(Route::StrictSyntax).key(&key)).await?;
    status(&answer, 201, "a quoted key on a strict route")
}

async fn parameters(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    let with = t.post(Route::Plain).raw_key(format!("\"{key}\";v=1;w=\"x\""));
    let first = t.send(&with).await?;
    status(&first, 201, "a key with parameters")?;
    let retry = t.send(&t.post(Route::Plain).key(&key)).await?;
    t.count(1, "after the key with and without parameters")?;
    same(&first, &retry)
}

fn long_key(t: &Trial, length: usize) -> String {
    let mut key = t.key();
    while key.len() < length {
        key.push('k');
    }
    key
}

async fn longest(t: &Trial) -> Result<(), Stop> {
    let key = long_key(t, 255);
    twice(t, &format!("\"{key}\""), 1).await?;
    // Two escapes: 257 characters on the wire, 255 in the key.
    let escaped = format!("\"{}\\\"\\\\\"", long_key(t, 253));
    twice(t, &escaped, 2).await?;
    // The last character counts.
    let other = format!("\"{}z\"", &key[..254]);
    twice(t, &other, 3).await
}

async fn too_long(t: &Trial) -> Result<(), Stop> {
    let key = long_key(t, 256);
    for value in [format!("\"{key}\""), key.clone(), format!("\"{}\"", key.repeat(10))] {
        let answer = t.send(&t.post(Route::Plain).raw_key(&value)).await?;
        refused(&answer, &[400], &format!("a key of {} characters", value.len()))?;
    }
    t.count(0, "after keys that are too long")
}

async fn key_case(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    let lower = t.send(&t.post(Route::Plain).key(&format!("{key}abc"))).await?;
    let upper = t.send(&t.post(Route::Plain).key(&format!("{key}ABC"))).await?;
    status(&lower, 201, "the lower-case key")?;
    status(&upper, 201, "the upper-case key")?;
    t.count(2, "after two keys that differ in case")?;
    ensure(lower.body != upper.body, || {
        format!("the upper-case key got the other's answer: {}", upper.describe())
    })
}

async fn whitespace(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    let first = t.send(&t.post(Route::Plain).key(&key)).await?;
    status(&first, 201, "the first request")?;
    let padded = t.post(Route::Plain).raw_key(format!("  \t\"{key}\" \t "));
    same(&first, &t.send(&padded).await?)?;
    t.count(1, "after a retry with whitespace around the value")?;
    let inside = t.send(&t.post(Route::Plain).key(&format!(" {key} "))).await?;
    status(&inside, 201, "a key with whitespace in its quotes")?;
    t.count(2, "after a key with whitespace in its quotes")
}
