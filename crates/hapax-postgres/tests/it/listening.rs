//! What is said of a `listen_url` at which nobody can listen (CON-03).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hapax::Store as _;
use hapax_postgres::{PgOptions, PgStore};
use hapax_store_tests::heard;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{Place, admin, server_url};

/// What is logged in this process.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() {
    static LOGS: OnceLock<()> = OnceLock::new();
    LOGS.get_or_init(|| {
        let logs = tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false);
        logs.with_max_level(tracing::Level::INFO).init();
    });
}

/// The lines of this level about listening at this place.
fn logged(level: &str, place: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    let lines = log
        .lines()
        .filter(|line| line.contains(level) && line.contains("listen") && line.contains(place));
    lines.map(str::to_owned).collect()
}

/// A way to the server that can be closed: who comes then is sent away.
struct Gate {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    sent_away: Arc<AtomicU32>,
}

impl Gate {
    async fn closed(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(watch::Sender::new(false));
        let sent_away = Arc::new(AtomicU32::new(0));
        let (is_open, count) = (Arc::clone(&open), Arc::clone(&sent_away));
        tokio::spawn(async move {
            while let Ok((mut session, _)) = listener.accept().await {
                if !*is_open.borrow() {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let mut there = TcpStream::connect(&server).await.expect("the test server");
                let mut closing = is_open.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut session, &mut there) => {}
                        _ = closing.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open, sent_away }
    }

    /// Waits until so many more have been sent away.
    async fn sends_away(&self, more: u32) {
        let until = self.sent_away.load(Ordering::SeqCst) + more;
        for _ in 0..3_000 {
            if self.sent_away.load(Ordering::SeqCst) >= until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody tries to listen");
    }
}

#[tokio::test]
async fn a_line_that_is_down_is_told_once_and_so_is_that_it_is_up_again() {
    let Some(server) = server_url() else { return };
    log();
    let place = Place::take(&server).await;
    let (user, rest) = server.split_once('@').expect("a user in the address");
    let (host, database) = rest.split_once('/').expect("a database in the address");
    let gate = Gate::closed(host.to_owned()).await;
    let url = format!("{user}:geheim@{}/{database}", gate.address);
    let shown = gate.address.to_string();
    let store = place.open(PgOptions { listen_url: Some(url), ..place.options() }).await;
    let told = logged("WARN", &shown);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("polls") && !told[0].contains("geheim"), "{told:?}");
    let summary = store.guarantees().summary;
    assert!(summary.contains("waiters poll") && summary.contains(&shown), "{summary}");

    // What comes after the third has come after what was said of the second.
    let mut hints = store.wakeups().expect("there is somewhere to listen");
    gate.sends_away(3).await;
    assert_eq!(logged("WARN", &shown).len(), 1);
    let teller = place.open(place.options()).await;
    gate.open.send_replace(true);
    heard(&*teller, &*store, &mut hints, 0).await;
    let told = logged("INFO", &shown);
    assert_eq!(told.len(), 1, "{told:?}");

    // It breaks again, which is worth another word.
    gate.open.send_replace(false);
    gate.sends_away(3).await;
    let told = logged("WARN", &shown);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_line_to_another_database_is_told() {
    let Some(server) = server_url() else { return };
    log();
    let place = Place::take(&server).await;
    // Each server has both of these: to make one and drop it again syncs all that the server holds.
    let (start, database) = server.rsplit_once('/').expect("a database in the address");
    let own = database.split('?').next().unwrap_or(database);
    let other = if own == "template1" { "postgres" } else { "template1" };
    let url = format!("{start}/{other}");
    let store = place.open(PgOptions { listen_url: Some(url), ..place.options() }).await;
    let told = logged("WARN", other);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("another database") && told[0].contains("listen_url"), "{told:?}");
    let summary = store.guarantees().summary;
    assert!(summary.contains("waiters poll") && summary.contains(other), "{summary}");
}

/// The same database under another name of its server, and for a role that may do little.
#[tokio::test]
async fn a_line_that_leads_home_is_not_spoken_of() {
    let Some(server) = server_url() else { return };
    log();
    let place = Place::take(&server).await;
    let role = format!("{}_ear", place.schema);
    admin(&server, &format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await;
    let (_, rest) = server.split_once('@').expect("a user in the address");
    let (host, _) = rest.split_once('/').expect("a database in the address");
    let gate = Gate::closed(host.to_owned()).await;
    gate.open.send_replace(true);
    let url = format!("postgres://{role}@{}", rest.replacen(host, &gate.address.to_string(), 1));
    let listening = PgOptions { listen_url: Some(url), pooled: true, ..place.options() };
    let store = PgStore::connect(&server, listening).await.expect("a store");
    assert!(!store.guarantees().summary.contains("waiters poll"));
    let mut hints = store.wakeups().expect("there is somewhere to listen");
    let teller = place.open(place.options()).await;
    heard(&*teller, &store, &mut hints, 0).await;
    let shown = gate.address.to_string();
    assert_eq!((logged("WARN", &shown).len(), logged("INFO", &shown).len()), (0, 0));
    drop(store);
    gate.open.send_replace(false);
    admin(&server, &format!("DROP ROLE {role}")).await;
}
