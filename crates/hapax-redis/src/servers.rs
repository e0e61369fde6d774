//! All servers of a store, and how a step finds the one that holds its record.
//!
//! The `redis` crate knows clusters too. It repeats what failed by itself, and in the end tells only
//! the last error: a step that was lost on its way and then refused elsewhere would read as never done.
//! Whether a step may have happened is the one thing that an outage must not get wrong, so the way
//! through a cluster is gone here, one try at a time, and what was ever sent is remembered.

mod members;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hapax::StoreError;
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep};

use crate::address::{Address, Host};
use crate::driver::Driver;
use crate::error::{Outage, Refusal, Trouble};
use crate::line::{Greeting, Identity, Line};
use crate::options::RedisOptions;
use crate::script::Call;
use crate::slots::{Map, Node, slot_of};
use crate::wait::Wait;

/// Tries of one step at most, redirections and all.
const TURNS_MAX: u32 = 24;

/// How long to wait where the same may succeed in a moment.
const PAUSE: Duration = Duration::from_millis(20);

/// The servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) address: Address,
    connections: u32,
    driver: Driver,
    /// Why claims are refused at the moment, if they are.
    foreign: Mutex<Option<String>>,
    pub(crate) identity: Identity,
    map: Mutex<Arc<Map>>,
    /// Held by who asks the cluster; when that was done last.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    /// What the address names.
    seeds: Vec<Arc<Node>>,
    timeout: Duration,
    /// Steps so far: they take the connections in turn.
    turns: AtomicUsize,
    wait: Wait,
}

/// What is known of a step that is on its way.
struct Search {
    /// Who is to be asked, this once.
    asked: Option<Host>,
    /// Which of a server's connections it takes.
    line: usize,
    /// Whether it may have happened.
    sent: bool,
    /// Whether the server is to be told the whole script.
    whole: bool,
}

impl Servers {
    pub(crate) fn new(
        address: Address,
        options: &RedisOptions,
        identity: Identity,
        driver: Driver,
    ) -> Result<Self, Trouble> {
        let mut servers = Self {
            address,
            connections: options.connections.max(1),
            driver,
            foreign: Mutex::default(),
            identity,
            map: Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            seeds: Vec::new(),
            timeout: options.store_timeout,
            turns: AtomicUsize::new(0),
            wait: Wait::of(options),
        };
        let greeting = if servers.address.cluster {
            Greeting::Any
        } else {
            Greeting::Identity(servers.identity.clone())
        };
        for host in servers.address.hosts.clone() {
            let node = servers.node(host, None, &greeting)?;
            servers.seeds.push(node);
        }
        if let (false, Some(only)) = (servers.address.cluster, servers.seeds.first()) {
            servers.map = Mutex::new(Arc::new(Map::standalone(Arc::clone(only))));
        }
        Ok(servers)
    }

