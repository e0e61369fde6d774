//! Impatient clients: each operation is retried under its key until its outcome is definite.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Chance, Connection, Request, STUCK, holds_within};

use super::history::{Event, Seen};

/// Tries of one operation; far more than the restarts that one can meet.
const TRIES_MAX: usize = 60;

/// How long a life may last without an answer.
const FRUIT_MAX: Duration = Duration::from_secs(4);

/// How many ask at once at the end.
const LAST_CLIENTS: usize = 10;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Where the gateways are now.
    addresses: Mutex<Vec<Option<SocketAddr>>>,
    /// Complete answers, but for replays.
    answers: AtomicUsize,
    /// Orders everything that is seen.
    clock: AtomicU64,
    /// Numbers the keys that all clients use at once.
    hot: AtomicU64,
    replays: AtomicUsize,
    stop: AtomicBool,
    /// Whose turn it is among the gateways that live.
    turn: AtomicUsize,
}

/// Traffic that flows until this is dropped.
struct Flow<'a>(&'a AtomicBool);

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Traffic {
    /// Between clients and so many gateways.
    pub(crate) fn new(gateways: usize) -> Self {
        Self {
            addresses: Mutex::new(vec![None; gateways]),
            answers: AtomicUsize::new(0),
            clock: AtomicU64::new(0),
            hot: AtomicU64::new(0),
            replays: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }
    }

    /// Says where a gateway is, or that it is not there.
    pub(crate) fn point(&self, gateway: usize, address: Option<SocketAddr>) {
        self.addresses()[gateway] = address;
    }

    /// Lets clients send while `work` is done: what comes of it, and all that they saw. They stop when
    /// it fails, too.
    pub(crate) fn during<T>(
        &self,
        clients: usize,
        seed: u64,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<Event>) {
        thread::scope(|scope| {
            let flow = Flow(&self.stop);
            let clients: Vec<_> = (0..clients)
                .map(|number| {
                    let chance = Chance::new(seed ^ (number as u64 + 1));
                    scope.spawn(move || self.client(number, chance))
                })
                .collect();
            let done = work();
            drop(flow);
            let events = clients.into_iter().flat_map(|client| client.join().unwrap());
            (done, events.collect())
        })
    }

    /// Lets all clients turn to one new key.
    pub(crate) fn next_hot(&self) {
        self.hot.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether there was enough of it to say anything: more answers than this, and a replay. On a busy
    /// machine lives are short.
    pub(crate) fn is_enough(&self, answers: usize) -> bool {
        self.answers.load(Ordering::SeqCst) > answers && self.replays.load(Ordering::SeqCst) > 0
    }

    /// Lets a life last until something came of it, most of the time, and not for ever: on a busy machine
    /// it would else end before anything did.
    pub(crate) fn bear_fruit(&self, chance: &mut Chance) {
        if !chance.one_in(4) {
            let enough = self.answers.load(Ordering::SeqCst) + 2;
            holds_within(FRUIT_MAX, || self.answers.load(Ordering::SeqCst) >= enough);
            thread::sleep(Duration::from_micros(chance.below(20_000)));
        }
    }

    /// This moment in the order of all events.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<Option<SocketAddr>>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A living gateway, another one each time.
    fn address(&self) -> Option<SocketAddr> {
        let living: Vec<_> = self.addresses().iter().flatten().copied().collect();
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        living.get(turn % living.len().max(1)).copied()
    }

    fn has_several(&self) -> bool {
        self.addresses().len() > 1
    }

    /// Sends one request under `key`, on `connection` if it is still good, else to any gateway.
    pub(crate) fn send(&self, key: &Arc<str>, connection: &mut Option<Connection>) -> Event {
        let request = Request::payment(key).body(format!("pay {key}").as_bytes());
        let start = self.now();
        let seen = match connection.take().map_or_else(|| self.connect(), Ok) {
            Ok(mut open) => {
                let answer = open.call(&request);
                if answer.is_ok() {
                    *connection = Some(open);
                }
                Seen::of(answer)
            }
            Err(_) => Seen::Nothing,
        };
        if let Seen::Answer { replayed, .. } = seen {
            let count = if replayed { &self.replays } else { &self.answers };
            count.fetch_add(1, Ordering::SeqCst);
        }
        Event { end: self.now(), key: Arc::clone(key), seen, start }
    }

    fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.address().ok_or(io::ErrorKind::NotConnected)?)
    }

    /// One client, until it is told to stop.
    fn client(&self, number: usize, mut chance: Chance) -> Vec<Event> {
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
            if self.has_several() && chance.one_in(3) {
                *connection = None;
            }
            if self.address().is_none() {
                // Nobody is there to send to; that is no event.
                thread::sleep(Duration::from_millis(5));
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                continue;
            }
            let event = self.send(key, connection);
            let pause = match &event.seen {
                Seen::Answer { .. } | Seen::Doubt | Seen::Strange(_) => None,
                Seen::Busy | Seen::Nothing => Some(1 + chance.below(15)),
                // Whoever is told to come later leaves the machine to the store's recovery.
                Seen::NotRun => Some(20 + chance.below(150)),
            };
            events.push(event);
            let Some(pause) = pause else { return };
            if self.stop.load(Ordering::SeqCst) {
                // Every key is asked for again in the end.
                return;
            }
            thread::sleep(Duration::from_millis(pause));
        }
    }

    /// What every key of these events shows when nothing is killed any more. A key whose settlement
    /// may still be tried again is asked again, for as long as `patience` lasts.
    pub(crate) fn ask_for_every_key(&self, events: &[Event], patience: Duration) -> Vec<Event> {
        let mut keys: BTreeMap<&Arc<str>, bool> = BTreeMap::new();
        for event in events {
            *keys.entry(&event.key).or_default() |= matches!(event.seen, Seen::Answer { .. });
        }
        let keys: Vec<_> = keys.into_iter().collect();
        let begun = Instant::now();
        thread::scope(|scope| {
            let parts: Vec<_> = keys
                .chunks(keys.len().div_ceil(LAST_CLIENTS).max(1))
                .map(|part| {
                    let ask = move |(key, answered): &(&Arc<str>, bool)| {
                        self.ask_at_last(key, *answered, begun, patience)
                    };
                    scope.spawn(move || part.iter().map(ask).collect::<Vec<_>>())
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        })
    }

    fn ask_at_last(
        &self,
        key: &Arc<str>,
        answered: bool,
        begun: Instant,
        patience: Duration,
    ) -> Event {
        loop {
            let event = self.send(key, &mut None);
            let limit = match &event.seen {
                Seen::Answer { .. } | Seen::Strange(_) => Duration::ZERO,
                Seen::Doubt if !answered => Duration::ZERO,
                Seen::Busy | Seen::Doubt => patience,
                // Whoever was told that nothing ran, or nothing at all, comes again.
                Seen::NotRun | Seen::Nothing => patience.max(STUCK),
            };
            if begun.elapsed() >= limit {
                return event;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
