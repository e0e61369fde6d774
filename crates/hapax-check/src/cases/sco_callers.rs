//! SCO: whose key it is.

use crate::case::{Case, Kind, Stop};
use crate::judge::{not_replayed, refused, same, status, unmarked};
use crate::profile::Route;
use crate::trial::{BOB, Trial};
use crate::upstream::{Gate, Reply};

const LEAK: &str = "One caller's receipt, address or token ends up at another caller.";

pub(super) const CASES: &[Case] = &[
    Case::layer("SCO-01", Kind::Core, "two callers may use the same key", |t| Box::pin(callers(t)))
        .after(&["REP-01"])
        .promise(
            "The same key and request of two callers executes for each, and each retry gets its \
             own answer.",
            "draft-07 section 5; rocket-rides-atomic unique(user, key)",
            LEAK,
        ),
    Case::layer("SCO-01-api-key", Kind::Profile, "X-API-Key tells callers apart", |t| {
        Box::pin(api_keys(t))
    })
    .after(&["SCO-01"])
    .promise(
        "Callers that are known by X-API-Key alone are kept apart as well.",
        "Hapax profile",
        LEAK,
    ),
    Case::layer("SCO-01-in-flight", Kind::Core, "another caller is not held up", |t| {
        Box::pin(in_flight(t))
    })
    .after(&["SCO-01"])
    .promise(
        "While one caller's request runs, another caller's with the same key runs too, without \
         409 or 422.",
        "draft-07 section 5",
        "Otherwise anyone who guesses a key can block or observe its owner.",
    ),
    Case::layer("SCO-02-method", Kind::Profile, "another method is another request", |t| {
        Box::pin(other_operation(t, true))
    })
    .after(&["FPR-02"])
    .promise(
        "The same key with another method is refused with 422; nothing runs and nothing is \
         replayed.",
        "Stripe (the endpoint is compared)",
        "A key reused by mistake must be reported, not answered with another call's result.",
    ),
    Case::layer("SCO-02-path", Kind::Profile, "another path is another request", |t| {
        Box::pin(other_operation(t, false))
    })
    .after(&["FPR-02"])
    .promise(
        "The same key on another path is refused with 422; nothing runs and nothing is replayed.",
        "Lakekeeper PR 1959 (a drop was answered with a create's result)",
        "A key reused by mistake must be reported, not answered with another call's result.",
    ),
    Case::layer("SCO-03", Kind::Core, "caller and key cannot be confused", |t| {
        Box::pin(injective(t))
    })
    .after(&["SCO-01"])
    .promise(
        "Caller a with key b:c never meets caller a:b with key c, whatever the separator.",
        "draft-07 section 5 (composite key)",
        LEAK,
    ),
    Case::layer("SCO-03-hosts", Kind::Core, "two hosts are two scopes", |t| Box::pin(hosts(t)))
        .after(&["SCO-01"])
        .promise(
            "The same key and request for two hosts executes for each.",
            "draft-07 section 5 (composite key)",
            "Two tenants behind one gateway would read each other's answers.",
        ),
    Case::layer("SCO-04", Kind::Profile, "a forged token gets no replay", |t| Box::pin(forged(t)))
        .after(&["SCO-01"])
        .promise(
            "A token with the same claims and another signature never gets the kept answer.",
            "IETF working group issue 40 (a replay bypasses the upstream's authorisation)",
            "Whoever knows a user's id and key could read that user's answers.",
        ),
    Case::layer("SCO-04-two-credentials", Kind::Profile, "two credentials are refused", |t| {
        Box::pin(two_credentials(t))
    })
    .after(&["EXE-01"])
    .promise(
        "A keyed request with two Authorization lines is refused with 400 and nothing runs.",
        "Hapax profile",
        "Layer and upstream may each believe another of the two.",
    ),
    Case::layer("SCO-05", Kind::Profile, "a refreshed token is a new caller", |t| {
        Box::pin(rotated(t))
    })
    .after(&["SCO-01"])
    .promise(
        "Where callers are told apart by their credential, a refreshed token runs anew and never \
         gets an answer kept for the old one.",
        "Modern Treasury (keys belong to an API key)",
        "Without proof that both tokens are one caller's, a replay would be a leak.",
    ),
    Case::layer("SCO-06", Kind::Profile, "a caller without credentials is its own scope", |t| {
        Box::pin(anonymous(t))
    })
    .after(&["SCO-01"])
    .promise(
        "A request without credentials never gets a named caller's answer, nor the other way.",
        "draft-07 section 5",
        LEAK,
    ),
    Case::layer("SCO-06-cookie", Kind::Profile, "anonymous callers differ by their cookie", |t| {
        Box::pin(cookies(t))
    })
    .after(&["SCO-06", "FPR-02"])
    .promise(
        "Among requests without credentials another Cookie is a mismatch, never an answer.",
        "Hapax profile",
        "Sessions in cookies would read each other's answers.",
    ),
];

async fn callers(t: &Trial) -> Result<(), Stop> {
    let alice = t.keyed(Route::Plain);
    let bob = alice.clone().set("Authorization", BOB);
    let first = t.send(&alice).await?;
    status(&first, 201, "the first caller")?;
    let other = t.send(&bob).await?;
    not_replayed(&first, &other, "the second caller")?;
    status(&other, 201, "the second caller")?;
    t.count(2, "after two callers")?;
    same(&first, &t.send(&alice).await?)?;
    same(&other, &t.send(&bob).await?)?;
    t.count(2, "after a retry of each caller")
}

