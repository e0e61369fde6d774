//! Optional features, judged where the target says that it offers them.

use std::time::Duration;

use tokio::time::Instant;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{
    ensure, fail, in_time, met, not_replayed, problem, refused, same, status, unmarked,
};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::Reply;
use crate::wire::Answer;

const OUTCOME: &[Need] = &[Need::Offer("outcome-header")];
const PROBE: &[Need] = &[Need::Offer("probe"), Need::Route(Route::Probe)];

pub(super) const CASES: &[Case] = &[
    Case::layer("FPR-06-json", Kind::Optional, "JSON by meaning", |t| Box::pin(json(t)))
        .needs(&[Need::Offer("json-fingerprint"), Need::Route(Route::Json)])
        .after(&["FPR-01"])
        .promise(
            "Where JSON is compared by meaning, order and spaces do not count, and unequal values, \
             however close, never are equal.",
            "RFC 8785 and its limits",
            "Rounded amounts or doubled members would make two payments one.",
        ),
    Case::layer("FAI-06-release", Kind::Optional, "the upstream frees a key", |t| {
        Box::pin(outcome_release(t))
    })
    .needs(OUTCOME)
    .after(&["FAI-01"])
    .promise(
        "Hapax-Outcome: release frees the key of any answer and is not shown to the client.",
        "Stripe-Should-Retry; Adyen transient-error",
        "Only the application knows that nothing happened.",
    ),
    Case::layer("FAI-06-final", Kind::Optional, "the upstream keeps a failure", |t| {
        Box::pin(outcome_final(t))
    })
    .needs(OUTCOME)
    .after(&["FAI-01"])
    .promise(
        "Hapax-Outcome: final keeps the answer whatever its status and is not shown to the client.",
        "Stripe-Should-Retry; Adyen transient-error",
        "Only the application knows that its failure is final.",
    ),
    Case::layer("FAI-06-unknown", Kind::Optional, "the upstream says that it does not know", |t| {
        Box::pin(outcome_unknown(t))
    })
    .needs(OUTCOME)
    .after(&["FAI-01", "HTP-12"])
    .promise(
        "Hapax-Outcome: unknown leaves the key in doubt whatever the status.",
        "Adyen transient-error",
        "Only the application knows that it does not know.",
    ),
    Case::layer("FAI-06-client", Kind::Optional, "a client cannot say it", |t| {
        Box::pin(outcome_client(t))
    })
    .needs(OUTCOME)
    .after(&["REP-01"])
    .promise(
        "A client's own Hapax fields never reach the upstream and change nothing.",
        "Hapax profile",
        "A client could free its own key, or impersonate an attempt.",
    ),
    Case::layer("DBT-04", Kind::Optional, "re-execution is bounded", |t| Box::pin(re_execute(t)))
        .needs(&[Need::Offer("re-execute"), Need::Route(Route::ReExecute)])
        .after(&["DBT-02"])
        .promise(
            "Where unknown outcomes are run again, it is once, with the same key and the attempt's \
             number, whatever the number of retries.",
            "AWS Powertools; Brandur Leach; RFC 9110 section 9.2.2",
            "An upstream that deduplicates needs the key; one that does not must not be flooded.",
        ),
    Case::layer("DBT-05-executed", Kind::Optional, "a probe that says executed", |t| {
        Box::pin(probed_executed(t))
    })
    .needs(PROBE)
    .after(&["DBT-02"])
    .promise(
        "A probe that answers executed with the response settles the key, and retries get it.",
        "Restate, Toss (query by key)",
        "The doubt ends without anyone's looking.",
    ),
    Case::layer("DBT-05-not-executed", Kind::Optional, "a probe that says not executed", |t| {
        Box::pin(probed_not_executed(t))
    })
    .needs(PROBE)
    .after(&["DBT-02"])
    .promise(
        "A probe that answers not-executed frees the key, and one retry runs.",
        "Restate, Toss (query by key)",
        "The doubt ends without anyone's looking.",
    ),
    Case::layer("DBT-05-unknown", Kind::Optional, "a probe that knows nothing", |t| {
        Box::pin(probed_unknown(t))
    })
    .needs(PROBE)
    .after(&["DBT-02"])
    .promise(
        "A probe that answers unknown, 404 or an error keeps the key in doubt.",
        "negative reads may be stale",
        "A plain not found is no proof that nothing happened.",
    ),
    Case::layer("KEY-14-body", Kind::Optional, "keys in the body", |t| Box::pin(body_key(t)))
        .needs(&[Need::Offer("body-key"), Need::Route(Route::BodyKey)])
        .after(&["REP-01"])
        .promise(
            "Where the key is a member of the body, it protects; a body without it is refused.",
            "Square, Google (request_id)",
            "APIs with the key in the body would stay unprotected.",
        ),
    Case::layer("KEY-14-issued", Kind::Optional, "issued keys", |t| Box::pin(issued_key(t)))
        .needs(&[Need::Offer("issued-key"), Need::Route(Route::Issued)])
        .after(&["REP-01"])
        .promise(
            "Where keys are issued, an issued key protects for its caller; any other is refused.",
            "Hapax profile",
            "A caller could make up keys, or use another caller's.",
        ),
];

