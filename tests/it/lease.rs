//! Owners that pause: what a stale one must not do (CON-04, CON-05, ruling 9).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hapax::{
    Fingerprint, Guard, Intent, Kept, Key, OnUnknown, Outcome, Policy, Principal, RecordedResponse,
    Retention, Secret, Settlement, Settler, Store, Verdict,
};
use hapax_fjall::{FileOptions, FileStore};
use hapax_tests::{
    Connection, Cue, Gateway, Port, Request, Settings, Upstream, eventually, read_fields, respond,
};
use socket2::{Domain, Socket, Type};

const LEASE: Duration = Duration::from_millis(300);

/// How often the machine may stand still for longer than a test can bear.
const ROUNDS_MAX: usize = 10;

/// How the record changes hands while its owner is paused.
#[derive(Clone, Copy)]
enum Meanwhile {
    OperatorFrees,
    OperatorFinishes,
    OtherGuardRuns,
}

/// CON-05 on the file store: the owner's thread stops, as by SIGSTOP, so it renews nothing; its
/// record changes hands; then it goes on, and what it brings changes nothing.
#[test]
fn a_stale_owner_changes_nothing_on_the_file_store() {
    for (meanwhile, expected) in [
        (Meanwhile::OperatorFinishes, "the operator's"),
        (Meanwhile::OtherGuardRuns, "the other's"),
        (Meanwhile::OperatorFrees, "the next one's"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path().join("s"), FileOptions::default()).unwrap();
        let secret = store.secret().clone();
        let store: Arc<dyn Store> = Arc::new(store);
        let unknown = match meanwhile {
            Meanwhile::OtherGuardRuns => OnUnknown::ReExecute,
            Meanwhile::OperatorFinishes | Meanwhile::OperatorFrees => OnUnknown::Hold,
        };
        let intent = intent(&secret, unknown);
        let (started, owner_started) = mpsc::channel();
        let (resume, resumed) = mpsc::channel();
        let owner = {
            let (store, intent) = (Arc::clone(&store), intent.clone());
            thread::spawn(move || {
                run(&store, intent, move || {
                    started.send(()).unwrap();
                    // Blocks the whole runtime of this owner: no renewal, no timer.
                    resumed.recv().unwrap();
                    answer("the stale owner's")
                })
            })
        };
        owner_started.recv().unwrap();
        thread::sleep(LEASE * 2);
        change_hands(&store, &intent, meanwhile);
        let before = kept(&store, &intent);
        resume.send(()).unwrap();
        let verdict = owner.join().unwrap();
        assert!(
            matches!(&verdict, Verdict::Ran(_)),
            "its caller gets its true answer: {verdict:?}"
        );
        if !matches!(meanwhile, Meanwhile::OperatorFrees) {
            assert_eq!(before.as_deref(), Some(expected));
            assert_eq!(kept(&store, &intent), before, "the stale owner changed the record");
        }
        let next = run(&store, intent.clone(), || answer("the next one's"));
        let next = format!("{next:?}");
        assert!(!next.contains("stale"), "{next}");
        assert_eq!(kept(&store, &intent).as_deref(), Some(expected));
    }
}

fn intent(secret: &Secret, unknown: OnUnknown) -> Intent {
    let scope = secret.scope(Principal::Named { source: "test", value: b"alice" }, "");
    let policy = Policy { late_answer: Duration::ZERO, lease: LEASE, unknown, ..Policy::default() };
    Intent {
        fingerprint: Fingerprint::of(b"payload"),
        id: secret.record_id(&scope, &Key::from_text("paused").unwrap()),
        policy: Arc::new(policy),
        probe: None,
        route: "payments".into(),
    }
}

/// One process's worth: a runtime and a guard of its own on the shared store.
fn run(
    store: &Arc<dyn Store>,
    intent: Intent,
    effect: impl FnOnce() -> Outcome + Send + 'static,
) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = Guard::new(Arc::clone(store));
    runtime.block_on(async move { guard.run(intent, |_attempt| async move { effect() }).await })
}

fn response(body: &'static str) -> RecordedResponse {
    RecordedResponse {
        body: body.as_bytes().into(),
        headers: Vec::new(),
        status: 201,
        trailers: Vec::new(),
    }
}

