//! KEY: values that are no key must be refused, never run unprotected.

use futures_util::future::BoxFuture;

use crate::case::{Case, Kind, Stop};
use crate::judge::{ensure, problem, refused, well_formed_problem};
use crate::profile::Route;
use crate::trial::Trial;
use crate::wire::Request;

const UNPROTECTED: &str = "The client believes that its request is protected; run without protection, a retry is a \
     second effect.";
const VALIDATE: &str = "draft-07 section 5 (validate keys)";

const fn malformed(
    id: &'static str,
    title: &'static str,
    run: for<'a> fn(&'a Trial) -> BoxFuture<'a, Result<(), Stop>>,
) -> Case {
    Case::layer(id, Kind::Profile, title, run).after(&["EXE-01"]).promise(
        "A malformed key is refused with 400 and nothing runs.",
        VALIDATE,
        UNPROTECTED,
    )
}

pub(super) const CASES: &[Case] = &[
    malformed("KEY-05-unterminated", "an unclosed quote is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"\"unterminated", &[400]))
    }),
    malformed("KEY-05-after-quote", "characters after the closing quote are refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"\"key\"more", &[400]))
    }),
    malformed("KEY-05-control", "control characters are refused", |t| {
        Box::pin(refused_values(t, &[b"\"a\x01b\"", b"a\x01b", b"\"a\x7fb\""]))
    }),
    malformed("KEY-05-non-ascii", "non-ASCII bytes are refused", |t| {
        Box::pin(refused_values(t, &[b"\"k\xc3\xa4se\"", b"k\xc3\xa4se", b"\"\xff\""]))
    }),
    malformed("KEY-05-bare-quote", "a bare value with a quote inside is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"ab\"cd", &[400]))
    }),
    malformed("KEY-05-bare-space", "a bare value with a space inside is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"ab cd", &[400]))
    }),
    malformed("KEY-05-problem", "the refusal says invalid-key", |t| Box::pin(says_invalid(t)))
        .after(&["KEY-05-unterminated", "HTP-12"]),
    malformed("KEY-07-empty-field", "an empty field is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"", &[400]))
    }),
    malformed("KEY-07-empty-string", "an empty string is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"\"\"", &[400]))
    }),
    Case::layer("KEY-08", Kind::Core, "two key lines are refused", |t| Box::pin(two_lines(t)))
        .after(&["EXE-01"])
        .promise(
            "Two lines of the key field are refused with 400, even when they are equal.",
            "RFC 9651 (an Item is no List); RFC 9110 section 5.3",
            "Two parties may each take another line and protect another operation.",
        ),
    Case::layer("KEY-08-joined", Kind::Core, "keys joined by a comma are refused", |t| {
        Box::pin(refused_values(t, &[b"\"a\", \"a\"", b"\"a\",\"b\""]))
    })
    .after(&["EXE-01"])
    .promise(
        "Two keys in one line are refused with 400.",
        "RFC 9651 (an Item is no List)",
        "Intermediaries join lines; a doubled key must not become a third one.",
    ),
    Case::layer("KEY-08-bare-comma", Kind::Profile, "a bare value with a comma is refused", |t| {
        Box::pin(refused_value(t, Route::Plain, b"ab,cd", &[400]))
    })
    .after(&["EXE-01"])
    .promise(
        "A bare value with a comma is refused: it may be two lines joined.",
        VALIDATE,
        UNPROTECTED,
    ),
];

/// This field value is refused with one of these statuses, twice over, and nothing arrives.
pub(super) async fn refused_value(
    t: &Trial,
    route: Route,
    value: &[u8],
    allowed: &[u16],
) -> Result<(), Stop> {
    refused_request(t, &t.post(route).raw_key(value), allowed, &value.escape_ascii().to_string())
        .await
}

async fn refused_values(t: &Trial, values: &[&[u8]]) -> Result<(), Stop> {
    for value in values {
        refused_value(t, Route::Plain, value, &[400]).await?;
    }
    Ok(())
}

async fn refused_request(
    t: &Trial,
    request: &Request,
    allowed: &[u16],
    value: &str,
) -> Result<(), Stop> {
    for _ in 0..2 {
        let answer = t.send(request).await?;
        t.count(0, &format!("after the malformed key {value:?}"))?;
        refused(&answer, allowed, &format!("the malformed key {value:?}"))?;
    }
    ensure(t.station.cut_count() == 0, || "a part of the refused request was sent".to_owned())
}

async fn two_lines(t: &Trial) -> Result<(), Stop> {
    let (one, other) = (format!("\"{}\"", t.key()), format!("\"{}\"", t.key()));
    let doubled = t.post(Route::Plain).with("Idempotency-Key", &one);
    let equal = doubled.clone().with("Idempotency-Key", &one);
    refused_request(t, &equal, &[400], "two equal lines").await?;
    let unequal = doubled.with("idempotency-key", &other);
    refused_request(t, &unequal, &[400], "two lines").await
}

async fn says_invalid(t: &Trial) -> Result<(), Stop> {
    for value in ["\"unterminated", "", "ab cd"] {
        let answer = t.send(&t.post(Route::Plain).raw_key(value)).await?;
        problem(&answer, 400, "invalid-key")?;
        well_formed_problem(&answer)?;
    }
    Ok(())
}
