//! Owners that pause: what a stale one must not do (CON-04, CON-05, ruling 9).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hapax::{
    Fingerprint, Guard, Intent, Kept, Key, OnUnknown, Outcome, Policy, Principal, RecordedResponse,
    Retention, Secret, Settlement, Settler, Store, Verdict,
};
use hapax_fjall::{FileOptions, FileStore};
use hapax_tests::{Connection, Cue, Request, Settings, Upstream, eventually, respond};
use socket2::{Domain, Socket, Type};

const LEASE: Duration = Duration::from_millis(300);

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
    let told = Cue::default();
    let others_told = told.clone();
    let upstream = Upstream::start(move |_, stream| {
        others_told.wait_for(1);
        respond(stream, 201, &[], b"slow")
    });
    let config = "[defaults]\nlease = \"1s\"\nconcurrent = \"reject\"";
    let gateway = Settings::new(&upstream.url()).config(config).start();
    let mut owner = Connection::open(gateway.address()).unwrap();
    owner.write(&Request::payment("slow").bytes()).unwrap();
    upstream.await_arrivals("slow", 1);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(500));
        let busy = Request::payment("slow").answer(gateway.address());
        assert_eq!(busy.problem().as_deref(), Some("in-progress"), "{}", busy.text());
    }
    told.give();
    assert_eq!(owner.read_answer("POST").unwrap().text(), "slow");
    assert!(Request::payment("slow").answer(gateway.address()).replayed());
    assert_eq!(upstream.arrivals("slow"), 1);
}

/// CON-05 as a process: paused past its lease with the request sent, the gateway goes on, settles
/// what it did, and nobody ran it again.
#[test]
fn a_gateway_paused_past_its_lease_settles_what_it_had_sent() {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, 201, &[], b"while paused")
    });
    let gateway = Settings::new(&upstream.url()).config("[defaults]\nlease = \"1s\"").start();
    let mut owner = Connection::open(gateway.address()).unwrap();
    owner.write(&Request::payment("paused").bytes()).unwrap();
    upstream.await_arrivals("paused", 1);
    gateway.pause();
    let mut duplicate = Connection::open(gateway.address()).unwrap();
    duplicate.write(&Request::payment("paused").bytes()).unwrap();
    thread::sleep(Duration::from_secs(3));
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
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let filler = std::net::TcpStream::connect(address).unwrap();

    let config = "upstream_connect_timeout = \"20s\"\n[defaults]\nlease = \"1s\"";
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
    thread::sleep(Duration::from_millis(1_500));
    // Room for the gateway's connection, which the kernel opens while the gateway is paused.
    let (accepted, _) = full.accept().unwrap();
    drop(filler);
    full.set_nonblocking(true).unwrap();
    let mut opened = None;
    eventually("its connection is open", || {
        opened = full.accept().ok();
        opened.is_some()
    });
    let (mut gateways, _) = opened.unwrap();
    gateways.set_nonblocking(false).unwrap();
    thread::sleep(Duration::from_millis(200));
    gateway.resume();

    // Either its lease was too old, or it had asked the store and renewed it: then it may send.
    gateways.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut some = [0; 1024];
    let sent = matches!(std::io::Read::read(&mut gateways, &mut some), Ok(1..));
    println!("sent under a renewed lease: {sent}");
    if sent {
        respond(&mut gateways.into(), 201, &[], b"sent under a renewed lease");
        let told = client.read_answer("POST").unwrap();
        assert_eq!((told.status, told.text().as_str()), (201, "sent under a renewed lease"));
        assert!(Request::payment("unsent").answer(gateway.address()).replayed());
        return;
    }
    let told = client.read_answer("POST").unwrap();
    assert_eq!(told.status, 502, "{}", told.text());
    assert_eq!(told.problem().as_deref(), Some("upstream-unreachable"));
    drop((accepted, gateways, full));

    let upstream = Upstream::creating_at(address);
    let retry = Request::payment("unsent").answer(gateway.address());
    assert_eq!((retry.status, retry.replayed()), (201, false), "{}", retry.text());
    assert_eq!(upstream.arrivals("unsent"), 1);
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