fn answer(body: &'static str) -> Outcome {
    Outcome::Answered { response: response(body), directive: None }
}

fn change_hands(store: &Arc<dyn Store>, intent: &Intent, meanwhile: Meanwhile) {
    let retention = Retention::For(Duration::from_secs(60));
    let with = match meanwhile {
        Meanwhile::OtherGuardRuns => {
            let verdict = run(store, intent.clone(), || answer("the other's"));
            assert!(matches!(verdict, Verdict::Ran(_)), "{verdict:?}");
            return;
        }
        Meanwhile::OperatorFinishes => {
            Settlement::Complete { kept: Kept::Response(response("the operator's")), retention }
        }
        Meanwhile::OperatorFrees => Settlement::Release { retention, status: None },
    };
    on_runtime(async {
        let seen = store.peek(&intent.id).await.unwrap().unwrap();
        store.settle(&seen.record.lease(), &with, Settler::Operator).await.unwrap();
    });
}

/// The body that is kept, if one is.
fn kept(store: &Arc<dyn Store>, intent: &Intent) -> Option<String> {
    on_runtime(async {
        let seen = store.peek(&intent.id).await.unwrap()?;
        match &seen.record.phase {
            hapax::Phase::Completed { kept: Kept::Response(response), .. } => {
                Some(String::from_utf8_lossy(&response.body).into_owned())
            }
            _ => None,
        }
    })
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// CON-04: slower than the lease, and still one execution; duplicates are told that it runs.
#[test]
fn an_upstream_slower_than_the_lease_is_called_once() {
    let config = "[defaults]\nlease = \"3s\"\nconcurrent = \"reject\"";
    outlives_its_lease(Duration::from_secs(3), |upstream| {
        let gateway = Settings::new(upstream).config(config).start();
        let address = gateway.address();
        (vec![gateway], [address, address])
    });
}

/// CON-04: an owner at the first address is slower than its lease; who asks at the second is told all
/// the while that it runs. Where the machine stands still, the lease may lapse under an owner that
/// lives: then this says nothing, and is done again with another key.
pub(crate) fn outlives_its_lease(
    lease: Duration,
    start: impl FnOnce(&str) -> (Vec<Gateway>, [SocketAddr; 2]),
) {
    let told = Cue::default();
    let others_told = told.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        let round = arrival.key.trim_start_matches("slow-").parse().unwrap();
        others_told.wait_for(round);
        respond(stream, 201, &[], b"slow")
    });
    let (_gateways, [slow, other]) = start(&upstream.url());
    let is_seen = |round: usize| {
        let payment = Request::payment(&format!("slow-{round}"));
        let mut owner = Connection::open(slow).unwrap();
        owner.write(&payment.bytes()).unwrap();
        upstream.await_arrivals(&format!("slow-{round}"), 1);
        let has_kept = (0..6).all(|_| {
            let began = Instant::now();
            thread::sleep(lease / 4);
            let busy = [slow, other].map(|address| payment.answer(address).problem());
            // It is renewed each third, so that two thirds are left at least.
            let stood_still = began.elapsed() > lease / 2;
            let is_over = stood_still && busy[1].as_deref() == Some("outcome-unknown");
            assert!(is_over || busy.iter().all(|busy| busy.as_deref() == Some("in-progress")));
            !is_over
        });
        told.give();
        assert_eq!(owner.read_answer("POST").unwrap().text(), "slow");
        assert!(payment.answer(other).replayed());
        assert_eq!(upstream.arrivals(&format!("slow-{round}")), 1);
        has_kept
    };
    assert!((1..=ROUNDS_MAX).any(is_seen), "the machine stands still all the time");
}

/// CON-05 as a process: paused past its lease with the request sent, the gateway goes on, settles
/// what it did, and nobody ran it again.
#[test]
fn a_gateway_paused_past_its_lease_settles_what_it_had_sent() {
    let paused = Cue::default();
    let is_paused = paused.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_paused.wait_for(1);
        respond(stream, 201, &[], b"while paused")
    });
    let gateway = Settings::new(&upstream.url()).config("[defaults]\nlease = \"3s\"").start();
    let mut owner = Connection::open(gateway.address()).unwrap();
    owner.write(&Request::payment("paused").bytes()).unwrap();
    upstream.await_arrivals("paused", 1);
    gateway.pause();
    paused.give();
    let mut duplicate = Connection::open(gateway.address()).unwrap();
    duplicate.write(&Request::payment("paused").bytes()).unwrap();
    thread::sleep(Duration::from_secs(5));
    gateway.resume();
    for connection in [&mut owner, &mut duplicate] {
        let answer = connection.read_answer("POST").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (201, "while paused"));
    }
    let replay = Request::payment("paused").answer(gateway.address());
    assert_eq!((replay.text().as_str(), replay.replayed()), ("while paused", true));
    assert_eq!(upstream.arrivals("paused"), 1);
}

