//! Hints over the server's own channels.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hapax::Store as _;
use hapax_redis::RedisStore;
use hapax_store_tests::{heard, what_nobody_waits_for_is_not_told};

use crate::scene::{both, standalone};
use crate::server::{Server, tell};
use crate::support::Place;

#[tokio::test]
async fn a_hint_that_nobody_waits_for_is_not_told() {
    for server in both() {
        let place = Place::take(&server);
        let [teller, listener] =
            [place.open(place.options()).await, place.open(place.options()).await];
        what_nobody_waits_for_is_not_told(&*teller, &*listener).await;
    }
}

#[tokio::test]
async fn hints_come_again_after_the_listening_connection_was_ended() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let teller = place.open(place.options()).await;
    let mut hints = teller.wakeups().expect("there is somewhere to listen");
    heard(&*teller, &*teller, &mut hints, 0).await;
    let ended: i64 = tell(&server.address(), "CLIENT KILL TYPE pubsub").await;
    // More, if one was given up that was slow.
    assert!(ended >= 1);
    heard(&*teller, &*teller, &mut hints, 2_000).await;
}

/// What the process has logged, in one piece: listeners have a thread of their own.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The warnings so far that name something.
fn warnings(name: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines().filter(|line| line.contains("WARN") && line.contains(name));
    lines.map(str::to_owned).collect()
}

/// How often the server has refused to let somebody listen.
async fn refusals(server: &Server) -> u32 {
    let info: String = server.tell("INFO commandstats").await;
    let line = info.lines().find(|line| line.starts_with("cmdstat_subscribe:"));
    let count = line.and_then(|line| line.split("rejected_calls=").nth(1)?.split(',').next());
    count.map_or(0, |count| count.trim().parse().expect("a number"))
}

/// Waits until so many have been refused; a listener tries again for ever.
async fn refused(server: &Server, times: u32) {
    for _ in 0..2_000 {
        if refusals(server).await >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody tries to listen");
}

/// CON-03: waiters of other nodes poll, and somebody should know why.
#[tokio::test]
async fn a_channel_that_the_user_may_not_hear_is_told_once() {
    static LOGS: OnceLock<()> = OnceLock::new();
    let Some(_) = standalone() else { return };
    LOGS.get_or_init(|| {
        let logs = tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false);
        logs.with_max_level(tracing::Level::WARN).init();
    });
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let prefix = &place.prefix;
    let rights = format!("ACL SETUSER gateway on >geheim ~{prefix}:* resetchannels &other* +@all");
    let _: String = server.tell(&rights).await;
    let address = server.address().replacen("redis://", "redis://gateway:geheim@", 1);
    let store = RedisStore::connect(&address, place.options()).await.expect("a store");
    let mut hints = store.wakeups().expect("there is somewhere to listen");
    // The next attempt is made once the last one was told.
    refused(&server, 3).await;
    let channel = format!("&{prefix}:settled");
    let told = warnings(&channel);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("ACL SETUSER") && !told[0].contains("geheim"), "{told:?}");

    // It is mended, and broken again, which is worth another word.
    let allow = format!("ACL SETUSER gateway {channel}");
    let _: String = server.tell(&allow).await;
    let teller = place.open(place.options()).await;
    heard(&*teller, &store, &mut hints, 0).await;
    let before = refusals(&server).await;
    let _: String = server.tell("ACL SETUSER gateway resetchannels").await;
    refused(&server, before + 2).await;
    let told = warnings(&channel);
    assert_eq!(told.len(), 2, "{told:?}");
}
