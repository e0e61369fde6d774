//! Cases of API mode about time: requests at once, and clients that hang up.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, fail};
use crate::trial::api::differ;
use crate::trial::{ApiTrial, Wire};
use crate::wire::Answer;
use crate::wire::message::Ending;

const TWICE: &str = "The second effect is the second payment, order or message.";

pub(super) const CASES: &[Case] = &[
    Case::api("EXE-04-api", Kind::Core, "simultaneous requests run once", 11, |t| {
        Box::pin(simultaneous(t))
    })
    .after(&["REP-01-api"])
    .promise(
        "Ten identical first requests at once have one effect; each is answered with the same \
         result or refused for now.",
        "draft-07 section 2.6; field report remitlend#1624 (check, then act)",
        TWICE,
    ),
    Case::api("CON-02-api", Kind::Core, "a conflict is not the result", 12, |t| {
        Box::pin(not_kept(t))
    })
    .after(&["EXE-04-api"])
    .promise(
        "After simultaneous requests, a retry gets the result and not a kept conflict.",
        "Stripe",
        "The client would never learn what became of its operation.",
    ),
    Case::api("CON-07-api", Kind::Core, "different keys run side by side", 4, |t| {
        Box::pin(side_by_side(t))
    })
    .after(&["EXE-01-api"])
    .promise(
        "Four requests with four keys at once are four operations.",
        "RFC 9110 section 9.2.2",
        "Operations would be lost or mixed up under load.",
    ),
    Case::api("EXE-05-api", Kind::Profile, "a client that hangs up", 12, |t| Box::pin(hang_up(t)))
        .needs(&[Need::Effects])
        .after(&["REP-01-api"])
        .promise(
            "A client that disconnects right after its request and retries has one effect in all.",
            "hyper issue 2728",
            "Mobile clients hang up all the time.",
        ),
    Case::api("EXE-06-api", Kind::Core, "half a request is no request", 12, |t| Box::pin(half(t)))
        .after(&["REP-01-api"])
        .promise(
            "A request that is cut inside its body has no effect, and the whole one runs.",
            "RFC 9112 section 8",
            "A cut upload must neither be carried out nor block its retry.",
        ),
];

/// Answers that put a duplicate off without having run it.
fn put_off(answer: &Answer) -> bool {
    matches!(answer.status, 409 | 422 | 423 | 425 | 429 | 503)
}

async fn race(t: &ApiTrial, copies: usize) -> Result<(crate::wire::Request, Answer), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let sent = (0..copies).map(|_| t.send(&request));
    let answers = futures_util::future::try_join_all(sent).await?;
    let effects = t.effects_since(before).await?;
    ensure(effects.is_none_or(|count| count <= 1), || {
        format!("{copies} simultaneous requests had {} effects", effects.unwrap_or_default())
    })?;
    let Some(result) = answers.iter().find(|answer| answer.status < 400) else {
        return fail(format!("no simultaneous request succeeded: {}", answers[0].describe()));
    };
    for answer in &answers {
        ensure(answer.ending != Ending::Cut, || format!("cut: {}", answer.describe()))?;
        let same = !differ(result, answer) || (effects.is_some() && answer.status < 400);
        ensure(put_off(answer) || same, || {
            format!(
                "simultaneous requests got two results: {} and {}",
                result.describe(),
                answer.describe()
            )
        })?;
    }
    Ok((request, result.clone()))
}

async fn simultaneous(t: &ApiTrial) -> Result<(), Stop> {
    race(t, 10).await.map(|_| ())
}

async fn not_kept(t: &ApiTrial) -> Result<(), Stop> {
    let (request, result) = race(t, 6).await?;
    let mut last = None;
    for _ in 0..5 {
        let retry = t.send(&request).await?;
        if !put_off(&retry) {
            let same = !differ(&result, &retry) || t.api.effects.is_some();
            return ensure(same, || format!("the retry got {}", retry.describe()));
        }
        last = Some(retry);
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    let last = last.map(|answer| answer.describe()).unwrap_or_default();
    fail(format!("seconds after the result the retry is still refused: {last}"))
}

async fn side_by_side(t: &ApiTrial) -> Result<(), Stop> {
    let requests: Vec<_> = (0..4).map(|_| t.keyed(&ApiTrial::key())).collect();
    let before = t.effects().await?;
    let sent = requests.iter().map(|request| t.send(request));
    let answers = futures_util::future::try_join_all(sent).await?;
    for (at, answer) in answers.iter().enumerate() {
        ensure(answer.status < 400 || matches!(answer.status, 429 | 503), || {
            format!("a key of four at once was answered {}", answer.describe())
        })?;
        let twin = answers[at + 1..]
            .iter()
            .any(|other| answer.status < 400 && other.status < 400 && !differ(answer, other));
        ensure(!twin || t.api.effects.is_some(), || {
            format!("two keys got one result: {}", answer.describe())
        })?;
    }
    let accepted = answers.iter().filter(|answer| answer.status < 400).count() as i64;
    let effects = t.effects_since(before).await?;
    ensure(effects.is_none_or(|count| count == accepted), || {
        format!("{accepted} accepted keys had {} effects", effects.unwrap_or_default())
    })
}

/// Retries until the operation is no longer under way.
async fn retried(t: &ApiTrial, request: &crate::wire::Request) -> Result<Answer, Stop> {
    let mut answer = t.send(request).await?;
    for _ in 0..9 {
        if !put_off(&answer) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        answer = t.send(request).await?;
    }
    Ok(answer)
}

async fn open(t: &ApiTrial) -> Result<Wire, Stop> {
    t.spend()?;
    t.open().await
}

async fn hang_up(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    let before = t.effects().await?;
    let mut wire = open(t).await?;
    wire.send(&request).await;
    drop(wire);
    t.log.note("the client hung up at once");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let retry = retried(t, &request).await?;
    let effects = t.effects_since(before).await?.unwrap_or_default();
    ensure(effects <= 1, || {
        format!("a client that hung up and retried had {effects} effects: {}", retry.describe())
    })
}

async fn half(t: &ApiTrial) -> Result<(), Stop> {
    let request = t.keyed(&ApiTrial::key());
    if request.content().len() < 2 {
        return Err(Stop::Skip("the operation has no body to cut".to_owned()));
    }
    let before = t.effects().await?;
    let message = request.to_bytes();
    let mut wire = open(t).await?;
    wire.write("a request without its last byte", &message[..message.len() - 1]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(wire);
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Asked more than once, so that an API that was held up has answered other requests since.
    for _ in 0..3 {
        let ran = t.effects_since(before).await?.unwrap_or_default();
        ensure(ran == 0, || "half a request had an effect".to_owned())?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let whole = retried(t, &request).await?;
    ensure(whole.status < 400, || {
        format!("the whole request after half of it was answered {}", whole.describe())
    })?;
    let again = t.send(&request).await?;
    t.once(before, &whole, &again).await
}
