//! SEC and ADM: what keys may do, and what nobody may read.

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, not_replayed, same, status, unmarked};
use crate::profile::Route;
use crate::trial::{BOB, Trial};
use crate::upstream::Reply;

pub(super) const CASES: &[Case] = &[
    Case::layer("SEC-01", Kind::Core, "keys are opaque", |t| Box::pin(opaque(t)))
        .after(&["REP-01"])
        .promise(
            "Keys with the metacharacters of databases, patterns, paths and logs touch no other \
             record.",
            "draft-07 section 5 (injection)",
            "A key that is a pattern or a query reads or deletes other callers' records.",
        ),
    Case::layer("SEC-02", Kind::Core, "a key alone yields nothing", |t| Box::pin(key_alone(t)))
        .after(&["SCO-01"])
        .promise(
            "Other or absent credentials with someone's key get no kept answer and cannot see \
             that the key is in use.",
            "draft-07 section 5; IETF working group issue 40",
            "Keys turn up in logs and referrers; they are no secret.",
        ),
    Case::layer("SEC-04", Kind::Profile, "nothing secret is logged", |t| Box::pin(logs(t)))
        .needs(&[Need::Command])
        .after(&["REP-01"])
        .promise(
            "Keys, credentials and bodies do not appear in the layer's output.",
            "Stripe (no personal data in keys); IETF working group issue 40",
            "Logs are read by more people than payments are.",
        ),
    Case::layer("SEC-05-no-store", Kind::Profile, "no-store is about caches", |t| {
        Box::pin(no_store(t))
    })
    .after(&["REP-01"])
    .promise(
        "An answer with Cache-Control: no-store is kept for retries all the same.",
        "RFC 9111 section 5.2.2.5 (this is no cache)",
        "Payment services send no-store with everything; nothing would be protected.",
    ),
    Case::layer(
    "ADM-01",
    Kind::Profile,
    "the data port is no admin port",
    |t| Box::pin(no_admin(t)),
)
.after(&["KEY-11-optional"])
.promise(
    "None of the admin listener's paths answers on the data port: they go to the upstream, also \
     in absolute form and encoded.",
    "Hapax profile",
    "Anyone who can reach the service could read records or settle them.",
),
];

async fn opaque(t: &Trial) -> Result<(), Stop> {
    let caller = format!("Bearer {}", t.key());
    let witness = t.keyed(Route::Plain).set("Authorization", &caller);
    let kept = t.send(&witness).await?;
    status(&kept, 201, "the witness")?;
    let keys = [
        "' OR 1=1--",
        "'; DROP TABLE records;--",
        "*",
        "?",
        "[a-z]*",
        "../../etc/passwd",
        "%0d%0aX-Evil: 1",
        "%00",
        "{hapax}",
        "$(id)",
        "${jndi:x}",
        "a\\\\nb",
    ];
    for (at, key) in keys.iter().enumerate() {
        let request = t.post(Route::Plain).set("Authorization", &caller).key(key);
        let first = t.send(&request).await?;
        status(&first, 201, &format!("the key {key:?}"))?;
        t.count(at + 2, &format!("after the key {key:?}"))?;
        same(&first, &t.send(&request).await?)?;
        same(&kept, &t.send(&witness).await?)?;
        t.count(at + 2, &format!("after retries of {key:?} and of the witness"))?;
    }
    Ok(())
}

async fn key_alone(t: &Trial) -> Result<(), Stop> {
    t.station.reply_once([Reply::numbered(201)]);
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    status(&first, 201, "the owner")?;
    t.station.reply(Reply::numbered(401));
    let strangers = [
        request.clone().set("Authorization", BOB),
        request.clone().without("Authorization"),
        request.clone().set("Authorization", "Bearer"),
    ];
    for stranger in strangers {
        // With the owner's key and with a key that nobody used: the same answer but for its number.
        let with = t.send(&stranger).await?;
        let without = t.send(&stranger.clone().key(&t.key())).await?;
        not_replayed(&first, &with, "a stranger")?;
        unmarked(&with, "the answer to a stranger")?;
        let names = |answer: &crate::wire::Answer| {
            let mut names: Vec<String> =
                answer.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.sort();
            names
        };
        ensure(with.status == without.status && names(&with) == names(&without), || {
            format!(
                "a stranger can tell a key in use ({}) from a free one ({})",
                with.describe(),
                without.describe()
            )
        })?;
    }
    same(&first, &t.send(&request).await?)
}

async fn logs(t: &Trial) -> Result<(), Stop> {
    let secret = format!("secret-{}", t.key());
    let request = t
        .post(Route::Plain)
        .set("Authorization", format!("Bearer tok-{secret}"))
        .key(&format!("key-{secret}"))
        .body(format!("{{\"card\":\"card-{secret}\"}}"));
    t.station.reply_once([Reply::numbered(201).body(format!("answer-{secret}"))]);
    let first = t.send(&request).await?;
    same(&first, &t.send(&request).await?)?;
    // Errors are logged more eagerly than successes.
    t.send(&request.clone().body("other")).await?;
    t.send(&request.clone().raw_key(format!("\"bad-{secret}"))).await?;
    t.station.reply_once([Reply::hang_up()]);
    let lost = request.key(&format!("lost-{secret}"));
    t.send(&lost).await?;
    t.send(&lost).await?;
    for instance in &t.layer.instances {
        let Some(path) = &instance.output else { continue };
        let output = std::fs::read(path).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let found = output.lines().find(|line| line.contains(&secret));
        ensure(found.is_none(), || {
            let line = found.unwrap_or_default().replace(&secret, "SECRET");
            format!("the layer wrote a key, a credential or a body: {line}")
        })?;
    }
    Ok(())
}

async fn no_store(t: &Trial) -> Result<(), Stop> {
    t.station.reply(Reply::numbered(201).with("Cache-Control", "no-store, private"));
    let request =
        t.keyed(Route::Plain).with("Cache-Control", "no-cache").with("Pragma", "no-cache");
    let first = t.send(&request).await?;
    same(&first, &t.send(&request).await?)?;
    t.count(1, "after a retry of a request answered with no-store")
}

async fn no_admin(t: &Trial) -> Result<(), Stop> {
    // Unknown to every station, these paths get the checker's own 404 from the upstream.
    let paths = ["/metrics", "/api/records", "/api/stats", "/%6detrics", "//api/records"];
    for path in paths {
        for target in
            [path.to_owned(), format!("http://{}{path}", t.layer.instances[0].endpoint.authority())]
        {
            let answer = t.send(&t.request("GET", &target)).await?;
            let upstream = answer.status == 404 && answer.body == "no such station";
            ensure(upstream || answer.status == 400, || {
                format!("GET {target} on the data port was answered {}", answer.describe())
            })?;
        }
    }
    let settle = t.request("POST", "/api/records/x/settle").body("{\"outcome\":\"not-executed\"}");
    let answer = t.send(&settle).await?;
    ensure(answer.body == "no such station", || {
        format!("settling on the data port was answered {}", answer.describe())
    })
}
