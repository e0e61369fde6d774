//! REP: which fields a replay carries.

use std::time::Duration;

use crate::case::{Case, Kind, Need, Stop};
use crate::judge::{ensure, same, same_fields, status};
use crate::profile::Route;
use crate::trial::Trial;
use crate::upstream::{Framing, Reply};
use crate::wire::Answer;

pub(super) const CASES: &[Case] = &[
    Case::layer("REP-03", Kind::Core, "fields of the connection are not replayed", |t| {
        Box::pin(hop_by_hop(t))
    })
    .after(&["REP-01-fields"])
    .promise(
        "Connection, everything it lists, Keep-Alive, Proxy-Authenticate, Upgrade and their like \
         are neither passed on nor replayed.",
        "RFC 9110 section 7.6.1; RFC 9111 section 3.1",
        "They belong to a connection that is gone and break the present one.",
    ),
    Case::layer("REP-03-no-content", Kind::Core, "204 is replayed without content", |t| {
        Box::pin(no_content(t))
    })
    .after(&["REP-01-fields"])
    .promise(
        "A 204 is replayed as 204, without Content-Length and without chunks.",
        "RFC 9110 section 8.6; RFC 9112 section 6.1",
        "Clients read the next answer's bytes as this one's content.",
    ),
    Case::layer("REP-03-framing", Kind::Core, "a chunked answer is replayed whole", |t| {
        Box::pin(chunked(t))
    })
    .after(&["REP-01"])
    .promise(
        "An answer that came in chunks is replayed with the same content, framed once.",
        "RFC 9112 section 6",
        "Both framings at once are an attack; none at all is a cut answer.",
    ),
    Case::layer("REP-04", Kind::Profile, "Date is kept and Age is added", |t| Box::pin(age(t)))
        .after(&["REP-01"])
        .promise(
            "A replay keeps the first answer's Date and has an Age of the seconds since.",
            "RFC 9111 sections 4 and 5.1; RFC 9110 section 6.6.1",
            "A client can see how old its answer is.",
        ),
    Case::layer("REP-05", Kind::Profile, "Set-Cookie is not replayed", |t| {
        Box::pin(cookies_dropped(t))
    })
    .after(&["REP-07"])
    .promise(
        "Set-Cookie reaches the first client and is not replayed by default.",
        "field reports granit#1151, concerns_on_rails#47",
        "A replayed session cookie brings back a session that was ended.",
    ),
    Case::layer("REP-05-enabled", Kind::Profile, "several cookies stay several", |t| {
        Box::pin(cookies_kept(t))
    })
    .needs(&[Need::Route(Route::Cookies)])
    .after(&["REP-07"])
    .promise(
        "Where Set-Cookie is replayed, several lines stay several and unmodified.",
        "field report fiber#4693 (cookies were split at commas)",
        "A cookie's Expires contains a comma; a joined line loses the session.",
    ),
    Case::layer("REP-06", Kind::Profile, "fields about the first exchange are not replayed", |t| {
        Box::pin(exchange_fields(t))
    })
    .after(&["REP-01"])
    .promise(
        "WWW-Authenticate, RateLimit fields, Server-Timing, traceresponse and Alt-Svc are not \
         replayed.",
        "lists of existing middlewares",
        "Clients would slow down or follow a trace for a request that never ran.",
    ),
    Case::layer("REP-07", Kind::Core, "repeated fields keep order and count", |t| {
        Box::pin(repeated(t))
    })
    .after(&["REP-01-fields"])
    .promise(
        "Repeated lines of a field are replayed in their order and number; values with commas and \
         quotes are unchanged.",
        "RFC 9110 section 5.3; field reports fiber#4693, actor-ts#1308",
        "Joining or splitting changes the meaning of many fields.",
    ),
    Case::layer("REP-11", Kind::Profile, "trailers never become fields", |t| Box::pin(trailers(t)))
        .after(&["REP-01"])
        .promise(
            "Trailer fields are replayed as trailers or dropped, never merged into the header.",
            "RFC 9110 sections 6.5.1 and 6.5.2",
            "A trailer in the header can override what the header said.",
        ),
];

