//! A claim that the server does only after its gateway has given it up.

use std::thread;
use std::time::Duration;

use hapax_tests::{Place, Postgres, Request, Shared, Upstream, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Ruling 11: a claim of unknown effect is released, also when it takes effect after the release was
/// answered. Here the server's process for one connection is slow, and another one does the release.
#[test]
fn postgres_that_does_a_claim_after_its_release_leaves_no_key_behind() {
    let upstream = Upstream::creating();
    let server = Postgres::start();
    let place = Place::at(Shared::Postgres, server.url());
    let config = "store_timeout = \"1s\"\n[defaults]\nlease = \"1s\"";
    let gateway = place.settings(&upstream.url()).config(config).start();
    let pay = |key: &str| Request::payment(key).answer(gateway.address());
    let sessions = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid \
                    <> pg_backend_pid()";
    let sessions: Vec<_> = server.ask(sessions).lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pay("first").status, 201);
    let signal = |signal| {
        for pid in &sessions {
            kill_process(Pid::from_raw(*pid).unwrap(), signal).unwrap();
        }
    };
    signal(Signal::STOP);
    let refused = pay("late");
    assert_eq!(refused.problem().as_deref(), Some("store-unavailable"), "{}", refused.text());
    // The release is answered meanwhile, by a session that runs.
    eventually("the gateway is ready", || gateway.is_ready());
    thread::sleep(Duration::from_millis(500));
    signal(Signal::CONT);
    eventually("what was refused runs", || pay("late").status == 201);
    assert_eq!(upstream.arrivals("late"), 1);
}
