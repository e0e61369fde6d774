//! One case's place at the upstream: its script and what arrived there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::lock;
use super::reply::{Gate, Reply};
use crate::wire::Head;

/// A request as it arrived at the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub head: Head,
    pub body: Bytes,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Which of the upstream's connections carried it.
    pub connection: u64,
}

impl Arrival {
    pub(crate) fn method(&self) -> &str {
        self.head.word(0)
    }

    pub(crate) fn target(&self) -> &str {
        self.head.word(1)
    }

    pub(crate) fn key(&self) -> Option<String> {
        self.head.text("idempotency-key")
    }
}

/// A station is shared by the case and the upstream's connections.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    /// Stands in every target of the case.
    pub token: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    script: Mutex<Script>,
    arrivals: Mutex<Vec<Arrival>>,
    cut: Mutex<Vec<Head>>,
    /// Every gate that a reply of this station waits for or waited for.
    gates: Mutex<Vec<Gate>>,
    /// Bumped whenever anything arrives.
    changed: watch::Sender<u64>,
    body_bytes: watch::Sender<usize>,
}

#[derive(Debug)]
struct Script {
    once: VecDeque<Reply>,
    then: Reply,
}

impl Station {
    pub(crate) fn new(token: String) -> Self {
        let script = Script { once: VecDeque::new(), then: Reply::default() };
        let inner = Inner {
            script: Mutex::new(script),
            arrivals: Mutex::default(),
            cut: Mutex::default(),
            gates: Mutex::default(),
            changed: watch::Sender::new(0),
            body_bytes: watch::Sender::new(0),
        };
        Self { token, inner: Arc::new(inner) }
    }

    /// Answers every further arrival like this.
    pub(crate) fn reply(&self, reply: Reply) {
        self.remember_gates(&reply);
        let mut script = lock(&self.inner.script);
        script.once.clear();
        script.then = reply;
    }

    /// Answers like this once the replies for the next arrivals are used up.
    pub(crate) fn reply_later(&self, reply: Reply) {
        self.remember_gates(&reply);
        lock(&self.inner.script).then = reply;
    }

    /// Answers the next arrivals with these, and later ones as before.
    pub(crate) fn reply_once(&self, replies: impl IntoIterator<Item = Reply>) {
        for reply in replies {
            self.remember_gates(&reply);
            lock(&self.inner.script).once.push_back(reply);
        }
    }

    fn remember_gates(&self, reply: &Reply) {
        let gates = [&reply.gate, &reply.body_gate].into_iter().flatten().cloned();
        lock(&self.inner.gates).extend(gates);
    }

    /// Complete requests that arrived, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.inner.arrivals).clone()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.inner.arrivals).len()
    }

    /// Requests of which only a part arrived.
    pub(crate) fn cut_count(&self) -> usize {
        lock(&self.inner.cut).len()
    }

    /// Waits until so many complete requests arrived; false when they did not in time.
    pub(crate) async fn wait_count(&self, count: usize, within: Duration) -> bool {
        let mut changed = self.inner.changed.subscribe();
        let arrived = changed.wait_for(|_| self.count() >= count);
        matches!(tokio::time::timeout(within, arrived).await, Ok(Ok(_)))
    }

    /// Waits until so many bytes of request content were seen, complete or not.
    pub(crate) async fn wait_body_bytes(&self, count: usize, within: Duration) -> bool {
        let mut seen = self.inner.body_bytes.subscribe();
        matches!(
            tokio::time::timeout(within, seen.wait_for(|bytes| *bytes >= count)).await,
            Ok(Ok(_))
        )
    }

    /// Takes a complete request in and hands out its reply.
    pub(crate) fn arrive(&self, arrival: Arrival) -> Reply {
        let number = {
            let mut arrivals = lock(&self.inner.arrivals);
            arrivals.push(arrival);
            arrivals.len()
        };
        let reply = {
            let mut script = lock(&self.inner.script);
            script.once.pop_front().unwrap_or_else(|| script.then.clone())
        };
        self.inner.changed.send_modify(|version| *version += 1);
        reply.filled(number)
    }

    /// Whether the next reply is to be given on the head alone.
    pub(crate) fn answers_early(&self) -> bool {
        let script = lock(&self.inner.script);
        script.once.front().unwrap_or(&script.then).early
    }

    pub(crate) fn arrive_cut(&self, head: Head) {
        lock(&self.inner.cut).push(head);
        self.inner.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn saw_body(&self, bytes: usize) {
        self.inner.body_bytes.send_modify(|seen| *seen += bytes);
    }

    /// Opens every gate, so that no connection waits for an ended case.
    pub(crate) fn open_gates(&self) {
        for gate in lock(&self.inner.gates).iter() {
            gate.open();
        }
    }
}
