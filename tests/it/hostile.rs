//! Peers that send rubbish, too little, too slowly, too much, or lies: the gateway keeps serving, its
//! memory stays bounded, and no key stays claimed without an owner.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{
    Chance, Connection, Gateway, Next, Request, STUCK, Settings, Upstream, eventually, respond,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a gateway may grow by under a flood of nonsense.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// Serves a keyed request soon, whatever else is going on: sooner than what goes on is ended by its own
/// time. A machine that stands still may spoil one try or two, and what holds up others spoils all.
fn assert_serves(gateway: &Gateway, key: &str) {
    let is_served_soon = || {
        let start = Instant::now();
        let answer = Request::payment(key).answer(gateway.address());
        assert_eq!(answer.status, 201, "{}", answer.text());
        start.elapsed() < Duration::from_secs(5)
    };
    assert!((0..3).any(|_| is_served_soon()), "{key} takes long");
}

/// How many records run, as the admin listener says.
fn running(gateway: &Gateway) -> usize {
    let admin = gateway.admin().expect("the admin listener is told");
    let request = Request::new("GET", "/api/records?state=in_progress")
        .without("Authorization")
        .without("Host")
        .field("Host", &admin.to_string());
    request.answer(admin).text().matches("\"id\"").count()
}

fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, STUCK)?;
    stream.set_write_timeout(Some(STUCK))?;
    Ok(stream)
}

#[test]
fn random_bytes_on_the_port_harm_nobody() {
    let seed = Chance::seed();
    println!("HAPAX_SEED={seed}");
    let mut chance = Chance::new(seed);
    let upstream = Upstream::creating();
    let mut gateway = Settings::new(&upstream.url()).start();
    assert_serves(&gateway, "before");
    let before = gateway.resident_kib();
    let starts: [&[u8]; 6] = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ",
        b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
    ];
    for round in 0..400_usize {
        let length = usize::try_from(chance.below(4_000)).unwrap_or_default();
        let mut bytes = starts[round % starts.len()].to_vec();
        bytes.extend(chance.bytes(length));
        // The gateway may hang up before it has read all of it.
        let _refused = open(gateway.address()).and_then(|mut stream| stream.write_all(&bytes));
        if round % 50 == 0 {
            assert_serves(&gateway, &format!("between-{round}"));
        }
    }
    // A whole request with a few bytes turned.
    let whole = Request::payment("mutated").bytes();
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..=chance.below(3) {
            let length = bytes.len() as u64;
            let at = usize::try_from(chance.below(length)).unwrap_or_default();
            bytes[at] = chance.number().to_le_bytes()[0];
        }
        let _refused = open(gateway.address()).and_then(|mut stream| stream.write_all(&bytes));
    }
    assert_serves(&gateway, "after");
    assert!(gateway.runs());
    eventually("no key is left claimed", || running(&gateway) == 0);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "grew by {grown} KiB");
    assert!(!gateway.errors().contains("panicked"), "{}", gateway.errors());
    // Whatever of it was a protected request of one caller ran at most once.
    let mut runs: BTreeMap<_, usize> = BTreeMap::new();
    for arrival in upstream.log().into_iter().filter(|arrival| !arrival.key.is_empty()) {
        if arrival.start.starts_with("POST ") || arrival.start.starts_with("PATCH ") {
            let fields = ["authorization", "host", "x-forwarded-host", "forwarded"];
            let caller = fields.map(|name| arrival.fields.first(name).map(str::to_owned));
            *runs.entry((arrival.key, caller)).or_default() += 1;
        }
    }
    let twice: Vec<_> = runs.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// HTP-14: half requests and slow senders hold nothing that others need, and no key.
#[test]
fn half_requests_and_slow_senders_hold_up_nobody() {
    let upstream = Upstream::creating();
    let gateway = Settings::new(&upstream.url()).start();
    assert_serves(&gateway, "before");
    let before = gateway.resident_kib();
    let whole = Request::payment("half").bytes();
    let mut chance = Chance::new(11);
    let mut halves = Vec::new();
    for number in 0..500_usize {
        let mut stream = open(gateway.address()).unwrap();
        let end = match number % 3 {
            0 => whole.len() - 1,
            1 => usize::try_from(chance.below(whole.len() as u64)).unwrap_or_default(),
            _ => 1,
        };
        stream.write_all(&whole[..end]).unwrap();
        halves.push((stream, end));
    }
    for number in 0..20 {
        assert_serves(&gateway, &format!("during-{number}"));
    }
    // One byte at a time, for a while.
    for _ in 0..10 {
        for (stream, end) in halves.iter_mut().filter(|(_, end)| *end + 1 < whole.len()) {
            if stream.write_all(&whole[*end..=*end]).is_ok() {
                *end += 1;
            }
        }
        assert_serves(&gateway, "during-slow");
    }
    assert_eq!(upstream.arrivals("half"), 0, "no half request left");
    assert_eq!(running(&gateway), 0, "no half request claimed its key");
    // The key is free for one who sends all of it; then the halves that end well are replays.
    assert_serves(&gateway, "half");
    drop(halves);
    assert_eq!(upstream.arrivals("half"), 1);
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "grew by {grown} KiB");
}