/// The first answer and its replay.
async fn pair(t: &Trial, route: Route, reply: Reply) -> Result<(Answer, Answer), Stop> {
    let expected = reply.status;
    t.station.reply(reply);
    let request = t.keyed(route);
    let first = t.send(&request).await?;
    status(&first, expected, "the first request")?;
    let replay = t.send(&request).await?;
    t.count(1, "after a retry")?;
    Ok((first, replay))
}

async fn hop_by_hop(t: &Trial) -> Result<(), Stop> {
    let reply = Reply::numbered(200)
        .with("Connection", "X-Hop, keep-alive")
        .with("X-Hop", "1")
        .with("Keep-Alive", "timeout=5")
        .with("Proxy-Connection", "keep-alive")
        .with("Proxy-Authenticate", "Basic realm=\"x\"")
        .with("Proxy-Authentication-Info", "x=1")
        .with("Upgrade", "h2c")
        .with("TE", "trailers")
        .with("X-Kept", "1");
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    for (answer, which) in [(&first, "first answer"), (&replay, "replay")] {
        for name in ["x-hop", "proxy-connection", "te"] {
            ensure(!answer.has(name), || format!("the {which} has the field {name}"))?;
        }
        let timeout = answer.text("keep-alive").unwrap_or_default();
        ensure(timeout != "timeout=5", || format!("the {which} has the upstream's Keep-Alive"))?;
        let listed = answer.text("connection").unwrap_or_default();
        ensure(!listed.to_ascii_lowercase().contains("x-hop"), || {
            format!("the {which} has Connection: {listed}")
        })?;
    }
    for name in ["proxy-authenticate", "proxy-authentication-info", "upgrade"] {
        ensure(!replay.has(name), || format!("the replay has the field {name}"))?;
    }
    ensure(replay.has("x-kept"), || "the replay lost the field X-Kept".to_owned())
}

async fn no_content(t: &Trial) -> Result<(), Stop> {
    let reply = Reply::new(204).framed(Framing::Bare).with("X-Kept", "1");
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    same_fields(&first, &replay)?;
    for (answer, which) in [(&first, "first answer"), (&replay, "replay")] {
        for name in ["content-length", "transfer-encoding"] {
            ensure(!answer.has(name), || {
                format!("the {which} of 204 has {name}: {:?}", answer.text(name))
            })?;
        }
    }
    // Were there any content, the next answer on the connection would start with it.
    let mut wire = t.open().await?;
    let request = t.keyed(Route::Plain);
    for _ in 0..3 {
        wire.send(&request).await;
        status(&wire.answer("POST").await?, 204, "a request on a connection that replays 204")?;
    }
    Ok(())
}

async fn chunked(t: &Trial) -> Result<(), Stop> {
    let body: String = (0..500).map(|number| format!("line {number}\n")).collect();
    let reply = Reply::new(200).body(body.clone()).framed(Framing::Chunked(Vec::new()));
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    same(&first, &replay)?;
    ensure(first.body == body, || format!("the first content changed: {}", first.describe()))?;
    let both = replay.has("content-length") && replay.has("transfer-encoding");
    let lengths = replay.all("content-length").len();
    ensure(!both && lengths <= 1, || "the replay is framed twice".to_owned())
}

async fn age(t: &Trial) -> Result<(), Stop> {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    t.station.reply(Reply::numbered(201).with("Date", date));
    let request = t.keyed(Route::Plain);
    let first = t.send(&request).await?;
    ensure(first.text("date").as_deref() == Some(date), || {
        format!("the first answer's Date became {:?}", first.text("date"))
    })?;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let replay = t.send(&request).await?;
    ensure(replay.all("date") == [date.as_bytes()], || {
        format!("the replay has Date {:?}", replay.text("date"))
    })?;
    let age = replay.text("age").and_then(|age| age.parse::<u64>().ok());
    ensure(age.is_some_and(|age| (2..60).contains(&age)), || {
        format!("two seconds later the replay has Age {:?}", replay.text("age"))
    })
}