/// Ruling 9: paused past its lease between the claim and the first byte, the gateway sends nothing,
/// says so, and frees the key; unless it has first asked the store and got a new term.
#[test]
fn a_gateway_paused_before_its_first_byte_sends_nothing_under_its_old_lease() {
    // A full queue of connections: the gateway's own stays half open until there is room.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.set_reuse_address(true).unwrap();
    let port = Port::take();
    let address = port.address();
    full.bind(&address.into()).unwrap();
    full.listen(0).unwrap();
    let filler = TcpStream::connect(address).unwrap();

    let config = "upstream_connect_timeout = \"20s\"\n[defaults]\nlease = \"3s\"";
    let gateway = Settings::new(&format!("http://{address}")).config(config).start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("unsent").bytes()).unwrap();
    let admin = gateway.admin().expect("the admin listener is told");
    eventually("the key is claimed", || {
        let running = Request::new("GET", "/api/records?state=in_progress")
            .without("Authorization")
            .without("Host")
            .field("Host", &admin.to_string());
        running.answer(admin).text().contains("\"id\"")
    });
    eventually("its connection is being opened", || is_connecting(address));
    gateway.pause();
    thread::sleep(Duration::from_secs(4));
    // Room for the gateway's connection, which the kernel opens while the gateway is paused.
    let (accepted, _) = full.accept().unwrap();
    drop(filler);
    full.set_nonblocking(true).unwrap();
    let mut opened = None;
    eventually("its connection is open", || {
        opened = full.accept().ok();
        opened.is_some()
    });
    let (gateways, _) = opened.unwrap();
    gateways.set_nonblocking(false).unwrap();
    let gateways = TcpStream::from(gateways);
    let served = gateways.try_clone().unwrap();
    let serving = thread::spawn(move || serve_one(served, b"sent under a renewed lease"));
    thread::sleep(Duration::from_millis(200));
    gateway.resume();

    // Either its lease was too old, or it had asked the store and renewed it: then it may send.
    let told = client.read_answer("POST").unwrap();
    println!("told after the pause: {}", told.status);
    if told.status == 201 {
        assert_eq!(told.text(), "sent under a renewed lease");
        assert!(Request::payment("unsent").answer(gateway.address()).replayed());
        return;
    }
    assert_eq!(told.status, 502, "{}", told.text());
    assert_eq!(told.problem().as_deref(), Some("upstream-unreachable"));
    gateways.shutdown(Shutdown::Both).unwrap();
    assert!(!serving.join().unwrap(), "nothing was sent");
    drop((accepted, gateways, full));

    let upstream = Upstream::creating_at(address);
    let retry = Request::payment("unsent").answer(gateway.address());
    assert_eq!((retry.status, retry.replayed()), (201, false), "{}", retry.text());
    assert_eq!(upstream.arrivals("unsent"), 1);
}

/// Answers the request that comes, if one does.
fn serve_one(mut stream: TcpStream, body: &[u8]) -> bool {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut start = String::new();
    if !matches!(reader.read_line(&mut start), Ok(1..)) {
        return false;
    }
    let fields = read_fields(&mut reader).unwrap();
    let length = fields.first("content-length").unwrap().parse().unwrap();
    reader.read_exact(&mut vec![0; length]).unwrap();
    respond(&mut stream, 201, &[], body);
    true
}

/// Whether a connection to `address` waits for its peer, as the kernel sees it.
fn is_connecting(address: SocketAddr) -> bool {
    const SYN_SENT: &str = "02";
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
    let port = format!(":{:04X}", address.port());
    table.lines().skip(1).any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[2].ends_with(&port) && columns[3] == SYN_SENT
    })
}
