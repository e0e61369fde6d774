//! Judgements that many cases share; each says exactly what came instead.

use crate::case::Stop;
use crate::wire::Answer;
use crate::wire::message::Ending;

/// Fields that may differ between an answer and its replay: the connection's, the clock's and the
/// layer's own.
const MAY_DIFFER: &[&str] = &[
    "age",
    "cf-cache-status",
    "connection",
    "content-length",
    "date",
    "idempotency-expires",
    "idempotency-key",
    "idempotency-replay",
    "idempotency-replayed",
    "idempotent-replay",
    "idempotent-replayed",
    "keep-alive",
    "server-timing",
    "transfer-encoding",
    "via",
];

/// Fails with a sentence.
pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(text.into()))
}

/// Holds when the condition does.
pub(crate) fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { fail(text()) }
}

/// Holds when the condition does; otherwise the machine stood still before it could be judged.
pub(crate) fn met(holds: bool, text: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Missed(text())) }
}

/// A judgement that a standing machine can spoil: what fails is judged again before it counts.
pub(crate) fn in_time<T>(judged: Result<T, Stop>) -> Result<T, Stop> {
    judged.map_err(|stop| match stop {
        Stop::Fail(text) => Stop::Late(text),
        Stop::Late(_) | Stop::Missed(_) | Stop::Skip(_) => stop,
    })
}

/// The answer has this status.
pub(crate) fn status(answer: &Answer, expected: u16, what: &str) -> Result<(), Stop> {
    ensure(answer.status == expected, || {
        format!("{what} was answered {} instead of {expected}", answer.describe())
    })
}

/// The answer is one of these refusals.
pub(crate) fn refused(answer: &Answer, allowed: &[u16], what: &str) -> Result<(), Stop> {
    ensure(allowed.contains(&answer.status), || {
        format!("{what} was answered {} instead of one of {allowed:?}", answer.describe())
    })
}

/// The answer came whole.
pub(crate) fn whole(answer: &Answer, what: &str) -> Result<(), Stop> {
    ensure(answer.ending != Ending::Cut, || format!("{what} was cut: {}", answer.describe()))
}

/// The retry has the first answer's status and content.
pub(crate) fn same(first: &Answer, retry: &Answer) -> Result<(), Stop> {
    whole(retry, "the answer to the retry")?;
    ensure(first.status == retry.status && first.body == retry.body, || {
        format!(
            "the retry was answered {} instead of the first answer {}",
            retry.describe(),
            first.describe()
        )
    })
}

/// The retry has the first answer's status, content and end-to-end fields.
pub(crate) fn same_fields(first: &Answer, retry: &Answer) -> Result<(), Stop> {
    same(first, retry)?;
    for (name, _) in &first.fields {
        if MAY_DIFFER.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            continue;
        }
        let (was, is) = (first.all(name), retry.all(name));
        ensure(was == is, || {
            format!("the field {name} was {} and is {} on the retry", list(&was), list(&is))
        })?;
    }
    Ok(())
}

/// The answer is not the first one: neither its content nor a mark of a replay.
pub(crate) fn not_replayed(first: &Answer, other: &Answer, who: &str) -> Result<(), Stop> {
    let carries = !first.body.is_empty() && other.body == first.body;
    ensure(!carries && !other.marked(), || {
        format!("{who} got the kept answer: {}", other.describe())
    })
}

/// The answer is not marked as a replay.
pub(crate) fn unmarked(answer: &Answer, what: &str) -> Result<(), Stop> {
    ensure(!answer.marked(), || format!("{what} is marked as a replay: {}", answer.describe()))
}

/// The answer is marked as a replay in the way of the profile.
pub(crate) fn marked(answer: &Answer, what: &str) -> Result<(), Stop> {
    ensure(answer.text("idempotent-replayed").as_deref() == Some("true"), || {
        format!("{what} has no Idempotent-Replayed: true: {}", answer.describe())
    })
}

/// The answer is this problem of the profile.
pub(crate) fn problem(answer: &Answer, expected: u16, code: &str) -> Result<(), Stop> {
    let came = answer.code();
    ensure(answer.status == expected && came.as_deref() == Some(code), || {
        format!(
            "came {} with code {} instead of {expected} {code}",
            answer.describe(),
            came.as_deref().unwrap_or("none")
        )
    })
}

/// The answer is well-formed problem details with everything a client can act on.
pub(crate) fn well_formed_problem(answer: &Answer) -> Result<(), Stop> {
    let kind = answer.text("content-type").unwrap_or_default();
    ensure(kind.starts_with("application/problem+json"), || {
        format!("the error has Content-Type {kind:?}: {}", answer.describe())
    })?;
    let Some(json) = answer.json() else {
        return fail(format!("the error is no JSON: {}", answer.describe()));
    };
    for name in ["type", "title", "detail"] {
        let text = json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        ensure(!text.is_empty(), || format!("the error lacks {name:?}: {}", answer.describe()))?;
    }
    let number = json.get("status").and_then(serde_json::Value::as_u64);
    ensure(number == Some(u64::from(answer.status)), || {
        format!("the error's \"status\" is {number:?} in an answer of {}", answer.status)
    })?;
    let stored = answer.text("cache-control").unwrap_or_default();
    ensure(stored.contains("no-store"), || {
        format!("the error may be stored by caches (Cache-Control: {stored:?})")
    })
}

/// The answer says that the operation still runs, and when to ask again.
pub(crate) fn still_running(answer: &Answer) -> Result<(), Stop> {
    status(answer, 409, "a duplicate of a running request")?;
    let after = answer.text("retry-after").unwrap_or_default();
    ensure(after.parse::<u32>().is_ok_and(|seconds| seconds > 0), || {
        format!("the 409 has Retry-After {after:?} instead of a positive number of seconds")
    })
}

fn list(values: &[&[u8]]) -> String {
    if values.is_empty() {
        return "absent".to_owned();
    }
    values.iter().map(|value| value.escape_ascii().to_string()).collect::<Vec<_>>().join(" | ")
}