const COOKIES: [&str; 3] = [
    "session=abc; Path=/; HttpOnly",
    "seen=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
    "theme=\"a, b\"",
];

fn with_cookies() -> Reply {
    COOKIES.iter().fold(Reply::numbered(201), |reply, cookie| reply.with("Set-Cookie", cookie))
}

async fn cookies_dropped(t: &Trial) -> Result<(), Stop> {
    let (first, replay) = pair(t, Route::Plain, with_cookies()).await?;
    ensure(first.all("set-cookie") == COOKIES.map(str::as_bytes), || {
        "the first answer's cookies were changed".to_owned()
    })?;
    ensure(!replay.has("set-cookie"), || {
        format!("the replay sets the cookie {:?}", replay.text("set-cookie"))
    })
}

async fn cookies_kept(t: &Trial) -> Result<(), Stop> {
    let (_, replay) = pair(t, Route::Cookies, with_cookies()).await?;
    ensure(replay.all("set-cookie") == COOKIES.map(str::as_bytes), || {
        format!("{} cookie lines were replayed, or changed ones", replay.all("set-cookie").len())
    })
}

async fn exchange_fields(t: &Trial) -> Result<(), Stop> {
    let names = [
        ("WWW-Authenticate", "Basic realm=\"check\""),
        ("RateLimit", "\"default\";r=50;t=30"),
        ("RateLimit-Policy", "\"default\";q=100;w=10"),
        ("X-RateLimit-Remaining", "41"),
        ("Server-Timing", "db;dur=53"),
        ("traceresponse", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Alt-Svc", "h3=\":443\""),
    ];
    let reply =
        names.iter().fold(Reply::numbered(200), |reply, (name, value)| reply.with(name, value));
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    same(&first, &replay)?;
    for (name, value) in names {
        ensure(first.text(name).as_deref() == Some(value), || {
            format!("the first answer's field {name} became {:?}", first.text(name))
        })?;
        ensure(replay.text(name).as_deref() != Some(value), || {
            format!("the replay has the first exchange's field {name}")
        })?;
    }
    Ok(())
}

async fn repeated(t: &Trial) -> Result<(), Stop> {
    let lines = ["one, two", "\"three, four\"", "", "five;q=\"a,b\"", "one, two"];
    let reply = lines
        .iter()
        .fold(Reply::numbered(200), |reply, line| reply.with("X-Line", line))
        .with("Link", "</a,b>; rel=next")
        .with("Link", "</c>; title=\"d, e\"")
        .with("X-Latin", [0x63, 0x61, 0x66, 0xe9]);
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    ensure(first.all("x-line") == lines.map(str::as_bytes), || {
        "the first answer's repeated field was changed".to_owned()
    })?;
    same_fields(&first, &replay)
}

async fn trailers(t: &Trial) -> Result<(), Stop> {
    let trailers = vec![
        ("X-Checksum".to_owned(), "abc".to_owned()),
        ("Location".to_owned(), "/from-the-trailer".to_owned()),
    ];
    let reply = Reply::new(200)
        .with("Trailer", "X-Checksum, Location")
        .body("content with trailers")
        .framed(Framing::Chunked(trailers));
    let (first, replay) = pair(t, Route::Plain, reply).await?;
    same(&first, &replay)?;
    for (answer, which) in [(&first, "first answer"), (&replay, "replay")] {
        for name in ["x-checksum", "location"] {
            ensure(!answer.has(name), || {
                format!("the {which}'s header has the trailer field {name}")
            })?;
        }
    }
    Ok(())
}
