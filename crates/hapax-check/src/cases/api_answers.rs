//! Cases of API mode about answers: what a client alone can see of retry safety.

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail};
use crate::trial::ApiTrial;
use crate::trial::api::differ;
use crate::wire::Body;

const TWICE: &str = "The second effect is the second payment, order or message.";

pub(super) const CASES: &[Case] = &[
    Case::api("EXE-01-api", Kind::Core, "two keys are two operations", 4, |t| {
        Box::pin(two_keys(t))
    })
    .safe()
    .promise(
        "The operation succeeds, and two fresh keys run it twice.",
        "draft-07 section 2.6",
        "An API that takes different keys for one loses operations.",
    ),
    Case::api("REP-01-api", Kind::Core, "a retry runs nothing", 2, |t| Box::pin(retry(t)))
        .after(&["EXE-01-api"])
        .safe()
        .promise(
            "A retry with the same key and payload has no second effect and gets the first answer \
             (or a conflict).",
            "draft-07 section 2.6",
            TWICE,
        ),
    Case::api("REP-01-api-repeated", Kind::Core, "nor do five", 6, |t| Box::pin(five(t)))
        .after(&["REP-01-api"])
        .safe()
        .promise(
            "Every further retry is answered like the first one.",
            "draft-07 section 2.6",
            TWICE,
        ),
    Case::api("REP-02-api", Kind::Optional, "a replay is marked", 2, |t| Box::pin(marked(t)))
        .after(&["REP-01-api"])
        .safe()
        .promise(
            "A replay says that it is one, and a first answer does not.",
            "Stripe; IETF working group issue 46",
            "The mark is how operators and clients tell a replay from a second run.",
        ),
    Case::api("REP-08-api", Kind::Core, "a retry gets a coding it can read", 2, |t| {
        Box::pin(coding(t))
    })
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "A retry that accepts no coding gets no compressed content.",
        "RFC 9110 section 12.5.3",
        "The client cannot read its own result.",
    ),
    Case::api("REP-10-api", Kind::Profile, "conditions do not change a replay", 4, |t| {
        Box::pin(conditions(t))
    })
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "If-None-Match and Range on a retry alter nothing: no 206, 304, 412 or 416.",
        "RFC 9110 sections 13 and 14",
        "A retried success would look like a failure.",
    ),
    Case::api("FPR-01-api", Kind::Core, "another payload is refused", 2, |t| {
        Box::pin(other_payload(t))
    })
    .needs(&[Need::OtherBody])
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "The same key with another payload is refused, best with 422; it neither runs nor \
         gets the first payload's answer.",
        "draft-07 section 2.7",
        "A client that reuses a key by mistake would believe that its other operation was done.",
    ),
    Case::api("FPR-02-api", Kind::Core, "a refusal leaves the record intact", 4, |t| {
        Box::pin(intact(t))
    })
    .needs(&[Need::OtherBody])
    .after(&["FPR-01-api"])
    .safe()
    .promise(
        "After a refused mismatch the original request is answered as before.",
        "draft gap G11",
        TWICE,
    ),
    Case::api("FPR-04-api", Kind::Core, "transport does not make another request", 5, |t| {
        Box::pin(transport(t))
    })
    .after(&["REP-01-api"])
    .promise(
        "Chunks, the order of fields, User-Agent and Date do not make a retry another request.",
        "RFC 9112 section 6",
        "A retry takes another way than the first request.",
    ),
    Case::api("SCO-01-api", Kind::Core, "another caller gets nothing", 4, |t| {
        Box::pin(other_caller(t))
    })
    .needs(&[Need::OtherCaller])
    .after(&["REP-01-api"])
    .safe()
    .promise(
        "A second caller with the first one's key and payload never gets the first one's answer.",
        "draft-07 section 5",
        "One caller's receipt, address or token ends up at another caller.",
    ),
];

async fn two_keys(t: &ApiTrial) -> Result<(), Stop> {
    let before = t.effects().await?;
    let mut first = t.send(&t.keyed(&ApiTrial::key())).await?;
    if (400..500).contains(&first.status) {
        // Some APIs take bare keys alone.
        let bare = t.send(&t.raw_keyed(ApiTrial::key())).await?;
        if bare.status >= 400 {
            return Err(Stop::Skip(format!(
                "the operation itself was answered {}; it must succeed to be measured",
                first.describe()
            )));
        }
        let _ = t.api.bare.set(true);
        first = bare;
    }
    if first.status >= 500 {
        return Err(Stop::Skip(format!(
            "the operation itself was answered {}; it must succeed to be measured",
            first.describe()
        )));
    }
    let second = t.succeed(&t.keyed(&ApiTrial::key())).await?;
    match t.effects_since(before).await? {
        Some(2) => Ok(()),
        Some(0) => Err(Stop::Skip(
            "the operation succeeded but --effects-url counted no effect".to_owned(),
        )),
        Some(count) => fail(format!("two fresh keys had {count} effects")),
        None if second.marked() => {
            fail(format!("a fresh key was answered as a replay: {}", second.describe()))
        }
        None if differ(&first, &second) => Ok(()),
        None => Err(Stop::Skip(
            "two operations get the same answer, so a second run cannot be seen: give \
             --effects-url"
                .to_owned(),
        )),
    }
}

