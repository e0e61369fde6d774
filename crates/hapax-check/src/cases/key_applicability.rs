//! KEY: where keys apply and where they are required.

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, problem, refused, same, status, unmarked};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::Reply;

pub(super) const CASES: &[Case] = &[
    Case::layer("KEY-11", Kind::Core, "a missing key is refused where one is required", |t| {
        Box::pin(required(t))
    })
    .needs(&[Need::Route(Route::Required)])
    .after(&["EXE-01"])
    .promise(
        "Where a key is required, its absence is answered 400 with a problem and nothing runs.",
        "draft-07 section 2.7",
        "Without the refusal a client that forgot its key learns it from a double charge.",
    ),
    Case::layer("KEY-11-code", Kind::Profile, "the refusal says missing-key", |t| {
        Box::pin(required_code(t))
    })
    .needs(&[Need::Route(Route::Required)])
    .after(&["KEY-11", "HTP-12"])
    .promise(
        "The refusal of a request without its key has the code missing-key.",
        "draft-07 section 2.7",
        "A client can tell a forgotten key from a malformed one.",
    ),
    Case::layer("KEY-11-optional", Kind::Core, "without a key every request runs", |t| {
        Box::pin(optional(t))
    })
    .after(&["EXE-01"])
    .promise(
        "Where no key is required, requests without one run each time and are never replayed.",
        "draft-07 section 2.7; Amazon Builders' Library (never infer duplicates)",
        "Two equal requests may be two intended operations.",
    ),
    Case::layer("KEY-12", Kind::Profile, "safe methods are never kept", |t| Box::pin(safe(t)))
        .after(&["EXE-01"])
        .promise(
            "GET, HEAD and OPTIONS with a key are forwarded every time and never replayed.",
            "Stripe, Adyen, Telnyx",
            "A kept answer to GET would show a state that is gone.",
        ),
    Case::layer("KEY-12-put", Kind::Profile, "PUT and DELETE pass unless enabled", |t| {
        Box::pin(idempotent_methods(t))
    })
    .after(&["EXE-01"])
    .promise(
        "PUT and DELETE, which are idempotent by themselves, are forwarded every time.",
        "RFC 9110 section 9.2.2",
        "A kept answer to a second, intended PUT would lose its change.",
    ),
    Case::layer(
        "KEY-12-put-enabled",
        Kind::Profile,
        "PUT and DELETE are protected on request",
        |t| Box::pin(put_enabled(t)),
    )
    .needs(&[Need::Route(Route::Put)])
    .after(&["REP-01"])
    .promise(
        "Where PUT and DELETE are enabled, a retry of them is replayed.",
        "OASIS Repeatable Requests; Stripe v2",
        "A repeated DELETE that answers 404 tells the client that its own success was an error.",
    ),
    Case::layer("KEY-13", Kind::Profile, "Connection cannot hide the key", |t| {
        Box::pin(hidden(t, "idempotency-key"))
    })
    .after(&["EXE-01"])
    .promise(
        "A request that lists the key's field in Connection is refused or protected all the same.",
        "RFC 9110 section 7.6.1, applied by an adversary",
        "Otherwise a client or an attacker switches the protection off by one field.",
    ),
    Case::layer("KEY-13-authorization", Kind::Profile, "Connection cannot hide the caller", |t| {
        Box::pin(hidden_caller(t))
    })
    .after(&["KEY-13"])
    .promise(
        "A request that lists Authorization in Connection is refused, or runs in its own scope \
         with its credentials.",
        "RFC 9110 section 7.6.1, applied by an adversary",
        "Scope and credential that the upstream sees must be the same caller's.",
    ),
];

async fn required(t: &Trial) -> Result<(), Stop> {
    let request = t.post(Route::Required);
    let answer = t.send(&request).await?;
    t.count(0, "after a request without the required key")?;
    refused(&answer, &[400], "a request without the required key")?;
    let link = answer.text("link").is_some_and(|link| link.contains("describedby"));
    let kind = answer.text("content-type").unwrap_or_default();
    ensure(link || kind.starts_with("application/problem+json"), || {
        format!("neither problem details nor a describedby link came: {}", answer.describe())
    })?;
    status(&t.send(&request.key(&t.key())).await?, 201, "the same request with a key")
}

async fn required_code(t: &Trial) -> Result<(), Stop> {
    problem(&t.send(&t.post(Route::Required)).await?, 400, "missing-key")
}

async fn optional(t: &Trial) -> Result<(), Stop> {
    let request = t.post(Route::Plain);
    for count in 1..=3 {
        let answer = t.send(&request).await?;
        status(&answer, 201, "a request without a key")?;
        unmarked(&answer, "the answer to a request without a key")?;
        t.count(count, "after requests without a key")?;
    }
    Ok(())
}

async fn safe(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::new(200).with("Content-Type", "text/plain").body("state {n}"));
    let key = t.key();
    let mut count = 0;
    for method in ["GET", "OPTIONS", "GET"] {
        for _ in 0..2 {
            let request = t.request(method, &t.path(Route::Plain)).key(&key);
            let answer = t.send(&request).await?;
            count += 1;
            status(&answer, 200, &format!("{method} with a key"))?;
            t.count(count, &format!("after {method} with a key"))?;
            ensure(answer.body == format!("state {count}"), || {
                format!("{method} was answered with an old state: {}", answer.describe())
            })?;
            unmarked(&answer, &format!("the answer to {method}"))?;
        }
    }
    // The key is still free for an operation.
    t.station.reply(Reply::default());
    status(&t.send(&t.post(Route::Plain).key(&key)).await?, 201, "POST with the key of a GET")
}

async fn idempotent_methods(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(200));
    let mut count = 0;
    for method in ["PUT", "DELETE"] {
        let mut request = t.post(Route::Plain).key(&t.key());
        request.method = method.to_owned();
        for _ in 0..2 {
            let answer = t.send(&request).await?;
            count += 1;
            status(&answer, 200, &format!("{method} with a key"))?;
            t.count(count, &format!("after {method} with a key"))?;
        }
    }
    Ok(())
}

async fn put_enabled(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(200));
    for (at, method) in ["PUT", "DELETE"].into_iter().enumerate() {
        let mut request = t.post(Route::Put).key(&t.key());
        request.method = method.to_owned();
        let first = t.send(&request).await?;
        status(&first, 200, &format!("{method} with a key"))?;
        same(&first, &t.send(&request).await?)?;
        t.count(at + 1, &format!("after a retry of {method}"))?;
    }
    Ok(())
}

async fn hidden(t: &Trial, name: &str) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).with("Connection", name);
    for _ in 0..2 {
        let answer = t.send(&request).await?;
        ensure(t.station.count() <= 1, || {
            format!("Connection: {name} switched the protection off: two executions")
        })?;
        refused(&answer, &[201, 400], &format!("a request with Connection: {name}"))?;
    }
    Ok(())
}

async fn hidden_caller(t: &Trial) -> Result<(), Stop> {
    let first = t.keyed(Route::Plain);
    let kept = t.send(&first).await?;
    status(&kept, 201, "the first request")?;
    let answer = t.send(&first.clone().with("Connection", "authorization")).await?;
    refused(&answer, &[201, 400], "a request with Connection: authorization")?;
    for arrival in t.station.arrivals() {
        ensure(arrival.head.text("authorization").is_some(), || {
            "the upstream was asked without the caller's credentials".to_owned()
        })?;
    }
    t.count(1, "after a retry with Connection: authorization")
}