/// Complete operations, without probes.
fn posts(t: &Trial) -> usize {
    t.station.arrivals().iter().filter(|arrival| arrival.method() == "POST").count()
}

fn ran(t: &Trial, expected: usize, when: &str) -> Result<(), Stop> {
    ensure(posts(t) == expected, || {
        format!("the operation ran {} times instead of {expected} {when}", posts(t))
    })
}

async fn json(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Json);
    let first =
        t.send(&request.clone().body("{\"a\":1,\"b\":[1,2],\"n\":9007199254740993}")).await?;
    status(&first, 201, "the first request")?;
    let equal = ["{ \"b\": [1, 2],\n\"n\":9007199254740993, \"a\":1 }"];
    for body in equal {
        same(&first, &t.send(&request.clone().body(body)).await?)?;
    }
    let unequal = [
        "{\"a\":1,\"b\":[1,2],\"n\":9007199254740992}",
        "{\"a\":1,\"b\":[2,1],\"n\":9007199254740993}",
        "{\"a\":\"1\",\"b\":[1,2],\"n\":9007199254740993}",
        "{\"a\":2,\"a\":1,\"b\":[1,2],\"n\":9007199254740993}",
        "{\"a\":1,\"b\":[1,2],\"n\":9007199254740993",
        "{\"a\":1,\"b\":[1,2],\"n\":9007199254740993,\"c\":null}",
    ];
    for body in unequal {
        let answer = t.send(&request.clone().body(body)).await?;
        not_replayed(&first, &answer, body)?;
        status(&answer, 422, body)?;
    }
    t.count(1, "after equal and unequal bodies")
}

fn hidden(answer: &Answer) -> Result<(), Stop> {
    ensure(!answer.has("hapax-outcome"), || "the client saw Hapax-Outcome".to_owned())
}

async fn outcome_release(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::numbered(200).with("Hapax-Outcome", "release")]);
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 200, "the first request")?;
    hidden(&first)?;
    let retry = t.send(&request).await?;
    status(&retry, 201, "the retry of a released key")?;
    unmarked(&retry, "the second execution")?;
    t.count(2, "after a retry of a released key")
}

async fn outcome_final(t: &Trial) -> Result<(), Stop> {
    for (at, code) in [500, 401, 503, 502].into_iter().enumerate() {
        t.station.reply(Reply::numbered(code).with("Hapax-Outcome", "final"));
        let request = t.keyed(Route::Plain);
        let first = t.send(&request).await?;
        status(&first, code, "the first request")?;
        hidden(&first)?;
        let retry = t.send(&request).await?;
        hidden(&retry)?;
        same(&first, &retry)?;
        t.count(at + 1, "after a retry of a final failure")?;
    }
    Ok(())
}

