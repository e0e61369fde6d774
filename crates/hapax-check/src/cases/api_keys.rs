//! Cases of API mode about keys: which values are one key, which are two, and which are none.

use crate::case::{Case, Kind, Stop};
use crate::judge::{ensure, refused};
use crate::trial::ApiTrial;
use crate::trial::api::differ;
use crate::wire::Request;

const UNPROTECTED: &str =
    "The client believes that its request is protected; its retry is a second effect.";
const MIXED_UP: &str = "One operation is answered with another one's result.";

pub(super) const CASES: &[Case] = &[
    Case::api("KEY-01-api", Kind::Core, "the field name has no case", 3, |t| {
        Box::pin(field_case(t))
    })
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "The key's field is the same in any case.",
        "RFC 9110 section 5.1",
        "Proxies and HTTP/2 change the case on the way.",
    ),
    Case::api("KEY-04-api", Kind::Profile, "quoted and bare are one key", 2, |t| {
        Box::pin(both_forms(t))
    })
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "The other form of a used key (bare for quoted) is the same key or refused; it does not \
         run again.",
        "draft gap G8",
        "A client library that changes its quoting would run a payment twice.",
    ),
    Case::api("KEY-05-api", Kind::Profile, "malformed keys do not run", 4, |t| {
        Box::pin(malformed(t, &[b"\"unterminated", b"\"a\"b", b"\"caf\xe9\"", b"a b"]))
    })
    .after(&["EXE-01-api"])
    .promise(
        "An unclosed quote, characters after the closing quote, non-ASCII bytes and a space in a \
         bare key are refused, and nothing runs.",
        "draft-07 section 5 (validate keys)",
        UNPROTECTED,
    ),
    Case::api("KEY-07-api", Kind::Profile, "an empty key does not run", 2, |t| {
        Box::pin(malformed(t, &[b"", b"\"\""]))
    })
    .after(&["EXE-01-api"])
    .promise(
        "An empty field and an empty string are refused, and nothing runs.",
        "draft gap G3",
        UNPROTECTED,
    ),
    Case::api("KEY-08-api", Kind::Core, "two keys do not run", 2, |t| Box::pin(doubled(t)))
        .after(&["EXE-01-api"])
        .promise(
            "Two lines of the key's field are refused, and nothing runs.",
            "RFC 9651 (an Item is no List)",
            "Two parties may each take another line and protect another operation.",
        ),
    Case::api("KEY-09-api", Kind::Core, "long keys are not cut", 4, |t| Box::pin(long(t)))
        .after(&["REP-01-api"])
        .safe()
        .promise(
            "Long keys that differ in their last character are two keys, or refused.",
            "Stripe (255 characters)",
            MIXED_UP,
        ),
    Case::api("KEY-10-api", Kind::Core, "keys are case-sensitive", 2, |t| Box::pin(key_case(t)))
        .after(&["REP-01-api"])
        .safe()
        .promise(
            "Keys that differ in case are two keys, or refused.",
            "RFC 9110 section 5.5",
            MIXED_UP,
        ),
    Case::api("KEY-11-api", Kind::Core, "without a key nothing is replayed", 2, |t| {
        Box::pin(keyless(t))
    })
    .after(&["EXE-01-api"])
    .safe()
    .promise(
        "Two requests without a key both run, or both are refused for the missing key.",
        "draft-07 section 2.7",
        "Two equal requests may be two intended operations.",
    ),
    Case::api("SEC-01-api", Kind::Core, "keys are opaque", 10, |t| Box::pin(opaque(t)))
        .after(&["REP-01-api"])
        .safe()
        .promise(
            "Keys with the metacharacters of databases, patterns and paths get no other key's \
             answer, or are refused.",
            "draft-07 section 5 (injection)",
            "A key that is a pattern or a query reads other callers' records.",
        ),
];

async fn field_case(t: &ApiTrial) -> Result<(), Stop> {
    let key = ApiTrial::key();
    let request = t.keyed(&key);
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    for change in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
        let mut retry = request.clone();
        for (name, _) in &mut retry.fields {
            if name.eq_ignore_ascii_case(&t.api.key_field) {
                *name = change(name);
            }
        }
        let answer = t.send(&retry).await?;
        t.once(before, &first, &answer).await?;
    }
    Ok(())
}

async fn both_forms(t: &ApiTrial) -> Result<(), Stop> {
    let key = ApiTrial::key();
    let before = t.effects().await?;
    let first = t.succeed(&t.keyed(&key)).await?;
    let other = match t.api.bare.get() {
        Some(true) => t.raw_keyed(format!("\"{key}\"")),
        Some(false) | None => t.raw_keyed(&key),
    };
    let answer = t.send(&other).await?;
    if (400..500).contains(&answer.status) {
        // Taking one form alone is the target's own choice.
        let effects = t.effects_since(before).await?;
        return ensure(effects.is_none_or(|count| count <= 1), || "a second effect".to_owned());
    }
    t.once(before, &first, &answer).await
}

