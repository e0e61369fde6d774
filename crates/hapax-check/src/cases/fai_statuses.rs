//! FAI: which answers are kept, which free the key and which leave it in doubt.

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{marked, problem, same, same_fields, status, unmarked};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::Reply;

const PINNED: &str = "A refusal that had no effect would be repeated for a day, although the \
                      reason is gone.";

pub(super) const CASES: &[Case] = &[
    Case::layer("FAI-01", Kind::Core, "successes are kept", |t| {
        Box::pin(kept(t, Route::Plain, &[200, 201, 202, 203]))
    })
    .after(&["REP-01-fields"])
    .promise(
        "2xx answers are kept and replayed.",
        "draft-07 section 2.6",
        "A success that is forgotten runs again.",
    ),
    Case::layer("FAI-01-redirect", Kind::Core, "redirects are kept, not followed", |t| {
        Box::pin(redirects(t))
    })
    .after(&["REP-01-fields"])
    .promise(
        "3xx answers reach the client as they are, are never followed and are replayed.",
        "draft-07 section 2.6; RFC 9110 section 15.4",
        "A followed redirect is a request that nobody made.",
    ),
    Case::layer("FAI-02", Kind::Profile, "definite client errors are kept", |t| {
        Box::pin(kept(t, Route::Plain, &[400, 402, 404, 405, 409, 410, 412, 415, 418, 422]))
    })
    .after(&["REP-01-fields"])
    .promise(
        "4xx answers that are no refusal to process are kept and replayed.",
        "draft-07 section 2.6 (success or error)",
        "A declined card must not be charged because the retry came when money was there.",
    ),
    Case::layer("FAI-03", Kind::Profile, "refusals free the key", |t| {
        Box::pin(freed(t, Route::Plain, &[401, 403, 407, 408, 421, 425, 429]))
    })
    .after(&["REP-01"])
    .promise(
        "401, 403, 407, 408, 421, 425 and 429 free the key: after a token refresh or a back-off \
         the same key executes.",
        "Stripe; RFC 8470; Gravitino",
        PINNED,
    ),
    Case::layer("FAI-04", Kind::Profile, "a failure of the service frees the key", |t| {
        Box::pin(freed(t, Route::Plain, &[500, 501, 505, 599]))
    })
    .after(&["REP-01"])
    .promise(
        "A complete 500 or other 5xx frees the key by default, and the retry runs.",
        "Stripe v2; Hapax profile",
        PINNED,
    ),
    Case::layer("FAI-04-strict", Kind::Profile, "strict routes keep 500", |t| {
        Box::pin(kept(t, Route::Strict, &[500, 501]))
    })
    .needs(&[Need::Route(Route::Strict)])
    .after(&["REP-01-fields", "REP-02"])
    .promise(
        "Where failures are strict, a 500 is kept and replayed with the mark.",
        "Stripe; draft-07 section 2.6",
        "With money, 500 says nothing about what was done before it.",
    ),
    Case::layer("FAI-05-503", Kind::Profile, "503 frees the key", |t| {
        Box::pin(freed(t, Route::Plain, &[503]))
    })
    .after(&["REP-01"])
    .promise(
        "503 frees the key by default: the service said that it did not handle the request.",
        "RFC 9110 section 15.6.4",
        PINNED,
    ),
    Case::layer("FAI-05-502", Kind::Profile, "502 and 504 leave the outcome unknown", |t| {
        Box::pin(doubted(t, Route::Plain, &[(502, None), (504, None)]))
    })
    .after(&["REP-01", "HTP-12"])
    .promise(
        "A 502 or 504 of the upstream reaches the first client as it came and leaves the key in \
         doubt.",
        "RFC 9110 sections 15.6.3 and 15.6.5",
        "A gateway behind the layer lost the answer; the effect may have happened.",
    ),
    Case::layer("FAI-05-strict-503", Kind::Profile, "strict routes doubt a bare 503", |t| {
        Box::pin(doubted(t, Route::Strict, &[(503, None)]))
    })
    .needs(&[Need::Route(Route::Strict)])
    .after(&["REP-01", "HTP-12"])
    .promise(
        "Where failures are strict, a 503 without Retry-After leaves the outcome unknown.",
        "Envoy answers 503 also after it lost the upstream",
        "Service meshes say 503 when a connection broke after the request was sent.",
    ),
    Case::layer(
        "FAI-05-strict-invited",
        Kind::Profile,
        "strict routes free an invited retry",
        |t| Box::pin(invited(t)),
    )
    .needs(&[Need::Route(Route::Strict)])
    .after(&["REP-01"])
    .promise(
        "Where failures are strict, a 503 with Retry-After frees the key.",
        "RFC 9110 section 10.2.3",
        PINNED,
    ),
    Case::layer("FAI-04-store-all", Kind::Profile, "store-all keeps every answer", |t| {
        Box::pin(kept(t, Route::StoreAll, &[200, 401, 429, 500, 503]))
    })
    .needs(&[Need::Route(Route::StoreAll)])
    .after(&["REP-01-fields", "REP-02"])
    .promise(
        "Where every complete answer is kept, refusals and failures are replayed as well.",
        "Stripe v1",
        "The route asked for at most one execution whatever is answered.",
    ),
    Case::layer("FAI-04-success-only", Kind::Profile, "success-only frees everything else", |t| {
        Box::pin(success_only(t))
    })
    .needs(&[Need::Route(Route::SuccessOnly)])
    .after(&["FAI-04"])
    .promise(
        "Where only successes are kept, any other complete answer frees the key.",
        "Modern Treasury, Checkout.com, Telnyx",
        "The route asked for retries of everything that is no success.",
    ),
    Case::layer("FAI-04-retry-5xx", Kind::Profile, "retry-5xx frees every 5xx", |t| {
        Box::pin(freed(t, Route::Retry5xx, &[500, 502, 503, 504]))
    })
    .needs(&[Need::Route(Route::Retry5xx)])
    .after(&["FAI-04"])
    .promise(
        "Where every 5xx is to be retried, a complete 5xx frees the key.",
        "Stripe v2; Azure Communication Services",
        "The route asked for retries of every failure.",
    ),
    Case::layer("FAI-07", Kind::Core, "the layer's own refusals use no key up", |t| {
        Box::pin(own_refusals(t))
    })
    .needs(&[Need::Route(Route::Small)])
    .after(&["REP-01", "EXE-09"])
    .promise(
        "A request that the layer refused by itself leaves its key free.",
        "Stripe (kept only after execution began)",
        "After mending its request a client would have to change its key.",
    ),
];

