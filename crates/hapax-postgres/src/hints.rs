//! Hints between nodes: who settles says so, who waits hears it. They save polling and nothing else,
//! so every part may lose them: a queue that is full, a connection that breaks, a reader that is slow.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::future::ready;
use hapax::RecordId;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Executor as _, PgPool};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::BroadcastStream;

use crate::call::{Function, Value};
use crate::connections::Connections;
use crate::line::{ANSWER_LIMIT, Line};

/// Hints that wait to be sent; what comes beyond is not sent.
const SEND_MAX: usize = 4_096;

/// Hints sent at once.
const BATCH_MAX: usize = 256;

/// Hints that a reader may be behind by before it misses some.
const READ_MAX: usize = 1_024;

/// How long to wait before listening again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A line that is silent for so long is tested: a connection may be gone without a word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Both ends.
#[derive(Debug)]
pub(crate) struct Hints {
    channel: String,
    heard: OnceLock<broadcast::Sender<RecordId>>,
    line: Option<Line>,
    listener: OnceLock<JoinHandle<()>>,
    runtime: Handle,
    sender: JoinHandle<()>,
    to_send: mpsc::Sender<RecordId>,
}

impl Hints {
    /// Starts to send; listening starts when somebody asks. Needs a tokio runtime.
    pub(crate) fn start(connections: Arc<Connections>, schema: &str, line: Option<Line>) -> Self {
        let (to_send, queue) = mpsc::channel(SEND_MAX);
        let sender = tokio::spawn(send(connections, queue, Arc::from(schema)));
        Self {
            channel: schema.to_owned(),
            heard: OnceLock::new(),
            listener: OnceLock::new(),
            line,
            runtime: Handle::current(),
            sender,
            to_send,
        }
    }

    /// Tells the other nodes that this record was settled; never waits.
    pub(crate) fn tell(&self, id: RecordId) {
        let _full = self.to_send.try_send(id);
    }

    /// What other nodes tell, and this one; `None` where there is nowhere to listen.
    pub(crate) fn hear(&self) -> Option<BoxStream<'static, RecordId>> {
        let line = self.line.clone()?;
        let heard = self.heard.get_or_init(|| broadcast::Sender::new(READ_MAX));
        let reader = heard.subscribe();
        self.listener.get_or_init(|| {
            let (heard, channel) = (heard.clone(), self.channel.clone());
            self.runtime.spawn(async move { listen(line, &channel, &heard).await })
        });
        Some(BroadcastStream::new(reader).filter_map(|hint| ready(hint.ok())).boxed())
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.sender.abort();
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// Sends what is queued, as much as there is at once: while one batch is under way the next gathers.
async fn send(
    connections: Arc<Connections>,
    mut queue: mpsc::Receiver<RecordId>,
    channel: Arc<str>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let ids: Vec<u8> = batch.drain(..).flat_map(|id| *id.as_bytes()).collect();
        let values = vec![Value::Word(Arc::clone(&channel)), Value::Bytes(Some(ids.into()))];
        if let Err(error) = connections.call(Function::Wake, values).await {
            tracing::debug!(%error, "failed to send hints to other nodes");
        }
    }
}

/// Listens for ever, and again after each break.
async fn listen(mut line: Line, channel: &str, heard: &broadcast::Sender<RecordId>) {
    // The library listens only through a pool of its own kind.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_LIMIT)
        .connect_lazy_with(line.options().clone());
    let mut pause = RETRY_FIRST;
    loop {
        let begun = tokio::time::Instant::now();
        match tune_in(&pool, &line, channel).await {
            Ok(listener) => {
                line.tell_up();
                if let Err(error) = listen_once(listener, heard).await {
                    tracing::debug!(%error, "listening for hints of other nodes was interrupted");
                }
            }
            Err(reason) => line.tell_down(&reason),
        }
        pause = if begun.elapsed() > RETRY_MAX { RETRY_FIRST } else { (pause * 2).min(RETRY_MAX) };
        sleep(pause).await;
    }
}

/// A listener, or why there is none. The line is tried first: the pool goes on trying what cannot
/// succeed, and then does not say what it was.
async fn tune_in(pool: &PgPool, line: &Line, channel: &str) -> Result<PgListener, String> {
    line.check().await?;
    let listening = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        limited(listener.listen(channel)).await?;
        Ok(listener)
    };
    listening.await.map_err(|error| line.reason(&error))
}

async fn listen_once(
    mut listener: PgListener,
    heard: &broadcast::Sender<RecordId>,
) -> Result<(), sqlx::Error> {
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(hint))) => {
                if let Some(id) = RecordId::parse(hint.payload()) {
                    // Nobody may be reading at the moment.
                    let _nobody = heard.send(id);
                }
            }
            // The connection is gone.
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_silent) => {
                limited(listener.execute(sqlx::raw_sql("SELECT 1"))).await?;
            }
        }
    }
}

async fn limited<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(ANSWER_LIMIT, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
