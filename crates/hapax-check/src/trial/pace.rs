//! Waiting until the layer had time of its own, whatever its machine did meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use super::{ALICE, Log, Trial, Wire};
use crate::wire::Request;

/// A wait is this many steps without delay, one after the other.
const STEPS: u32 = 4;
/// Nobody is kept waiting for longer, since duplicates wait for ten seconds only.
const LONGER_MAX: Duration = Duration::from_secs(4);
/// Answers that take longer than this were delayed.
const PROMPT: Duration = Duration::from_millis(250);

impl Trial {
    /// Gives the layer this much time of its own to notice what happened to its connections: a wait
    /// in which every instance answers other requests promptly. Where one does not, or this machine
    /// stands still, the wait begins anew, for some seconds at most.
    pub(crate) async fn attend(&self, span: Duration) {
        let step = span / STEPS;
        let mut prompt = 0;
        let limit = Instant::now() + span + LONGER_MAX;
        while Instant::now() < limit {
            let began = Instant::now();
            tokio::time::sleep(step).await;
            for instance in 0..self.layer.instances.len() {
                self.probe(instance).await;
            }
            prompt = if began.elapsed() < step + PROMPT { prompt + 1 } else { 0 };
            if prompt == STEPS {
                break;
            }
        }
    }

    /// An unprotected request that belongs to no station; only that it was answered counts.
    async fn probe(&self, instance: usize) {
        let endpoint = &self.instance(instance).endpoint;
        let request = Request::new("GET", "/check/attend")
            .with("Host", endpoint.authority())
            .with("Authorization", ALICE)
            .with("Connection", "close");
        if let Ok(mut wire) = Wire::open(endpoint, Log::default()).await {
            wire.send(&request).await;
            let _answered = wire.read_within("GET", Duration::from_secs(2)).await;
        }
    }
}