async fn outcome_unknown(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(200).with("Hapax-Outcome", "unknown"));
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 200, "the first request")?;
    hidden(&first)?;
    problem(&t.send(&request).await?, 409, "outcome-unknown")?;
    t.count(1, "after a retry of an unknown outcome")
}

async fn outcome_client(t: &Trial) -> Result<(), Stop> {
    let request = t
        .keyed(Route::Plain)
        .with("Hapax-Outcome", "release")
        .with("Hapax-Attempt", "77")
        .with("Hapax-Claim", "forged");
    let first = t.send(&request).await?;
    same(&first, &t.send(&request).await?)?;
    t.count(1, "after a retry of a client that says release")?;
    let Some(arrival) = t.station.arrivals().pop() else { return fail("nothing arrived") };
    for (name, value) in
        [("hapax-outcome", "release"), ("hapax-attempt", "77"), ("hapax-claim", "forged")]
    {
        let seen = arrival.head.all(name);
        ensure(!seen.contains(&value.as_bytes()), || {
            format!("the client's own {name} reached the upstream")
        })?;
    }
    Ok(())
}

async fn re_execute(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::hang_up());
    let request = t.keyed(Route::ReExecute);
    let _ = t.try_send(0, &request).await;
    was_sent(t, 1)?;
    let until = Instant::now() + Duration::from_secs(20);
    let mut settled = 0;
    while Instant::now() < until && settled < 6 {
        let answer = t.send(&request).await?;
        refused(&answer, &[409, 502, 504], "a retry with an unknown outcome")?;
        // Several refusals after the second attempt are enough to see that there is no third.
        settled += usize::from(posts(t) >= 2);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    t.at_most(2, "after many retries of an unknown outcome")?;
    // The second attempt has a second only, and may be given up before it is sent.
    in_time(ran(t, 2, "after many retries of an unknown outcome"))?;
    let arrivals = t.station.arrivals();
    ensure(arrivals[0].key() == arrivals[1].key(), || {
        "the second attempt came with another key".to_owned()
    })?;
    let attempts: Vec<_> =
        arrivals.iter().map(|arrival| arrival.head.text("hapax-attempt")).collect();
    ensure(attempts == [Some("1".to_owned()), Some("2".to_owned())], || {
        format!("the attempts were numbered {attempts:?}")
    })
}

/// The upstream's second can be over before the request is on its way.
fn was_sent(t: &Trial, times: usize) -> Result<(), Stop> {
    met(posts(t) >= times, || "the upstream's time was over before it was asked".to_owned())
}

/// A request whose answer is lost and whose probes are answered by `probe`.
async fn in_doubt(t: &Trial, probe: Reply) -> Result<crate::wire::Request, Stop> {
    let before = posts(t);
    t.station.reply_once([Reply::hang_up()]);
    t.station.reply_later(probe);
    // The key names the station, since the probe's path cannot.
    let request = t.post(Route::Probe).key(&format!("{}-{}", t.station.token, t.key()));
    let _ = t.try_send(0, &request).await;
    was_sent(t, before + 1)?;
    Ok(request)
}

