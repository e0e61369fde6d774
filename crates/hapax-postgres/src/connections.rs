//! Connections to the server: a few, reused, each lent to one operation at a time.
//!
//! The library's own pool asks the server for a sign of life whenever a connection comes back. Here a
//! connection comes back only from an operation that ended well, and what was dropped, timed out or
//! failed is closed; so that one operation is one round trip, and nobody inherits another's trouble.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hapax::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::call::{Calls, Function, Value};
use crate::error::{Failure, Outage};

/// A connection that was idle for longer is asked for a sign of life before it is used: the server
/// may have been restarted since, and an operation sent into the void has an unknown effect.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Connections are closed at this age, so that servers behind one name share the load in the end.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// All connections of one store.
#[derive(Debug)]
pub(crate) struct Connections {
    calls: Calls,
    /// The latest one last: those that are not needed stay idle and age.
    idle: Mutex<Vec<Idle>>,
    options: PgConnectOptions,
    permits: Semaphore,
    timeout: Duration,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made: Instant,
    used: Instant,
}

/// A connection that is lent; closed unless it is given back.
struct Lent<'a> {
    connection: PgConnection,
    made: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    pub(crate) fn new(
        options: PgConnectOptions,
        calls: Calls,
        connections_max: u32,
        timeout: Duration,
    ) -> Self {
        let permits = Semaphore::new((connections_max as usize).clamp(1, Semaphore::MAX_PERMITS));
        Self { calls, idle: Mutex::default(), options, permits, timeout }
    }

    /// Calls a function of the store's, within the time that one operation may take.
    ///
    /// Cancel-safe: a call whose future is dropped ends its connection; it has happened, happens
    /// yet, or never will.
    pub(crate) async fn call(
        &self,
        function: Function,
        values: Vec<Value>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut lent = self.lend(deadline).await?;
        let call = self.calls.make(&mut lent.connection, function, values);
        match timeout_at(deadline, call).await {
            Ok(Ok(rows)) => {
                self.give_back(lent);
                Ok(rows)
            }
            Ok(Err(error)) => {
                let Failure { error, reusable } = Failure::of(error);
                if reusable {
                    self.give_back(lent);
                }
                Err(error)
            }
            Err(_elapsed) => Err(StoreError::unknown(Outage::NoAnswer(self.timeout))),
        }
    }

    /// A connection for what is done at opening; [`adopt`](Self::adopt) keeps it.
    pub(crate) async fn connect(&self) -> Result<PgConnection, StoreError> {
        self.connect_by(Instant::now() + self.timeout).await
    }

    /// Takes a connection over that is ready for use.
    pub(crate) fn adopt(&self, connection: PgConnection) {
        let now = Instant::now();
        self.idle().push(Idle { connection, made: now, used: now });
    }

    /// Closes what is idle.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }

    async fn connect_by(&self, deadline: Instant) -> Result<PgConnection, StoreError> {
        match timeout_at(deadline, self.options.connect()).await {
            Ok(connected) => connected.map_err(|error| StoreError::none(Outage::Connect(error))),
            Err(_elapsed) => Err(StoreError::none(Outage::NoConnection(self.timeout))),
        }
    }

    async fn lend(&self, deadline: Instant) -> Result<Lent<'_>, StoreError> {
        let Ok(Ok(permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(StoreError::none(Outage::Busy(self.timeout)));
        };
        while let Some(Idle { mut connection, made, used }) = self.pop_idle() {
            if made.elapsed() > AGE_MAX {
                continue;
            }
            // A server that was restarted has closed them all: each is tried, none is waited for
            // past the deadline.
            let alive = used.elapsed() < TRUSTED_FOR
                || matches!(timeout_at(deadline, connection.ping()).await, Ok(Ok(())));
            if alive {
                return Ok(Lent { connection, made, _permit: permit });
            }
        }
        let connection = self.connect_by(deadline).await?;
        Ok(Lent { connection, made: Instant::now(), _permit: permit })
    }

    fn give_back(&self, lent: Lent<'_>) {
        let Lent { connection, made, _permit: permit } = lent;
        self.idle().push(Idle { connection, made, used: Instant::now() });
        // Whoever waits for the permit finds the connection.
        drop(permit);
    }

    fn pop_idle(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // Nothing that can panic happens while it is held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hapax::Effect;

    use super::*;

    /// Nothing is sent, as whoever has the connections gives none back in time.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_no_connection_was_lent_to_did_not_happen() {
        let calls = Calls::new("hapax", false);
        let timeout = Duration::from_secs(2);
        let connections = Connections::new(PgConnectOptions::new(), calls, 1, timeout);
        let began = Instant::now();
        let _lent = connections.permits.acquire().await.unwrap();
        let error = connections.call(Function::Stats, Vec::new()).await.unwrap_err();
        assert_eq!(error.effect(), Effect::None);
        assert!(error.to_string().contains("all connections were in use for 2000 ms"), "{error}");
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