async fn api_keys(t: &Trial) -> Result<(), Stop> {
    let bare = t.keyed(Route::Plain).without("Authorization");
    let one = bare.clone().with("X-API-Key", "check-one");
    let other = bare.with("X-API-Key", "check-other");
    let first = t.send(&one).await?;
    status(&first, 201, "the first API key")?;
    let second = t.send(&other).await?;
    not_replayed(&first, &second, "the second API key")?;
    status(&second, 201, "the second API key")?;
    same(&first, &t.send(&one).await?)?;
    t.count(2, "after two API keys and a retry")
}

async fn in_flight(t: &Trial) -> Result<(), Stop> {
    let gate = Gate::new();
    t.station.reply_once([Reply::default().gated(&gate)]);
    let alice = t.keyed(Route::Plain);
    let bob = alice.clone().set("Authorization", BOB).body(crate::trial::OTHER_PAYLOAD);
    let steps = async {
        t.arrived(1).await?;
        let other = t.send(&bob).await?;
        status(&other, 201, "the second caller, while the first one's request runs")?;
        gate.open();
        Ok(other)
    };
    let (first, other) = futures_util::future::join(t.send(&alice), steps).await;
    let (first, other) = (first?, other?);
    status(&first, 201, "the first caller")?;
    not_replayed(&other, &first, "the first caller")?;
    t.count(2, "after two callers")
}

async fn other_operation(t: &Trial, method: bool) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "the first request")?;
    let mut other = request.clone();
    if method {
        other.method = "PATCH".to_owned();
    } else {
        other.target.push_str("/refunds");
    }
    let answer = t.send(&other).await?;
    t.count(1, "after the key came with another operation")?;
    not_replayed(&first, &answer, "another operation")?;
    status(&answer, 422, "another operation with the same key")?;
    same(&first, &t.send(&request).await?)
}

async fn injective(t: &Trial) -> Result<(), Stop> {
    let key = t.key();
    for (at, mark) in [":", "|", "/", "-", ".", "_", ","].into_iter().enumerate() {
        let caller = format!("a{at}");
        let one = t.post(Route::Plain).set("Authorization", &caller).key(&format!("{key}{mark}c"));
        let other =
            t.post(Route::Plain).set("Authorization", format!("{caller}{mark}{key}")).key("c");
        let first = t.send(&one).await?;
        status(&first, 201, "the first caller")?;
        let second = t.send(&other).await?;
        not_replayed(&first, &second, &format!("the caller joined by {mark:?}"))?;
        status(&second, 201, &format!("the caller joined by {mark:?}"))?;
        t.count(2 * at + 2, &format!("after callers joined by {mark:?}"))?;
    }
    Ok(())
}

async fn hosts(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain);
    let one = request.clone().set("Host", "one.check.example");
    let other = request.set("Host", "two.check.example");
    let first = t.send(&one).await?;
    status(&first, 201, "the first host")?;
    let second = t.send(&other).await?;
    not_replayed(&first, &second, "the second host")?;
    status(&second, 201, "the second host")?;
    t.count(2, "after two hosts")?;
    // Case and the default port are not part of a host's name.
    same(&first, &t.send(&one.set("Host", "ONE.check.example:80")).await?)?;
    t.count(2, "after a retry with the host in capitals and with its default port")
}

/// {"alg":"HS256","typ":"JWT"} . {"iss":"check","sub":"alice"}
const CLAIMS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjaGVjayIsInN1YiI6ImFsaWNlIn0";

async fn forged(t: &Trial) -> Result<(), Stop> {
    let genuine = format!("Bearer {CLAIMS}.c2lnbmVkLWJ5LXRoZS1pc3N1ZXI");
    let request = t.keyed(Route::Plain).set("Authorization", &genuine);
    let first = t.send(&request).await?;
    status(&first, 201, "the genuine token")?;
    for signature in ["", "Zm9yZ2Vk"] {
        let forged = format!("Bearer {CLAIMS}.{signature}");
        let answer = t.send(&request.clone().set("Authorization", forged)).await?;
        not_replayed(&first, &answer, "a forged token")?;
    }
    Ok(())
}

async fn two_credentials(t: &Trial) -> Result<(), Stop> {
    let answer = t.send(&t.keyed(Route::Plain).with("Authorization", BOB)).await?;
    t.count(0, "after a request with two credentials")?;
    status(&answer, 400, "a request with two credentials")
}

async fn rotated(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).set("Authorization", "Bearer check-token-1");
    let first = t.send(&request).await?;
    let refreshed = t.send(&request.set("Authorization", "Bearer check-token-2")).await?;
    status(&refreshed, 201, "the refreshed token")?;
    not_replayed(&first, &refreshed, "the refreshed token")?;
    t.count(2, "after a refreshed token")
}

async fn anonymous(t: &Trial) -> Result<(), Stop> {
    let named = t.keyed(Route::Plain);
    let anonymous = named.clone().without("Authorization");
    let first = t.send(&named).await?;
    status(&first, 201, "the named caller")?;
    let other = t.send(&anonymous).await?;
    not_replayed(&first, &other, "a caller without credentials")?;
    unmarked(&other, "the answer to a caller without credentials")?;
    // A route may refuse such callers, but not with a word about the key.
    refused(&other, &[201, 401, 403], "a caller without credentials")?;
    same(&first, &t.send(&named).await?)
}

async fn cookies(t: &Trial) -> Result<(), Stop> {
    let request = t.keyed(Route::Plain).without("Authorization");
    let one = request.clone().with("Cookie", "session=one");
    let first = t.send(&one).await?;
    status(&first, 201, "a caller with a cookie")?;
    for other in [request.clone().with("Cookie", "session=two"), request] {
        let answer = t.send(&other).await?;
        not_replayed(&first, &answer, "another cookie")?;
        status(&answer, 422, "another cookie with the same key")?;
    }
    t.count(1, "after another cookie")?;
    same(&first, &t.send(&one).await?)
}
