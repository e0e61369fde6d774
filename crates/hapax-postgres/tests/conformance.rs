//! The store contract, by the suite that every store passes, on a real server: with statements
//! prepared, with statements sent whole as through a pooler, and with claims that could be committed
//! through the store and are not.

mod support;

#[path = "support/seated.rs"]
mod seated_store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hapax::Store;
use hapax::conformance::{Harness, Subject};
use hapax_postgres::{PgOptions, PgStore};
use seated_store::Seated;
use support::Place;

struct Postgres {
    mode: Mode,
    server: String,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Prepared,
    Seated,
    Whole,
}

impl Postgres {
    fn new(mode: Mode) -> Self {
        match support::server_url() {
            Some(server) => Self { mode, server },
            // Nothing has been shown and nothing is to be counted as passed.
            None => std::process::exit(0),
        }
    }
}

struct Schema {
    mode: Mode,
    place: Place,
    server: String,
    store: Arc<PgStore>,
}

impl Schema {
    async fn open(place: &Place, mode: Mode) -> Arc<PgStore> {
        place.open(PgOptions { pooled: mode == Mode::Whole, ..place.options() }).await
    }

    fn handle(&self, store: Arc<PgStore>) -> Arc<dyn Store> {
        match self.mode {
            Mode::Prepared | Mode::Whole => store,
            Mode::Seated => Arc::new(Seated {
                schema: self.place.schema.clone(),
                server: self.server.clone(),
                store,
            }),
        }
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn fresh(&self) -> Box<dyn Subject> {
        let place = Place::take(&self.server).await;
        let store = Schema::open(&place, self.mode).await;
        Box::new(Schema { mode: self.mode, place, server: self.server.clone(), store })
    }

    /// Counting rows exactly would cost every claim a scan; the server's disk is the limit.
    async fn fresh_with_records_max(&self, _records_max: usize) -> Option<Box<dyn Subject>> {
        None
    }
}

#[async_trait]
impl Subject for Schema {
    fn store(&self) -> Arc<dyn Store> {
        self.handle(self.store.clone())
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        Some(self.handle(Self::open(&self.place, self.mode).await))
    }

    async fn advance(&self, by: Duration) {
        self.place.clock.advance(by);
    }

    async fn step_back(&self, by: Duration) -> bool {
        self.place.clock.step_back(by);
        true
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        let Self { mode, place, server, store } = *self;
        drop(Arc::into_inner(store).expect("the case holds no handle"));
        let store = Self::open(&place, mode).await;
        Some(Box::new(Self { mode, place, server, store }))
    }
}

mod prepared {
    use super::{Mode, Postgres};
    hapax::store_conformance!(Postgres::new(Mode::Prepared));
}

mod whole {
    use super::{Mode, Postgres};
    hapax::store_conformance!(Postgres::new(Mode::Whole));
}

mod seated {
    use super::{Mode, Postgres};
    hapax::store_conformance!(Postgres::new(Mode::Seated));
}
