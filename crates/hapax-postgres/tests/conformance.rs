//! The store contract, by the suite that every store passes, on a real server: with statements
//! prepared, and with statements sent whole as through a pooler.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hapax::Store;
use hapax::conformance::{Harness, Subject};
use hapax_postgres::{PgOptions, PgStore};
use support::Place;

struct Postgres {
    pooled: bool,
    server: String,
}

impl Postgres {
    fn new(pooled: bool) -> Self {
        match support::server_url() {
            Some(server) => Self { pooled, server },
            // Nothing has been shown and nothing is to be counted as passed.
            None => std::process::exit(0),
        }
    }
}

struct Schema {
    place: Place,
    pooled: bool,
    store: Arc<PgStore>,
}

impl Schema {
    async fn open(place: &Place, pooled: bool) -> Arc<PgStore> {
        place.open(PgOptions { pooled, ..place.options() }).await
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn fresh(&self) -> Box<dyn Subject> {
        let place = Place::take(&self.server).await;
        let store = Schema::open(&place, self.pooled).await;
        Box::new(Schema { place, pooled: self.pooled, store })
    }

    /// Counting rows exactly would cost every claim a scan; the server's disk is the limit.
    async fn fresh_with_records_max(&self, _records_max: usize) -> Option<Box<dyn Subject>> {
        None
    }
}

#[async_trait]
impl Subject for Schema {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        Some(Self::open(&self.place, self.pooled).await)
    }

    async fn advance(&self, by: Duration) {
        self.place.clock.advance(by);
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        let Self { place, pooled, store } = *self;
        drop(Arc::into_inner(store).expect("the case holds no handle"));
        let store = Self::open(&place, pooled).await;
        Some(Box::new(Self { place, pooled, store }))
    }
}

mod prepared {
    use super::Postgres;
    hapax::store_conformance!(Postgres::new(false));
}

mod whole {
    use super::Postgres;
    hapax::store_conformance!(Postgres::new(true));
}