/// Each status is answered, kept and replayed under a key of its own.
async fn kept(t: &Trial, route: Route, statuses: &[u16]) -> Result<(), Stop> {
    for (at, code) in statuses.iter().enumerate() {
        t.station.reply(Reply::numbered(*code));
        let request = t.keyed(route);
        let first = t.send(&request).await?;
        status(&first, *code, "the first request")?;
        unmarked(&first, "the first answer")?;
        // Whatever the upstream would answer now is of no interest.
        t.station.reply(Reply::numbered(299));
        for _ in 0..2 {
            let retry = t.send(&request).await?;
            t.count(at + 1, &format!("after a retry of a request answered {code}"))?;
            same_fields(&first, &retry)?;
        }
        if *code >= 500 {
            marked(&t.send(&request).await?, "the replayed failure")?;
        }
    }
    Ok(())
}

/// Each status reaches the client and the retry executes.
async fn freed(t: &Trial, route: Route, statuses: &[u16]) -> Result<(), Stop> {
    for (at, code) in statuses.iter().enumerate() {
        t.station.reply_once([Reply::numbered(*code)]);
        let request = t.keyed(route);
        let first = t.send(&request).await?;
        status(&first, *code, "the first request")?;
        t.count(2 * at + 1, &format!("after a request answered {code}"))?;
        let retry = t.send(&request).await?;
        status(&retry, 201, &format!("the retry of a request answered {code}"))?;
        unmarked(&retry, "the second execution")?;
        t.count(2 * at + 2, &format!("after a retry of a request answered {code}"))?;
        same(&retry, &t.send(&request).await?)?;
        t.count(2 * at + 2, "after a further retry")?;
    }
    Ok(())
}

/// Each status reaches the client as it came and the retry is told that the outcome is unknown.
async fn doubted(t: &Trial, route: Route, statuses: &[(u16, Option<&str>)]) -> Result<(), Stop> {
    for (at, (code, retry_after)) in statuses.iter().enumerate() {
        let mut reply = Reply::numbered(*code).with("X-Upstream", "1");
        if let Some(seconds) = retry_after {
            reply = reply.with("Retry-After", seconds);
        }
        t.station.reply_once([reply]);
        let request = t.keyed(route);
        let first = t.send(&request).await?;
        status(&first, *code, "the first request")?;
        crate::judge::ensure(first.has("x-upstream") && !first.body.is_empty(), || {
            format!("the upstream's {code} was replaced: {}", first.describe())
        })?;
        for _ in 0..3 {
            let retry = t.send(&request).await?;
            t.count(at + 1, &format!("after a retry of a request answered {code}"))?;
            problem(&retry, 409, "outcome-unknown")?;
        }
    }
    Ok(())
}

async fn redirects(t: &Trial) -> Result<(), Stop> {
    for (at, code) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let target = format!("{}/elsewhere", t.path(Route::Plain));
        t.station.reply(Reply::numbered(code).with("Location", target));
        let request = t.keyed(Route::Plain);
        let first = t.send(&request).await?;
        status(&first, code, "the first request")?;
        t.count(at + 1, &format!("after a redirect {code}"))?;
        same_fields(&first, &t.send(&request).await?)?;
        t.count(at + 1, &format!("after a retry of a redirect {code}"))?;
    }
    Ok(())
}

async fn invited(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::numbered(503).with("Retry-After", "1")]);
    let request = t.keyed(Route::Strict);
    let first = t.send(&request).await?;
    status(&first, 503, "the first request")?;
    let retry = t.send(&request).await?;
    status(&retry, 201, "the retry of a request answered 503 with Retry-After")?;
    t.count(2, "after an invited retry")
}

async fn success_only(t: &Trial) -> Result<(), Stop> {
    freed(t, Route::SuccessOnly, &[400, 404, 500]).await?;
    let before = t.station.count();
    t.station.reply(Reply::numbered(200));
    let request = t.keyed(Route::SuccessOnly);
    let first = t.send(&request).await?;
    same(&first, &t.send(&request).await?)?;
    t.count(before + 1, "after a success and its retry")
}

async fn own_refusals(t: &Trial) -> Result<(), Stop> {
    let small = t.keyed(Route::Small);
    let large = small.clone().body(vec![b' '; 64 * 1024]);
    status(&t.send(&large).await?, 413, "a body over the limit")?;
    t.count(0, "after a refused body")?;
    let first = t.send(&small).await?;
    status(&first, 201, "the mended request with the same key")?;
    status(&t.send(&large).await?, 413, "a body over the limit with a used key")?;
    same(&first, &t.send(&small).await?)?;
    t.count(1, "after refusals and a retry")
}