async fn settled(t: &Trial, request: &crate::wire::Request) -> Result<Answer, Stop> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = t.send(request).await?;
        if answer.status != 409 || Instant::now() > deadline {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn says(outcome: &str) -> Reply {
    Reply::new(200).with("Content-Type", "application/json").body(outcome.to_owned())
}

async fn probed_executed(t: &Trial) -> Result<(), Stop> {
    let request = in_doubt(
        t,
        says(
            "{\"outcome\":\"executed\",\"status\":201,\"headers\":[[\"location\",\"/probed\"]],\
             \"body_base64\":\"eyJwcm9iZWQiOjF9\"}",
        ),
    )
    .await?;
    let answer = settled(t, &request).await?;
    ran(t, 1, "after a probe that says executed")?;
    status(&answer, 201, "the retry after the probe")?;
    ensure(answer.body == "{\"probed\":1}", || {
        format!("the retry got {} and not the probe's response", answer.describe())
    })?;
    ensure(answer.text("location").as_deref() == Some("/probed"), || {
        "the probe's Location is missing".to_owned()
    })
}

async fn probed_not_executed(t: &Trial) -> Result<(), Stop> {
    let request = in_doubt(t, says("{\"outcome\":\"not-executed\"}")).await?;
    let answer = settled(t, &request).await?;
    ensure(posts(t) <= 2, || format!("the operation ran {} times", posts(t)))?;
    // The second run has a second only.
    in_time(status(&answer, 200, "the retry after the probe"))?;
    ran(t, 2, "after a probe that says not-executed")?;
    same(&answer, &t.send(&request).await?)?;
    ran(t, 2, "after a further retry")
}

async fn probed_unknown(t: &Trial) -> Result<(), Stop> {
    let probes = [says("{\"outcome\":\"unknown\"}"), Reply::new(404), Reply::new(500)];
    for (at, probe) in probes.into_iter().enumerate() {
        let request = in_doubt(t, probe).await?;
        for _ in 0..8 {
            let answer = t.send(&request).await?;
            status(&answer, 409, "a retry after a probe that knows nothing")?;
            ran(t, at + 1, "after a probe that knows nothing")?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    let asked = t.station.arrivals().iter().any(|arrival| arrival.method() != "POST");
    in_time(ensure(asked, || "nobody was asked what became of the request".to_owned()))
}

async fn body_key(t: &Trial) -> Result<(), Stop> {
    let body = |key: &str| format!("{{\"request_id\":\"{key}\",\"amount\":1}}");
    let key = t.key();
    let request = t.post(Route::BodyKey).body(body(&key));
    let first = t.send(&request).await?;
    status(&first, 201, "the first request")?;
    same(&first, &t.send(&request).await?)?;
    t.count(1, "after a retry with the key in the body")?;
    let other = t.send(&request.clone().body(body(&t.key()))).await?;
    status(&other, 201, "another key in the body")?;
    t.count(2, "after another key in the body")?;
    for bad in ["{\"amount\":1}", "{\"request_id\":{},\"amount\":1}", "{\"request_id\":\"\"}", "no"]
    {
        problem(&t.send(&request.clone().body(bad)).await?, 400, "invalid-key")?;
    }
    t.count(2, "after bodies without a key")
}

async fn issued_key(t: &Trial) -> Result<(), Stop> {
    let target = format!("/.well-known/idempotency/keys?route={}/**", Route::Issued.prefix());
    let issued = t.send(&t.request("POST", &target)).await?;
    status(&issued, 201, "the request for a key")?;
    let json = issued.json().unwrap_or_default();
    let Some(key) = json.get("key").and_then(serde_json::Value::as_str) else {
        return fail(format!("no key was issued: {}", issued.describe()));
    };
    let request = t.post(Route::Issued).key(key);
    let first = t.send(&request).await?;
    status(&first, 201, "a request with an issued key")?;
    same(&first, &t.send(&request).await?)?;
    t.count(1, "after a retry with an issued key")?;
    let changed =
        format!("{}{}", &key[..key.len() - 1], if key.ends_with('A') { 'B' } else { 'A' });
    let bad = [
        t.post(Route::Issued).key(&t.key()),
        t.post(Route::Issued).key(&changed),
        request.set("Authorization", crate::trial::BOB),
        t.post(Route::Issued),
    ];
    for request in &bad {
        refused(&t.send(request).await?, &[400, 412], "a key that was not issued for this")?;
    }
    t.count(1, "after keys that were not issued")
}
