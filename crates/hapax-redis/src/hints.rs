//! Hints between nodes: who settles what somebody was held for says so, who waits hears it. They save
//! polling and nothing else, so every part may lose them.
//!
//! The settling script itself publishes, and only if the record says that somebody was held. In a
//! cluster a message reaches the listeners at all servers, so one may listen at any; messages that stay
//! within their slot's server exist from Redis 7 on only.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::future::ready;
use hapax::RecordId;
use redis::aio::PubSub;
use redis::{Client, RedisError, RedisResult, Value};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::BroadcastStream;

use crate::servers::Servers;

/// Hints that a reader may be behind by before it misses some.
const READ_MAX: usize = 1_024;

/// How long to wait before listening again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A line that is silent for so long is tested: a connection may be gone without a word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long connecting, listening or testing the line may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The listening end.
#[derive(Debug)]
pub(crate) struct Hints {
    channel: String,
    heard: OnceLock<broadcast::Sender<RecordId>>,
    listener: OnceLock<JoinHandle<()>>,
}

impl Hints {
    pub(crate) const fn new(channel: String) -> Self {
        Self { channel, heard: OnceLock::new(), listener: OnceLock::new() }
    }

    /// Where hints are told.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// What other nodes tell, and this one. The first call starts to listen.
    pub(crate) fn hear(&self, servers: &Arc<Servers>) -> BoxStream<'static, RecordId> {
        let heard = self.heard.get_or_init(|| broadcast::Sender::new(READ_MAX));
        let reader = heard.subscribe();
        self.listener.get_or_init(|| {
            let (heard, channel) = (heard.clone(), self.channel.clone());
            let weak = Arc::downgrade(servers);
            servers.driver().spawn(async move { listen(&weak, &channel, &heard).await })
        });
        BroadcastStream::new(reader).filter_map(|hint| ready(hint.ok())).boxed()
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// Listens for ever, and again after each break, at one server after the other.
async fn listen(servers: &Weak<Servers>, channel: &str, heard: &broadcast::Sender<RecordId>) {
    let mut pause = RETRY_FIRST;
    let mut refusal_told = false;
    for turn in 0_usize.. {
        let begun = Instant::now();
        let Some(client) = next_client(servers, turn) else { return };
        let ended = match tune_in(&client, channel).await {
            Ok(listening) => {
                refusal_told = false;
                listen_once(listening, heard).await
            }
            Err(error) => {
                let refused = error.code() == Some("NOPERM");
                if refused && !refusal_told {
                    refusal_told = true;
                    tell_refusal(&error, channel);
                }
                Err(error)
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "listening for hints of other nodes was interrupted");
        }
        pause = if begun.elapsed() > RETRY_MAX { RETRY_FIRST } else { (pause * 2).min(RETRY_MAX) };
        sleep(pause).await;
    }
}

/// What connects to the server whose turn it is; `None` when the store is gone.
fn next_client(servers: &Weak<Servers>, turn: usize) -> Option<Client> {
    let servers = servers.upgrade()?;
    let nodes = servers.nodes();
    let node = nodes.get(turn % nodes.len().max(1))?;
    servers.address.client(&node.host).ok()
}

/// Everything works without hints but slowly, which nobody would trace to a missing right.
fn tell_refusal(error: &RedisError, channel: &str) {
    tracing::warn!(
        %error,
        "hints of other nodes are not heard, so who waits for one of their keys polls; allow the \
         store's user to listen: ACL SETUSER USER &{channel} +subscribe +publish +ping"
    );
}

async fn tune_in(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut listening = limited(client.get_async_pubsub()).await?;
    limited(listening.subscribe(channel)).await?;
    Ok(listening)
}

async fn listen_once(listening: PubSub, heard: &broadcast::Sender<RecordId>) -> RedisResult<()> {
    let (mut commands, mut messages) = listening.split();
    loop {
        match timeout(SILENCE_MAX, messages.next()).await {
            Ok(Some(message)) => {
                let text = std::str::from_utf8(message.get_payload_bytes()).unwrap_or_default();
                if let Some(id) = RecordId::parse(text) {
                    // Nobody may be reading at the moment.
                    let _nobody = heard.send(id);
                }
            }
            // The connection is gone.
            Ok(None) => return Ok(()),
            Err(_silent) => {
                limited(commands.ping::<Value>()).await?;
            }
        }
    }
}

async fn limited<T>(answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || RedisError::from((redis::ErrorKind::Io, "no answer came in time"));
    timeout(ANSWER_LIMIT, answer).await.unwrap_or_else(|_elapsed| Err(late()))
}
