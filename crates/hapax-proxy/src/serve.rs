//! `hapax serve`: the story of start and stop.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hapax::{Guard, Store};
use hapax_tower::Rules;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::admin::{self, AdminState};
use crate::assemble::{self, AssembleError};
use crate::audit::AuditLog;
use crate::config::{Config, PrincipalSource, StoreConfig, Threads};
use crate::gateway::{Gateway, Site};
use crate::listen::{Core, ListenConfig, Listener, Server, TlsIdentity};
use crate::metrics::{self, Metrics, REFRESH_PAUSE};
use crate::stores::{self, Opened};

/// Expired records removed by one turn of the sweep.
const SWEEP_RECORDS: NonZeroU32 = NonZeroU32::new(1_000).expect("is not zero");
/// Pause between turns when there is nothing left to remove.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// Pause between turns while there is, so that traffic comes first.
const SWEEP_BREATH: Duration = Duration::from_millis(20);

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    admin: JoinHandle<()>,
    admin_addr: SocketAddr,
    background: Vec<JoinHandle<()>>,
    drain: Duration,
    guard: Guard,
    ready: Arc<AtomicBool>,
    server: Server,
    stop_admin: oneshot::Sender<()>,
}

/// Opens, binds and starts everything, and says on standard output what it listens on and what the
/// store promises. Must be called within a tokio runtime, which administration and background work
/// then use.
///
/// # Errors
/// [`AssembleError`], with everything that had been started ended again.
pub async fn start(config: Config) -> Result<Running, AssembleError> {
    let rules = assemble::rules(&config)?;
    let listener = bind(&config)?;
    let (admin_listener, admin_addr) = bind_admin(&config).await?;
    let opened = stores::open(&config).await?;
    let metrics = Arc::new(Metrics::new(rules.iter().map(|rules| Arc::clone(&rules.route))));
    let site = Arc::new(assemble::site(&config, &opened, &rules, Arc::clone(&metrics) as _)?);
    let ready = Arc::new(AtomicBool::new(false));
    let local = listener.local_addr();
    let state = admin_state(&config, &opened, &site, rules, Arc::clone(&metrics), &ready, local)?;
    announce(&config, &opened, local, admin_addr);

    let server = serve(&config, listener, &site)?;
    ready.store(true, Ordering::Release);
    let (stop_admin, stopped) = oneshot::channel();
    let admin = tokio::spawn(admin::serve(admin_listener, admin::router(state), async {
        let _dropped = stopped.await;
    }));
    let background = background(&config, &opened.store, &metrics);
    let guard = site.guard.clone();
    let drain = config.drain;
    Ok(Running { admin, admin_addr, background, drain, guard, ready, server, stop_admin })
}

impl Running {
    /// The address of the data port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The address of the admin port.
    #[must_use]
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Refuses new work, waits for what runs, settles the rest as unknown, and ends (ruling 18).
    pub async fn stop(self) {
        self.ready.store(false, Ordering::Release);
        let guard = self.guard;
        let drained = self.server.drain(self.drain, async |by| guard.drain(by).await).await;
        tracing::info!(
            connections_cut = drained.connections_cut,
            operations_cut = drained.operations_cut,
            "stopped"
        );
        for task in self.background {
            task.abort();
        }
        let _gone = self.stop_admin.send(());
        let _ended = self.admin.await;
    }
}

/// Raises the limit of open files as far as the system lets it, and says where connections would
/// run out of it: each takes one file towards the client and at most one towards the upstream.
fn raise_file_limit(connections_max: usize) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_refused) => limit.current,
        };
        let wanted = 2 * connections_max as u64;
        if let Some(files) = current.filter(|files| *files < wanted) {
            tracing::info!(
                connections_max,
                files,
                "the limit of open files allows fewer connections; raise it with ulimit -n"
            );
        }
    }
}

fn bind(config: &Config) -> Result<Listener, AssembleError> {
    raise_file_limit(config.connections_max);
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

async fn bind_admin(config: &Config) -> Result<(TcpListener, SocketAddr), AssembleError> {
    let addr = config.admin.listen;
    let bound = TcpListener::bind(addr).await;
    let bound = bound.and_then(|listener| listener.local_addr().map(|local| (listener, local)));
    bound.map_err(|error| {
        AssembleError::unavailable(format!(
            "failed to bind admin.listen = \"{addr}\": {error}; choose another address or stop what \
             uses it"
        ))
    })
}

fn serve(config: &Config, listener: Listener, site: &Arc<Site>) -> Result<Server, AssembleError> {
    let threads = match config.threads {
        Threads::Auto => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        Threads::Count(threads) => threads,
    };
    let site = Arc::clone(site);
    let make_handler = move |core: Core| Gateway::new(core, Arc::clone(&site));
    listener
        .serve(threads, make_handler)
        .map_err(|error| AssembleError::unavailable(format!("failed to {error}")))
}

fn admin_state(
    config: &Config,
    opened: &Opened,
    site: &Site,
    rules: Vec<Rules>,
    metrics: Arc<Metrics>,
    ready: &Arc<AtomicBool>,
    local: SocketAddr,
) -> Result<AdminState, AssembleError> {
    // What a client on this machine most likely addressed; others say so when they search.
    let authorities = vec![local.to_string(), format!("localhost:{}", local.port())];
    Ok(AdminState {
        audit: audit(config)?,
        authorities,
        guard: site.guard.clone(),
        hosts: config.admin.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        is_loopback: config.admin.listen.ip().is_loopback(),
        metrics,
        ready: Arc::clone(ready),
        rules,
        secret: opened.secret.clone(),
        store_timeout: config.store_timeout,
        token: config.admin.token.clone(),
    })
}

/// Decisions outlive the process wherever records do.
fn audit(config: &Config) -> Result<AuditLog, AssembleError> {
    let StoreConfig::File(folder) = &config.store else {
        return Ok(AuditLog::in_memory());
    };
    let path = folder.join("audit.jsonl");
    AuditLog::open(&path).map_err(|error| {
        AssembleError::unavailable(format!("failed to open `{}`: {error}", path.display()))
    })
}

/// One line per listener, and what the store promises.
fn announce(config: &Config, opened: &Opened, local: SocketAddr, admin: SocketAddr) {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{local} for {}", config.upstream);
    println!("admin on http://{admin}");
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

fn background(
    config: &Config,
    store: &Arc<dyn Store>,
    metrics: &Arc<Metrics>,
) -> Vec<JoinHandle<()>> {
    let sizes = metrics::refresh(
        Arc::clone(metrics),
        Arc::clone(store),
        REFRESH_PAUSE,
        config.store_timeout,
    );
    vec![tokio::spawn(sizes), tokio::spawn(sweep(Arc::clone(store), Arc::clone(metrics)))]
}

async fn sweep(store: Arc<dyn Store>, metrics: Arc<Metrics>) {
    loop {
        let started = Instant::now();
        let swept = match store.sweep(SWEEP_RECORDS).await {
            Ok(swept) => swept,
            Err(error) => {
                tracing::warn!(%error, "failed to sweep");
                0
            }
        };
        metrics.swept(swept, started.elapsed());
        tokio::time::sleep(if swept == 0 { SWEEP_PAUSE } else { SWEEP_BREATH }).await;
    }
}
