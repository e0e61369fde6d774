//! Who belongs to a cluster, and which of its servers holds what.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use super::Servers;
use crate::address::Host;
use crate::error::{Outage, Trouble, told};
use crate::line::{Greeting, Line};
use crate::slots::{Map, Node, Owner, read_owners, slot_of};

/// The cluster is asked who holds what not more often than this.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// How long one server may take to say who holds what, before another is asked.
const REFRESH_ANSWER_MAX: Duration = Duration::from_secs(1);

impl Servers {
    /// Asks the cluster who holds what, unless somebody has since `seen`; `first`, if anybody.
    ///
    /// A member of the cluster as it was known is believed. Any other server is only believed after
    /// this store's identity was read where its answer leads.
    pub(super) async fn refresh(
        &self,
        seen: &Map,
        first: Option<&Arc<Node>>,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        if !self.address.cluster {
            return Ok(());
        }
        let turn = timeout_at(deadline, self.refreshed.lock()).await;
        let mut refreshed = turn.map_err(|_elapsed| Trouble::Unreached(Outage::Unowned))?;
        let current = self.map();
        let recent = refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE);
        if current.generation != seen.generation || (recent && current.generation > 0) {
            return Ok(());
        }
        *refreshed = Some(Instant::now());
        let members = first.into_iter().chain(&current.nodes);
        let members = members.filter(|node| node.id.is_some()).map(|node| (node, true));
        let mut trouble = Trouble::Unreached(Outage::Unowned);
        for (node, member) in members.chain(self.seeds.iter().map(|node| (node, false))) {
            let is_last = self.seeds.last().is_some_and(|last| Arc::ptr_eq(last, node));
            // At opening nobody else waits for this, and after the last there is nobody else to ask.
            let limit = if current.generation == 0 && is_last {
                deadline
            } else {
                deadline.min(Instant::now() + REFRESH_ANSWER_MAX)
            };
            match self.learn(&current, node, member, limit).await {
                Ok(map) => {
                    *self.map.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
                    return Ok(());
                }
                // This is the one reason that more tries will not mend.
                Err(Trouble::Foreign(why)) => trouble = Trouble::Foreign(why),
                Err(other) if !matches!(trouble, Trouble::Foreign(_)) => trouble = other,
                Err(_) => {}
            }
        }
        // Asking changed nothing on any server.
        Err(match trouble {
            Trouble::Late(outage) | Trouble::Lost(outage) => Trouble::Unreached(outage),
            Trouble::Foreign(_) | Trouble::Unreached(_) => trouble,
        })
    }

    async fn learn(
        &self,
        current: &Map,
        asked: &Node,
        member: bool,
        deadline: Instant,
    ) -> Result<Map, Trouble> {
        let mut commands = Pipeline::new();
        commands.cmd("CLUSTER").arg("SLOTS");
        let answers = asked.admin.send(&commands, deadline).await?;
        if let Some(Value::ServerError(error)) = answers.first() {
            let text = told(error);
            return Err(Trouble::Unreached(Outage::Server { host: asked.host.clone(), text }));
        }
        let owners = answers.first().and_then(|answer| read_owners(answer, &asked.host));
        let owners = owners.filter(|owners| !owners.is_empty());
        let owners = owners.ok_or(Trouble::Unreached(Outage::Unowned))?;
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for owner in &owners {
            if nodes.iter().any(|node| owner.is(node)) {
                continue;
            }
            // Who stays keeps its connections.
            let known = current.nodes.iter().find(|node| owner.is(node));
            nodes.push(match known {
                Some(known) => Arc::clone(known),
                None => self.member(owner)?,
            });
        }
        let map = Map::of_cluster(current.generation + 1, nodes, &owners);
        if !member && self.identity.digest.get().is_some() {
            self.recognize(&map, deadline).await?;
        }
        Ok(map)
    }

    /// Reads whose records those are that a map leads to.
    async fn recognize(&self, map: &Map, deadline: Instant) -> Result<(), Trouble> {
        let owner = map.owner(slot_of(&self.identity.key));
        let owner = owner.ok_or(Trouble::Unreached(Outage::Unowned))?;
        let answers = owner.admin.send(&self.question(), deadline).await?;
        match answers.first() {
            Some(Value::ServerError(_)) => Err(Trouble::Unreached(Outage::Unowned)),
            answer => {
                self.identity.objection(answer).map_or(Ok(()), |why| Err(Trouble::Foreign(why)))
            }
        }
    }

    fn member(&self, owner: &Owner) -> Result<Arc<Node>, Trouble> {
        let greeting = Greeting::Member(owner.id.clone());
        self.node(owner.host.clone(), Some(owner.id.clone()), &greeting)
    }

    /// A server that another one named: one that is known, or one that holds no slot yet.
    pub(super) fn node_at(&self, map: &Map, host: Host) -> Result<Arc<Node>, Trouble> {
        match map.nodes.iter().find(|node| node.host == host) {
            Some(known) => Ok(Arc::clone(known)),
            None => self.node(host, None, &Greeting::Any),
        }
    }

    /// The connections to a server; none is made yet.
    pub(super) fn node(
        &self,
        host: Host,
        id: Option<String>,
        greeting: &Greeting,
    ) -> Result<Arc<Node>, Trouble> {
        let client = self.address.client(&host);
        let client = client
            .map_err(|source| Trouble::Unreached(Outage::Connect { host: host.clone(), source }))?;
        let line = || {
            let (client, host) = (client.clone(), host.clone());
            Line::new(client, host, greeting.clone(), self.driver.handle().clone())
        };
        let lines = (0..self.connections).map(|_| line()).collect();
        Ok(Arc::new(Node { admin: line(), id, lines, host }))
    }
}