/// The request is refused without an effect.
async fn does_not_run(t: &ApiTrial, request: &Request, what: &str) -> Result<(), Stop> {
    let before = t.effects().await?;
    // A connection that is closed without an answer is a refusal as well.
    let answer = t.try_send(request).await?;
    let effects = t.effects_since(before).await?;
    ensure(effects.is_none_or(|count| count == 0), || format!("{what} had an effect"))?;
    match answer {
        Ok(answer) => ensure((400..500).contains(&answer.status), || {
            format!("{what} was answered {}", answer.describe())
        }),
        Err(error) => {
            t.log.note(format!("refused without an answer: {error}"));
            Ok(())
        }
    }
}

async fn malformed(t: &ApiTrial, values: &[&[u8]]) -> Result<(), Stop> {
    for value in values {
        let what = format!("the malformed key {:?}", value.escape_ascii().to_string());
        does_not_run(t, &t.raw_keyed(value), &what).await?;
    }
    Ok(())
}

async fn doubled(t: &ApiTrial) -> Result<(), Stop> {
    let key = ApiTrial::key();
    let form = |key: &str| match t.api.bare.get() {
        Some(true) => key.to_owned(),
        Some(false) | None => format!("\"{key}\""),
    };
    for other in [key.clone(), ApiTrial::key()] {
        let request = t.keyed(&key).with(&t.api.key_field, form(&other));
        does_not_run(t, &request, "a request with two keys").await?;
    }
    Ok(())
}

/// Two keys that must not be taken for one: each runs or is refused.
async fn distinct(t: &ApiTrial, one: &str, other: &str) -> Result<(), Stop> {
    let before = t.effects().await?;
    let first = t.send(&t.keyed(one)).await?;
    let second = t.send(&t.keyed(other)).await?;
    if first.status >= 400 || second.status >= 400 {
        return refused(&second, &[400, 413, 422, 431], "a key that is no longer accepted")
            .or_else(|stop| if second.status < 400 { Ok(()) } else { Err(stop) });
    }
    let effects = t.effects_since(before).await?;
    let two = effects.map_or_else(|| differ(&first, &second), |count| count == 2);
    ensure(two && !second.marked(), || {
        format!("the keys {one:?} and {other:?} are one key: {}", second.describe())
    })
}

async fn long(t: &ApiTrial) -> Result<(), Stop> {
    for length in [64, 255] {
        let mut key = ApiTrial::key();
        while key.len() < length - 1 {
            key.push('k');
        }
        distinct(t, &format!("{key}a"), &format!("{key}b")).await?;
    }
    Ok(())
}

async fn key_case(t: &ApiTrial) -> Result<(), Stop> {
    // The letters in front make sure that there is something to change.
    let key = ApiTrial::key();
    distinct(t, &format!("ab{key}"), &format!("AB{key}")).await
}

async fn keyless(t: &ApiTrial) -> Result<(), Stop> {
    let before = t.effects().await?;
    let first = t.send(&t.api.request).await?;
    let second = t.send(&t.api.request).await?;
    if first.status >= 400 {
        return ensure(second.status >= 400, || {
            format!("without a key came {} and then {}", first.describe(), second.describe())
        });
    }
    let effects = t.effects_since(before).await?;
    let two = effects.map_or_else(|| differ(&first, &second), |count| count == 2);
    ensure(two && !second.marked(), || {
        format!("the second request without a key was answered {}", second.describe())
    })
}

async fn opaque(t: &ApiTrial) -> Result<(), Stop> {
    let witness = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let kept = t.succeed(&witness).await?;
    let mark = ApiTrial::key();
    let keys = ["*", "' OR 1=1--", "../", "%0d%0aX: 1", "%", "$(id)", "{x}"];
    let mut ran = 1;
    for key in keys {
        // The mark keeps runs apart; the pattern in front still matches everything it can.
        let answer = t.send(&t.keyed(&format!("{key}{mark}"))).await?;
        if answer.status >= 400 {
            ensure(answer.status < 500, || format!("the key {key:?}: {}", answer.describe()))?;
            continue;
        }
        ran += 1;
        let effects = t.effects_since(before).await?;
        let new = effects.map_or_else(|| differ(&kept, &answer), |count| count == ran);
        ensure(new && !answer.marked(), || {
            format!("the key {key:?} got another key's answer: {}", answer.describe())
        })?;
    }
    let again = t.send(&witness).await?;
    ensure(!differ(&kept, &again) || matches!(again.status, 409 | 422), || {
        format!("the witness is now answered {}", again.describe())
    })
}
