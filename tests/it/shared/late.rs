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
    let config = "store_timeout = \"3s\"\n[defaults]\nlease = \"5s\"";
    let gateway = place.settings(&upstream.url()).config(config).start();
    let pay = |key: &str| Request::payment(key).answer(gateway.address());
    eventually("it runs", || pay("first").status == 201);
    // The gateway's own tasks open sessions too: a round that met one opened since the listing says
    // nothing, and the next one stops that session as well.
    let (key, stopped) = (1..=20)
        .find_map(|round| {
            let key = format!("late-{round}");
            let stopped = Stopped::sessions_of(&server);
            let answer = pay(&key);
            if answer.status == 201 {
                return None;
            }
            assert_eq!(answer.problem().as_deref(), Some("store-unavailable"), "{}", answer.text());
            Some((key, stopped))
        })
        .expect("a claim by a session that is stopped");
    // The release is answered meanwhile, by a session that runs.
    eventually("the gateway is ready", || gateway.is_ready());
    thread::sleep(Duration::from_millis(500));
    drop(stopped);
    eventually("what was refused runs", || pay(&key).status == 201);
    assert_eq!(upstream.arrivals(&key), 1);
}

/// A server's processes for the connections it has, which run again when this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn sessions_of(server: &Postgres) -> Self {
        // One that is stopped in the middle of a step may hold what others need to run at all.
        let sessions = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND \
                        state = 'idle'";
        let pid = |pid: &str| Pid::from_raw(pid.parse().unwrap()).unwrap();
        let stopped = Self(server.ask(sessions).lines().map(pid).collect());
        stopped.signal(Signal::STOP);
        stopped
    }

    /// A session that has ended meanwhile is no concern.
    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            let _ = kill_process(*pid, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}
