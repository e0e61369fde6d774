//! One connection to one server, made anew when it breaks.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::address::Host;
use crate::error::{Outage, Trouble};
use crate::reply;

/// Commands that may wait for the connection's task; more wait in their callers.
const QUEUE_MAX: usize = 1_024;

/// What a server must say of itself before a connection to it is used.
#[derive(Clone, Debug)]
pub(crate) enum Greeting {
    /// Nothing.
    Any,
    /// That it holds this store's records, once it is known whose they are.
    Identity(Identity),
    /// That it is the cluster's node of this id.
    Member(String),
}

/// Whose store it is, and where that is written.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Set at opening, for good.
    pub(crate) digest: Arc<OnceLock<[u8; 32]>>,
    pub(crate) key: String,
}

/// A connection that any number of callers share.
#[derive(Debug)]
pub(crate) struct Line {
    client: Client,
    connecting: tokio::sync::Mutex<()>,
    driver: Handle,
    greeting: Greeting,
    host: Host,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is, so that nobody gives up another one than that which failed.
    number: u64,
}

impl Identity {
    pub(crate) fn question(&self) -> Cmd {
        let mut ask = redis::cmd("HGET");
        ask.arg(&self.key).arg("digest");
        ask
    }

    /// What is wrong with the answer, if anything is.
    pub(crate) fn objection(&self, answer: Option<&Value>) -> Option<String> {
        let digest = self.digest.get()?;
        match answer.and_then(reply::bytes) {
            Some(found) if found == digest => None,
            Some(_) => Some(
                "the records there were made with another `secret` or other scope rules".to_owned(),
            ),
            None => Some(
                "the records are gone: the server is another one or was flushed; start again if \
                 every key may run anew"
                    .to_owned(),
            ),
        }
    }
}

impl Line {
    pub(crate) fn new(client: Client, host: Host, greeting: Greeting, driver: Handle) -> Self {
        let (connecting, live) = Default::default();
        Self { client, connecting, driver, greeting, host, live }
    }

    /// Sends commands in one piece and gives their answers, errors of the server among them.
    ///
    /// Cancel-safe: what was handed over is sent or not, as a whole.
    pub(crate) async fn send(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Trouble> {
        let began = Instant::now();
        let (mut connection, number) = self.connection(deadline).await?;
        let answers = connection.send_packed_commands(commands, 0, commands.len());
        match timeout_at(deadline, answers).await {
            Ok(Ok(values)) if values.len() == commands.len() => Ok(values),
            Ok(Ok(_)) => {
                self.give_up(number);
                let source = broken("the server gave another number of answers");
                Err(Trouble::Lost(Outage::Lost { host: self.host.clone(), source }))
            }
            Ok(Err(source)) => {
                self.give_up(number);
                Err(Trouble::Lost(Outage::Lost { host: self.host.clone(), source }))
            }
            Err(_elapsed) => {
                // It may be gone without a word. Those who still wait for answers keep theirs.
                self.give_up(number);
                Err(Trouble::Late(Outage::NoAnswer {
                    host: self.host.clone(),
                    limit: began.elapsed(),
                }))
            }
        }
    }

    /// Makes the next command take a new connection, as the name may lead to another server by now.
    pub(crate) fn renew(&self) {
        let number = self.lock().number;
        self.give_up(number);
    }

    /// Asks for a sign of life, if there is a connection; one that gives none is given up.
    pub(crate) async fn keep_alive(&self, deadline: Instant) {
        if self.live().is_some() {
            let mut commands = Pipeline::new();
            commands.cmd("PING");
            // Whatever is wrong, the next step finds out.
            let _answer = self.send(&commands, deadline).await;
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<(MultiplexedConnection, u64), Trouble> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let began = Instant::now();
        let late = || {
            let limit = began.elapsed();
            Trouble::Unreached(Outage::NoConnection { host: self.host.clone(), limit })
        };
        // One connects, and the others wait for what comes of it.
        let turn = timeout_at(deadline, self.connecting.lock()).await;
        let _turn = turn.map_err(|_elapsed| late())?;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let (client, greeting) = (self.client.clone(), self.greeting.clone());
        let connecting =
            self.driver.spawn(async move { connect(&client, &greeting, deadline).await });
        match timeout_at(deadline, connecting).await {
            Ok(Ok(Ok(Greeted::Friend(connection)))) => {
                let mut live = self.lock();
                live.number += 1;
                live.connection = Some(connection.clone());
                Ok((connection, live.number))
            }
            Ok(Ok(Ok(Greeted::Foreign(why)))) => Err(Trouble::Foreign(why)),
            Ok(Ok(Ok(Greeted::Stranger))) => {
                Err(Trouble::Unreached(Outage::Stranger { host: self.host.clone() }))
            }
            Ok(Ok(Err(source))) => {
                Err(Trouble::Unreached(Outage::Connect { host: self.host.clone(), source }))
            }
            // Its time is over, or the thread's.
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

    fn live(&self) -> Option<(MultiplexedConnection, u64)> {
        let live = self.lock();
        live.connection.clone().map(|connection| (connection, live.number))
    }

    fn give_up(&self, number: u64) {
        let mut live = self.lock();
        if live.number == number {
            live.connection = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        // Nothing that can panic happens while it is held.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Greeted {
    Foreign(String),
    Friend(MultiplexedConnection),
    Stranger,
}

async fn connect(client: &Client, greeting: &Greeting, deadline: Instant) -> RedisResult<Greeted> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(remaining(deadline)))
        // Each caller has a time of its own.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE_MAX);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    match greeting {
        Greeting::Any => {}
        Greeting::Identity(identity) => {
            if identity.digest.get().is_some() {
                let answer = ask(&mut connection, &identity.question()).await?;
                if let Some(why) = identity.objection(Some(&answer)) {
                    return Ok(Greeted::Foreign(why));
                }
            }
        }
        Greeting::Member(id) => {
            let answer = ask(&mut connection, redis::cmd("CLUSTER").arg("MYID")).await?;
            if reply::bytes(&answer) != Some(id.as_bytes()) {
                return Ok(Greeted::Stranger);
            }
        }
    }
    Ok(Greeted::Friend(connection))
}

async fn ask(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection.send_packed_command(command).await?.extract_error()
}

/// What is left until then; never nothing, so that no limit of zero is taken for none.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn broken(why: &'static str) -> redis::RedisError {
    (redis::ErrorKind::Parse, why).into()
}