    pub(crate) const fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) const fn wait(&self) -> Wait {
        self.wait
    }

    /// Why claims are refused at the moment, if they are.
    pub(crate) fn foreign(&self) -> Option<String> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does a step, within the time that one operation may take.
    ///
    /// Cancel-safe: a step whose future is dropped has happened, happens yet, or never will.
    pub(crate) async fn call(&self, call: &Call) -> Result<Value, StoreError> {
        let deadline = self.deadline();
        let line = self.turns.fetch_add(1, Ordering::Relaxed);
        let mut search = Search { asked: None, line, sent: false, whole: false };
        for _ in 0..TURNS_MAX {
            if let Some(answer) = self.turn(call, &mut search, deadline).await? {
                return Ok(answer);
            }
        }
        Err(Trouble::Unreached(Outage::Redirected).into_error(search.sent))
    }

    /// One try; `None` if another one may succeed.
    async fn turn(
        &self,
        call: &Call,
        search: &mut Search,
        deadline: Instant,
    ) -> Result<Option<Value>, StoreError> {
        let (map, slot) = (self.map(), slot_of(call.key()));
        let mut commands = Pipeline::new();
        let node = match search.asked.take() {
            Some(host) => {
                commands.cmd("ASKING");
                self.node_at(&map, host).map_err(|trouble| trouble.into_error(search.sent))?
            }
            None => match map.owner(slot) {
                Some(node) => Arc::clone(node),
                None => {
                    let refreshed = self.refresh(&map, None, deadline).await;
                    refreshed.map_err(|trouble| trouble.into_error(search.sent))?;
                    if self.map().owner(slot).is_none() {
                        sleep(PAUSE).await;
                    }
                    return Ok(None);
                }
            },
        };
        commands.add_command(call.command(search.whole));
        let waits = call.step().writes() && self.wait.add_to(&mut commands, deadline);
        match node.line(search.line).send(&commands, deadline).await {
            Ok(mut answers) => {
                let waited = if waits { answers.pop() } else { None };
                match answers.pop().unwrap_or(Value::Nil) {
                    Value::ServerError(error) => {
                        let refusal = Refusal::of(&error, &node.host, self.address.cluster);
                        self.go_on(refusal, &map, &node, slot, search, deadline).await?;
                        Ok(None)
                    }
                    answer => {
                        waited.map_or(Ok(()), |waited| self.wait.judge(&waited))?;
                        Ok(Some(answer))
                    }
                }
            }
            Err(Trouble::Lost(_)) if !search.sent && call.step().repeats() => {
                search.sent = true;
                Ok(None)
            }
            Err(trouble @ Trouble::Unreached(_)) if self.address.cluster => {
                let refreshed = self.refresh(&map, None, deadline).await;
                let elsewhere =
                    self.map().owner(slot).is_some_and(|owner| !Arc::ptr_eq(owner, &node));
                match refreshed {
                    Ok(()) if elsewhere => Ok(None),
                    Err(foreign @ Trouble::Foreign(_)) => Err(foreign.into_error(search.sent)),
                    Ok(()) | Err(_) => Err(trouble.into_error(search.sent)),
                }
            }
            Err(trouble) => Err(trouble.into_error(search.sent)),
        }
    }

    /// What a server refused may be for another one, or for another moment.
    async fn go_on(
        &self,
        refusal: Refusal,
        map: &Map,
        node: &Arc<Node>,
        slot: u16,
        search: &mut Search,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        match refusal {
            Refusal::Ask(host) => search.asked = Some(host),
            Refusal::Demoted(error) => {
                // The name may lead to the new master by now, or the cluster know it.
                node.all_lines().for_each(Line::renew);
                if !self.address.cluster {
                    return Err(certain_unless(error, search.sent));
                }
                self.follow(map, node, slot, deadline).await;
            }
            Refusal::Moved => self.follow(map, node, slot, deadline).await,
            Refusal::NoScript => search.whole = true,
            Refusal::Over(error) => return Err(certain_unless(error, search.sent)),
            Refusal::TryAgain => sleep(PAUSE).await,
        }
        Ok(())
    }

    /// Asks who holds the slot now, or waits a moment until somebody knows.
    async fn follow(&self, map: &Map, node: &Arc<Node>, slot: u16, deadline: Instant) {
        // Servers that do not answer do not end the search: the next try may.
        let _failed = self.refresh(map, Some(node), deadline).await;
        if self.map().owner(slot).is_none_or(|owner| Arc::ptr_eq(owner, node)) {
            sleep(PAUSE).await;
        }
    }

    /// Asks a server for something that is no step. Errors of the server are among the answers.
    pub(crate) async fn ask(
        &self,
        node: &Node,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, StoreError> {
        let answers = node.admin.send(commands, deadline).await;
        answers.map_err(|trouble| trouble.into_error(false))
    }

    /// All servers that hold records.
    pub(crate) async fn masters(&self, deadline: Instant) -> Result<Vec<Arc<Node>>, StoreError> {
        let mut map = self.map();
        if self.address.cluster {
            // Where records have moved since would be missed, or looked for in vain.
            let refreshed = self.refresh(&map, None, deadline).await;
            match refreshed {
                Ok(()) => map = self.map(),
                Err(trouble) if map.nodes.is_empty() => return Err(trouble.into_error(false)),
                Err(_) => {}
            }
        }
        Ok(map.nodes.clone())
    }

    /// The servers that held records when last asked.
    pub(crate) fn nodes_with_records(&self) -> Vec<Arc<Node>> {
        self.map().nodes.clone()
    }

    /// Servers one could listen at, the likeliest first.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        let map = self.map();
        let seeds = self.seeds.iter().filter(|_| self.address.cluster);
        map.nodes.iter().chain(seeds).cloned().collect()
    }

    /// Asks whose records the servers hold by now, and refuses claims while it is somebody else's.
    /// What cannot be asked changes nothing.
    pub(crate) async fn watch(&self) {
        let deadline = self.deadline();
        let map = self.map();
        let Some(node) = map.owner(slot_of(&self.identity.key)) else { return };
        match node.admin.send(&self.question(), deadline).await {
            Ok(answers) => match answers.first() {
                Some(Value::ServerError(_)) => {
                    let _untold = self.refresh(&map, Some(node), deadline).await;
                }
                answer => self.refuse(self.identity.objection(answer)),
            },
            Err(Trouble::Foreign(why)) => self.refuse(Some(why)),
            Err(Trouble::Late(_) | Trouble::Lost(_) | Trouble::Unreached(_)) => {
                // Another server may be where it was.
                if let Err(Trouble::Foreign(why)) = self.refresh(&map, None, deadline).await {
                    self.refuse(Some(why));
                }
            }
        }
    }

    /// Lets no connection fall silent: what goes between may forget it, and a step sent into the void
    /// has an unknown effect.
    pub(crate) async fn keep_alive(&self) {
        let deadline = self.deadline();
        for node in &self.map().nodes {
            futures_util::future::join_all(node.all_lines().map(|line| line.keep_alive(deadline)))
                .await;
        }
    }

    fn refuse(&self, why: Option<String>) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(why)) = (&*foreign, &why) {
            tracing::error!(address = %self.address, "claims are refused: {why}");
        }
        *foreign = why;
    }

    fn question(&self) -> Pipeline {
        let mut commands = Pipeline::new();
        commands.add_command(self.identity.question());
        commands
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An error that says what this try did, when an earlier one may have done more.
fn certain_unless(error: StoreError, sent: bool) -> StoreError {
    if sent { StoreError::unknown(error) } else { error }
}