async fn retry(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    let retry = t.send(&request).await?;
    t.once(before, &first, &retry).await
}

async fn five(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    for _ in 0..5 {
        let retry = t.send(&request).await?;
        t.once(before, &first, &retry).await?;
    }
    Ok(())
}

async fn marked(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let first = t.succeed(&request).await?;
    let retry = t.send(&request).await?;
    ensure(!first.marked(), || "the first answer is marked as a replay".to_owned())?;
    match retry.marked() {
        true => Ok(()),
        false => Err(Stop::Skip("the target marks no replays, which it may".to_owned())),
    }
}

async fn coding(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request.clone().set("Accept-Encoding", "gzip, br")).await?;
    let retry = t.send(&request.set("Accept-Encoding", "identity")).await?;
    let coded = retry.text("content-encoding").unwrap_or_default();
    ensure(coded.is_empty() || coded.eq_ignore_ascii_case("identity"), || {
        format!("the retry with Accept-Encoding: identity got {coded} content")
    })?;
    ensure(!retry.body.starts_with(&[0x1f, 0x8b]), || {
        "the retry with Accept-Encoding: identity got gzip without a label".to_owned()
    })?;
    if first.has("content-encoding") {
        // The two contents cannot be compared byte by byte.
        let effects = t.effects_since(before).await?;
        return ensure(effects.is_none_or(|count| count <= 1), || "a second effect".to_owned());
    }
    t.once(before, &first, &retry).await
}

async fn conditions(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    let retries = [
        request.clone().with("If-None-Match", "*"),
        request.clone().with("Range", "bytes=0-0"),
        request.with("If-Match", "\"never\""),
    ];
    for retry in &retries {
        let answer = t.send(retry).await?;
        ensure(![206, 304, 412, 416].contains(&answer.status), || {
            format!("a conditional retry was answered {}", answer.describe())
        })?;
        t.once(before, &first, &answer).await?;
    }
    Ok(())
}

async fn other_payload(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    t.succeed(&request).await?;
    let other = t.api.other_body.clone().unwrap_or_default();
    let answer = t.send(&request.body(other)).await?;
    let effects = t.effects_since(before).await?;
    ensure(effects.is_none_or(|count| count <= 1), || {
        format!("another payload with the same key ran: {}", answer.describe())
    })?;
    // Any refusal will do: it ran nothing and hands out nobody's answer.
    ensure((400..500).contains(&answer.status), || {
        format!("another payload with the same key was answered {}", answer.describe())
    })
}

async fn intact(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    let usual = t.send(&request).await?;
    let other = t.api.other_body.clone().unwrap_or_default();
    t.send(&request.clone().body(other)).await?;
    let retry = t.send(&request).await?;
    ensure(retry.status == usual.status, || {
        format!("before the mismatch came {}, after it {}", usual.describe(), retry.describe())
    })?;
    t.once(before, &first, &retry).await
}

async fn transport(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    let mut reversed = request.clone();
    reversed.fields.reverse();
    let mut retries = vec![
        reversed,
        request.clone().set("User-Agent", "another/2.0"),
        request.clone().with("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ];
    if !request.content().is_empty() {
        let parts = request.content().chunks(5).map(bytes::Bytes::copy_from_slice).collect();
        retries.push(request.framed(Body::Chunks(parts, Vec::new())));
    }
    for retry in &retries {
        let answer = t.send(retry).await?;
        if answer.status == 411 || answer.status == 501 {
            // An API need not take chunks.
            continue;
        }
        ensure(!matches!(answer.status, 400 | 422), || {
            format!("a retry that differs in its transport was answered {}", answer.describe())
        })?;
        t.once(before, &first, &answer).await?;
    }
    Ok(())
}

async fn other_caller(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let first = t.succeed(&request).await?;
    let mut other = request.clone();
    for (name, value) in &t.api.other_caller {
        other = other.set(name, value);
    }
    for own in [false, true] {
        let answer = t.send(&other).await?;
        let same = !first.body.is_empty() && answer.body == first.body && answer.status < 400;
        // A mark on the first time is the first caller's; on the second it is the caller's own.
        let told = same || (answer.marked() && !own);
        // Where every operation is answered alike, the count shows that it ran.
        let ran = t.effects_since(before).await?.is_some_and(|count| count >= 2);
        ensure(ran || !told, || {
            format!("the second caller got the first one's answer: {}", answer.describe())
        })?;
    }
    let again = t.send(&request).await?;
    ensure(again.body == first.body || again.status >= 400, || {
        format!("the first caller now gets {}", again.describe())
    })
}
