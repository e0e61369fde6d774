//! The running server: its threads, the dealing of connections, and the drain.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::config::{ListenConfig, ListenError};
use super::connection::Handler;
use super::core::{self, Arrival, Core, Seat};
use super::operations::Operations;
use super::socket::Place;

/// How often a drain looks whether it is done.
const DRAIN_PERIOD: Duration = Duration::from_millis(5);

/// How long a drain gives the last answers to reach their clients, once no operation runs.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// What settling is begun before the limit of a drain, if that is long.
const SETTLE_MARGIN_MAX: Duration = Duration::from_secs(1);

/// How long the acceptor waits after the system refused a connection, for want of file descriptors
/// most of the time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far a server is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    Draining,
    Cut,
}

/// A running server. Dropping it cuts everything; [`Server::drain`] ends it well.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stage: watch::Sender<Stage>,
    seats: Arc<[Seat]>,
    threads: Vec<JoinHandle<()>>,
}

/// What a drain had to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Operations that were still running at the deadline.
    pub operations_cut: usize,
    /// Connections that were still open: upgrades, streams and slow readers.
    pub connections_cut: usize,
}

impl Server {
    pub(super) fn start<M, H>(
        socket: std::net::TcpListener,
        local_addr: SocketAddr,
        config: Arc<ListenConfig>,
        threads: NonZeroUsize,
        make_handler: Arc<M>,
    ) -> Result<Self, ListenError>
    where
        M: Fn(Core) -> H + Send + Sync + 'static,
        H: Handler,
    {
        let (stage, _) = watch::channel(Stage::Serving);
        let mut seats = Vec::new();
        let mut running = Vec::new();
        for index in 0..threads.get() {
            let fail = |source| ListenError::Start { core: index, source };
            let runtime = runtime().map_err(fail)?;
            let (inbox, arrivals) = mpsc::unbounded_channel();
            let operations = Operations::default();
            let core = Core { index, operations: operations.clone() };
            let (make, config, heard) =
                (Arc::clone(&make_handler), Arc::clone(&config), stage.subscribe());
            let body = async move {
                let handler = make(core.clone());
                core::run(core, handler, config, arrivals, heard).await;
            };
            running.push(spawn(format!("hapax-core-{index}"), runtime, body).map_err(fail)?);
            seats.push(Seat { inbox, connections: Arc::default(), operations });
        }
        let seats: Arc<[Seat]> = seats.into();
        let fail = |source| ListenError::Start { core: threads.get(), source };
        let runtime = runtime().map_err(fail)?;
        let (dealt, heard) = (Arc::clone(&seats), stage.subscribe());
        let body = async move {
            let accepting = accept(socket, &dealt, config.connections_max, heard);
            if let Err(error) = accepting.await {
                tracing::error!(%error, "the listener stopped");
            }
        };
        running.push(spawn("hapax-accept".to_owned(), runtime, body).map_err(fail)?);
        Ok(Self { local_addr, stage, seats, threads: running })
    }

    /// The address served.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// How many connections are open on all cores, upgraded ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seats.iter().map(|seat| seat.connections.load(Ordering::Acquire)).sum()
    }

    /// How many operations run on all cores.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.seats.iter().map(|seat| seat.operations.running()).sum()
    }

    /// Refuses new work and waits for the running operations for at most `limit`, then cuts what is
    /// left: upgrades, streams, and operations out of time (ruling 18). Needs a tokio runtime of the
    /// caller.
    ///
    /// When nothing runs any more, or else a little before the limit, `settle` is told the time until
    /// which it may wait, and ends what it knows of. That needs the cores, so they are cut when it is
    /// over, however late; it has to have a limit of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts everything at once.
    pub async fn drain(self, limit: Duration, settle: impl AsyncFnOnce(Instant)) -> Drained {
        let deadline = Instant::now() + limit;
        let settle_by = deadline - (limit / 10).min(SETTLE_MARGIN_MAX);
        self.stage.send_replace(Stage::Draining);
        self.finished(settle_by).await;
        settle(settle_by).await;
        self.finished(deadline).await;
        let operations_cut = self.operations();
        // Those who were told last have that time at least.
        let now = Instant::now();
        let flushed_by =
            if now < deadline { deadline.min(now + FLUSH_TIMEOUT) } else { now + FLUSH_TIMEOUT };
        let flushed = async {
            while self.connections() > 0 {
                sleep(DRAIN_PERIOD).await;
            }
        };
        let _streams_left = timeout_at(flushed_by, flushed).await;
        let drained = Drained { operations_cut, connections_cut: self.connections() };
        self.stage.send_replace(Stage::Cut);
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            sleep(DRAIN_PERIOD).await;
        }
        drained
    }

    /// Waits until no operation runs, at most until `deadline`.
    async fn finished(&self, deadline: Instant) {
        let finished = async {
            while self.operations() > 0 {
                sleep(DRAIN_PERIOD).await;
            }
        };
        let _out_of_time = timeout_at(deadline, finished).await;
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn spawn(
    name: String,
    runtime: Runtime,
    body: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(body);
        // Tasks are dropped here; a name lookup still under way must not hold up the exit.
        runtime.shutdown_background();
    })
}

/// Deals connections to the core that has the fewest, until the stage changes.
async fn accept(
    socket: std::net::TcpListener,
    seats: &[Seat],
    connections_max: usize,
    mut stage: watch::Receiver<Stage>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let next = AtomicUsize::new(0);
    loop {
        let accepted = tokio::select! {
            _ended = stage.wait_for(|stage| *stage != Stage::Serving) => return Ok(()),
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            } => accepted,
        };
        let Some((accepted, of_all)) = accepted else { return Ok(()) };
        let handed = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match handed {
            Ok((stream, peer)) => {
                if let Some(seat) = emptiest(seats, &next) {
                    let place = Place::take(&seat.connections, of_all);
                    // A core that has stopped drops what it is sent.
                    let _stopped = seat.inbox.send(Arrival { stream, peer, place });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The core with the fewest connections; equals take turns.
fn emptiest<'a>(seats: &'a [Seat], next: &AtomicUsize) -> Option<&'a Seat> {
    let start = next.fetch_add(1, Ordering::Relaxed) % seats.len().max(1);
    let (before, after) = seats.split_at_checked(start)?;
    after.iter().chain(before).min_by_key(|seat| seat.connections.load(Ordering::Acquire))
}
