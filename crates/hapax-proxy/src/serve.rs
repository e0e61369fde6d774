//! `hapax serve`: the story of start and stop.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hapax::{Guard, Store};
use tokio::time::Instant;

use crate::assemble::{self, AssembleError, Opened};
use crate::config::{Config, PrincipalSource, Threads};
use crate::gateway::{Gateway, Site};
use crate::listen::{ListenConfig, Listener, Operations, Server, TlsIdentity};

/// Expired records removed by one turn of the sweep.
const SWEEP_RECORDS: NonZeroU32 = NonZeroU32::new(1_000).expect("is not zero");
/// Pause between turns when there is nothing left to remove.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// Pause between turns while there is, so that traffic comes first.
const SWEEP_BREATH: Duration = Duration::from_millis(20);

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    drain: Duration,
    guard: Guard,
    /// The operations of each core; one is held while the flows settle.
    operations: Arc<Mutex<Vec<Operations>>>,
    server: Server,
    sweep: tokio::task::JoinHandle<()>,
}

/// Opens, binds and starts everything. Must be called within a tokio runtime, which administration
/// and background work then use.
///
/// # Errors
/// [`AssembleError`], with everything that had been started ended again.
pub async fn start(config: Config) -> Result<Running, AssembleError> {
    let listener = bind(&config)?;
    let opened = {
        let config = config.clone();
        let opening = tokio::task::spawn_blocking(move || assemble::open_store(&config)).await;
        opening
            .map_err(|error| AssembleError::unavailable(format!("failed to open: {error}")))??
    };
    let site = Arc::new(assemble::site(&config, &opened, Arc::new(hapax::event::Silent))?);
    let guard = site.guard.clone();
    announce(&config, &opened, &listener);
    let operations: Arc<Mutex<Vec<Operations>>> = Arc::default();
    let server = serve(&config, listener, &site, &operations)?;
    let sweep = tokio::spawn(sweep(Arc::clone(&opened.store)));
    Ok(Running { drain: config.drain, guard, operations, server, sweep })
}

impl Running {
    /// The address of the data port.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    /// Refuses new work, waits for what runs, settles the rest as unknown, and ends (ruling 18).
    pub async fn stop(self) {
        let held: Vec<_> = {
            let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
            operations.iter().map(Operations::begin).collect()
        };
        // Settling needs the cores, so it must be done a little before they are cut.
        let margin = (self.drain / 10).min(Duration::from_secs(1));
        let guard = self.guard.clone();
        let deadline = Instant::now() + (self.drain - margin);
        let flows = async move {
            guard.drain(deadline).await;
            drop(held);
        };
        let (drained, ()) = tokio::join!(self.server.drain(self.drain), flows);
        tracing::info!(
            connections_cut = drained.connections_cut,
            operations_cut = drained.operations_cut,
            "stopped"
        );
        self.sweep.abort();
    }
}

fn bind(config: &Config) -> Result<Listener, AssembleError> {
    let tls = match &config.tls {
        None => None,
        Some(tls) => Some(
            TlsIdentity::from_pem_files(&tls.cert, &tls.key)
                .map_err(|error| AssembleError::config(format!("[tls]: {error}")))?,
        ),
    };
    let settings =
        ListenConfig { connections_max: config.connections_max, tls, ..ListenConfig::default() };
    Listener::bind(config.listen, settings)
        .map_err(|error| AssembleError::unavailable(format!("failed to {error}")))
}

fn serve(
    config: &Config,
    listener: Listener,
    site: &Arc<Site>,
    operations: &Arc<Mutex<Vec<Operations>>>,
) -> Result<Server, AssembleError> {
    let threads = match config.threads {
        Threads::Auto => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        Threads::Count(threads) => threads,
    };
    let (site, operations) = (Arc::clone(site), Arc::clone(operations));
    let make_handler = move |core: crate::listen::Core| {
        let mut all = operations.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(core.operations.clone());
        Gateway::new(core, Arc::clone(&site))
    };
    listener
        .serve(threads, make_handler)
        .map_err(|error| AssembleError::unavailable(format!("failed to {error}")))
}

/// One line per listener, and what the store promises.
fn announce(config: &Config, opened: &Opened, listener: &Listener) {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{} for {}", listener.local_addr(), config.upstream);
    println!("store {}: {}", config.store, opened.store.guarantees().summary);
    let anonymous =
        config.routes.iter().any(|route| matches!(route.principal, PrincipalSource::Authorization));
    if anonymous {
        println!(
            "requests without Authorization and X-API-Key share one scope, told apart by their \
             cookies alone; set `principal` where callers say otherwise who they are"
        );
    }
}

async fn sweep(store: Arc<dyn Store>) {
    loop {
        let swept = match store.sweep(SWEEP_RECORDS).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "failed to sweep");
                0
            }
        };
        tokio::time::sleep(if swept == 0 { SWEEP_PAUSE } else { SWEEP_BREATH }).await;
    }
}
