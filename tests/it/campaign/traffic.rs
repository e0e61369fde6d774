//! Impatient clients: each operation is retried under its key until its outcome is definite.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hapax_tests::{Chance, Connection, Request};

use super::history::{Event, Seen};

/// Tries of one operation; far more than the restarts that one can meet.
const TRIES_MAX: usize = 60;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Where the gateway is now; port 0 while there is none.
    address: Mutex<SocketAddr>,
    /// Orders everything that is seen.
    clock: AtomicU64,
    /// Numbers the keys that all clients use at once.
    pub(crate) hot: AtomicU64,
    pub(crate) stop: AtomicBool,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            address: Mutex::new((Ipv4Addr::LOCALHOST, 0).into()),
            clock: AtomicU64::new(0),
            hot: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Says where the gateway is, or that there is none.
    pub(crate) fn point_to(&self, address: Option<SocketAddr>) {
        let none = || (Ipv4Addr::LOCALHOST, 0).into();
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address.unwrap_or_else(none);
    }

    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request under `key`, on `connection` if it is still good.
    pub(crate) fn send(&self, key: &Arc<str>, connection: &mut Option<Connection>) -> Event {
        let request = Request::payment(key).body(format!("pay {key}").as_bytes());
        let start = self.clock.fetch_add(1, Ordering::SeqCst);
        let address = self.address();
        let seen = match connection.take().map_or_else(|| Connection::open(address), Ok) {
            Ok(mut open) => {
                let answer = open.call(&request);
                if answer.is_ok() {
                    *connection = Some(open);
                }
                Seen::of(answer)
            }
            Err(_) => Seen::Nothing,
        };
        Event { end: self.clock.fetch_add(1, Ordering::SeqCst), key: Arc::clone(key), seen, start }
    }

    /// One client, until it is told to stop.
    pub(crate) fn client(&self, number: usize, mut chance: Chance) -> Vec<Event> {
        let mut events = Vec::new();
        let mut keys: Vec<Arc<str>> = Vec::new();
        let mut connection = None;
        while !self.stop.load(Ordering::SeqCst) {
            let key: Arc<str> = match chance.below(10) {
                0 => format!("hot-{}", self.hot.load(Ordering::SeqCst)).into(),
                1 if !keys.is_empty() => {
                    let known = keys.len() as u64;
                    Arc::clone(&keys[usize::try_from(chance.below(known)).unwrap_or_default()])
                }
                _ => format!("c{number}-{}", keys.len()).into(),
            };
            if key.starts_with('c') {
                keys.push(Arc::clone(&key));
            }
            if chance.one_in(20) {
                connection = None;
            }
            self.operate(&key, &mut connection, &mut chance, &mut events);
            thread::sleep(Duration::from_micros(chance.below(8_000)));
        }
        events
    }

    fn operate(
        &self,
        key: &Arc<str>,
        connection: &mut Option<Connection>,
        chance: &mut Chance,
        events: &mut Vec<Event>,
    ) {
        for _ in 0..TRIES_MAX {
            if self.address().port() == 0 {
                // Nobody is there to send to; that is no event.
                thread::sleep(Duration::from_millis(5));
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                continue;
            }
            let event = self.send(key, connection);
            let definite = match &event.seen {
                Seen::Answer { .. } | Seen::Doubt | Seen::Strange(_) => true,
                Seen::Busy | Seen::NotRun | Seen::Nothing => false,
            };
            events.push(event);
            if definite {
                return;
            }
            thread::sleep(Duration::from_millis(1 + chance.below(15)));
        }
    }
}