/// A head that never ends is cut off by its time, and a client that reads nothing by its own.
#[test]
fn a_head_that_never_ends_is_ended() {
    let upstream = Upstream::creating();
    let gateway = Settings::new(&upstream.url()).start();
    let mut long = Connection::open(gateway.address()).unwrap();
    long.write(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let line = [b"X-Long: ".as_slice(), &[b'a'; 1000], b"\r\n"].concat();
    let mut written = 0;
    while written < 64 << 20 && long.write(&line).is_ok() {
        written += line.len();
    }
    assert!(written < 64 << 20, "a head of {written} bytes was taken");
    if let Ok(told) = long.read_answer("GET") {
        assert_eq!(told.status, 431);
    }
    let mut slow = Connection::open(gateway.address()).unwrap();
    let start = Instant::now();
    slow.write(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let ended = slow.read_answer("GET");
    assert!(ended.map_or(true, |answer| answer.status == 408));
    let took = start.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(19)).contains(&took), "took {took:?}");
    assert_serves(&gateway, "after");
}

/// Ten thousand connections that say nothing, with the default limits.
#[test]
fn ten_thousand_idle_connections_leave_room_for_work() {
    const IDLE: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = IDLE as u64 + 1_000;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        println!(
            "skipped: this machine allows {:?} open files, {wanted} are needed",
            limit.maximum
        );
        return;
    }
    let current = Some(limit.current.map_or(wanted, |current| current.max(wanted)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).unwrap();

    let upstream = Upstream::creating();
    let mut gateway = Settings::new(&upstream.url()).start();
    assert_serves(&gateway, "before");
    let before = gateway.resident_kib();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(open(gateway.address()).unwrap());
    }
    for number in 0..20 {
        assert_serves(&gateway, &format!("during-{number}"));
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    println!("{IDLE} idle connections: {grown} KiB");
    assert!(grown < 256 * 1024, "grew by {grown} KiB");
    drop(idle);
    assert_serves(&gateway, "after");
    assert!(gateway.runs());
}

/// HTP-02 towards the upstream: what it says too much is not the next caller's answer.
#[test]
fn an_upstream_that_says_more_than_it_declared_answers_nobody_else() {
    let upstream = Upstream::start(|arrival, stream| {
        if !arrival.key.starts_with("lie") {
            return respond(stream, 201, &[], b"true");
        }
        let lie = "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nshortHTTP/1.1 200 OK\r\n\
                   Content-Length: 6\r\n\r\nforged";
        stream.write_all(lie.as_bytes()).map_or(Next::Close, |()| Next::Keep)
    });
    let gateway = Settings::new(&upstream.url()).flag("--threads", "1").start();
    for round in 0..10 {
        let lied = Request::payment(&format!("lie-{round}")).answer(gateway.address());
        assert!(lied.text() == "short" || lied.status == 502, "{}", lied.text());
        let next = Request::payment(&format!("next-{round}")).answer(gateway.address());
        assert_eq!((next.status, next.text().as_str()), (201, "true"));
        let plain = Request::new("GET", "/").answer(gateway.address());
        assert_eq!(plain.text(), "true");
        assert_eq!(upstream.arrivals(&format!("lie-{round}")), 1);
    }
}

/// REP-09: framing that cannot be right is an unknown outcome; the key is held, not run again.
#[test]
fn an_upstream_with_impossible_framing_is_held() {
    const LIES: [&str; 6] = [
        "HTTP/1.1 201 Created\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 201 Created\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 201 Created\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 201 Created\r\nBad Header\r\n\r\n",
    ];
    let upstream = Upstream::start(|arrival, stream| {
        let number: usize = arrival.key.trim_start_matches("lie-").parse().unwrap_or(0);
        let _gone = stream.write_all(LIES[number].as_bytes());
        Next::Close
    });
    let mut gateway = Settings::new(&upstream.url()).start();
    for number in 0..LIES.len() {
        let key = format!("lie-{number}");
        match Request::payment(&key).send(gateway.address()) {
            Ok(told) => assert_eq!(told.problem().as_deref(), Some("outcome-unknown"), "{key}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{key}"),
        }
        let held = Request::payment(&key).answer(gateway.address());
        assert_eq!(
            (held.status, held.problem().as_deref()),
            (409, Some("outcome-unknown")),
            "{key}"
        );
        assert_eq!(upstream.arrivals(&key), 1, "{key}");
    }
    assert!(gateway.runs() && !gateway.errors().contains("panicked"), "{}", gateway.errors());
}

/// An answer without end fills no memory, and its time ends it; the key is settled somehow.
#[test]
fn an_answer_without_end_is_ended_in_bounded_memory() {
    let upstream = Upstream::start(|arrival, stream| {
        if arrival.key != "endless" {
            return respond(stream, 201, &[], b"");
        }
        let _sent = stream.write_all(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n".as_slice(), &[b'e'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
        Next::Close
    });
    let config =
        "[[route]]\nmatch = \"/v1/endless\"\nupstream_timeout = \"1s\"\nlate_answer = \"1s\"";
    let gateway = Settings::new(&upstream.url()).config(config).start();
    assert_serves(&gateway, "before");
    let before = gateway.resident_kib();
    // One caller that reads nothing and one that leaves: the answer is drained all the same.
    let mut endless = Request::payment("endless");
    endless.target = "/v1/endless".into();
    let mut caller = Connection::open(gateway.address()).unwrap();
    caller.write(&endless.bytes()).unwrap();
    upstream.await_arrivals("endless", 1);
    thread::sleep(Duration::from_millis(700));
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "grew by {grown} KiB");
    drop(caller);
    eventually("the key is settled", || running(&gateway) == 0);
    let retry = endless.answer(gateway.address());
    let code = retry.problem().unwrap_or_default();
    assert!(
        ["outcome-unknown", "result-not-retained"].contains(&code.as_str()),
        "{}",
        retry.text()
    );
    assert_eq!(upstream.arrivals("endless"), 1);
    assert_serves(&gateway, "after");
}
