//! The upstream that the checker plays: it counts arrivals and answers by script.

pub(crate) mod connection;
pub(crate) mod reply;
pub(crate) mod station;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::port::Reserved;
pub(crate) use reply::{After, Framing, Gate, Reply};
pub(crate) use station::Station;

/// A listening upstream; requests find their station by the token in their target.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the port ours while nobody listens there.
    #[expect(dead_code, reason = "held, since dropping it gives the port up")]
    reserved: Option<Reserved>,
}

/// What connections need of the upstream.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stations: Mutex<Vec<Station>>,
    connections: AtomicU64,
}

impl Shared {
    /// The station a request belongs to: its token stands in the target or in the key.
    pub(crate) fn station(&self, target: &str, key: &str) -> Option<Station> {
        let stations = lock(&self.stations);
        let found = |text: &str| {
            stations.iter().find(|station| text.contains(station.token.as_str())).cloned()
        };
        found(target).or_else(|| found(key))
    }
}

impl Upstream {
    pub(crate) async fn listen(address: &str) -> std::io::Result<Self> {
        let mut addresses = tokio::net::lookup_host(address).await?;
        let mut reserved = addresses.next().and_then(|address| Reserved::at(address).ok());
        let listener = match &reserved {
            Some(reserved) => TcpListener::bind(reserved.address).await.ok(),
            None => None,
        };
        let listener = match listener {
            Some(listener) => listener,
            None => {
                // Not every system lets two sockets have an address.
                reserved = None;
                TcpListener::bind(address).await?
            }
        };
        let upstream = Self {
            address: listener.local_addr()?,
            reserved,
            shared: Arc::new(Shared::default()),
            accepting: Mutex::new(None),
        };
        upstream.accept(listener);
        Ok(upstream)
    }

    /// Registers a station; its token is unique in this process.
    pub(crate) fn station(&self, run: &str) -> Station {
        let mut stations = lock(&self.shared.stations);
        let station = Station::new(format!("st{}r{run}", stations.len()));
        stations.push(station.clone());
        station
    }

    /// Stops listening and drops every connection, as a crashed upstream would.
    pub(crate) async fn stop(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(task) = accepting {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again on the same address.
    pub(crate) async fn start(&self) -> std::io::Result<()> {
        if lock(&self.accepting).is_some() {
            return Ok(());
        }
        let mut tries = 0;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) if tries == 50 => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.accept(listener);
        Ok(())
    }

    fn accept(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            // Owned by this task, so that aborting it drops every connection with it.
            let mut open = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                open.spawn(connection::serve(stream, shared.clone(), number));
                while open.try_join_next().is_some() {}
            }
        });
        *lock(&self.accepting) = Some(task);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.accepting).take() {
            task.abort();
        }
    }
}

/// Takes a mutex whose holder cannot have left it half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
