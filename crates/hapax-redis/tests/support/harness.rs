//! Subjects of the conformance suite on a real server, each with keys of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hapax::Store;
use hapax::conformance::{Harness, Subject};
use hapax_redis::RedisStore;

use crate::support::{self, Place};

pub(crate) struct Redis {
    address: String,
}

impl Redis {
    pub(crate) fn new(variable: &str) -> Self {
        match support::address(variable) {
            Some(address) => Self { address },
            // Nothing has been shown and nothing is to be counted as passed.
            None => std::process::exit(0),
        }
    }
}

struct Keys {
    place: Place,
    store: Arc<RedisStore>,
}

#[async_trait]
impl Harness for Redis {
    async fn fresh(&self) -> Box<dyn Subject> {
        let place = Place::take(&self.address);
        let store = place.open(place.options()).await;
        Box::new(Keys { place, store })
    }

    /// The server's memory is the limit.
    async fn fresh_with_records_max(&self, _records_max: usize) -> Option<Box<dyn Subject>> {
        None
    }
}

#[async_trait]
impl Subject for Keys {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        Some(self.place.open(self.place.options()).await)
    }

    async fn advance(&self, by: Duration) {
        self.place.clock.advance(by);
    }

    async fn step_back(&self, by: Duration) -> bool {
        self.place.clock.step_back(by);
        true
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        let Self { place, store } = *self;
        drop(Arc::into_inner(store).expect("the case holds no handle"));
        let store = place.open(place.options()).await;
        Some(Box::new(Self { place, store }))
    }
}
