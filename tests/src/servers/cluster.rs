//! A Redis cluster of a test's own: three masters, each with a third of the slots, without replicas.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Redis, Reply};
use crate::{Port, STUCK, eventually, holds_within};

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

/// A node talks to the others on its port plus this number.
const BUS_OFFSET: u16 = 10_000;

/// A silent node is given up after this many milliseconds; not so soon that a machine that stands still
/// for a moment takes the cluster down.
const NODE_TIMEOUT_MS: &str = "5000";

/// How long nodes that were introduced may take to know each other.
const MEETING: Duration = Duration::from_secs(6);

/// Running nodes that know each other.
#[derive(Debug)]
pub struct RedisCluster {
    /// Where the nodes talk to each other.
    _buses: Vec<Port>,
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// An empty one.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let (ports, buses): (Vec<_>, _) = (0..NODES).map(|_| port_with_bus()).unzip();
        let nodes: Vec<_> = ports.into_iter().map(|port| Redis::run(port, &OPTIONS)).collect();
        let mut from = 0;
        for (number, node) in (1..=NODES).zip(&nodes) {
            let to = u16::try_from(u32::from(SLOTS) * u32::from(number) / u32::from(NODES));
            let to = to.expect("there are fewer slots than that");
            let slots: Vec<_> = (from..to).map(|slot| slot.to_string()).collect();
            let mut words = vec!["CLUSTER", "ADDSLOTS"];
            words.extend(slots.iter().map(String::as_str));
            node.tell(&words);
            // An epoch of its own each, else they would quarrel about it after they have met.
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()]);
            from = to;
        }
        let cluster = Self { _buses: buses, nodes };
        eventually("the nodes have met", || {
            cluster.introduce();
            holds_within(MEETING, || cluster.is_whole())
        });
        cluster
    }

    /// Waits until every node calls the cluster whole.
    ///
    /// # Panics
    /// When that does not happen within [`STUCK`].
    pub fn await_whole(&self) {
        eventually("the cluster is whole", || self.is_whole());
    }

    fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| {
            let state = node.ask(&["CLUSTER", "INFO"]).text();
            state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")
        })
    }

    /// Tells the first node of the others. One that does not answer in time is forgotten, so that this
    /// may have to be done again.
    fn introduce(&self) {
        for other in &self.nodes[1..] {
            self.nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]);
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// One node.
    #[must_use]
    pub fn node(&self, number: usize) -> &Redis {
        &self.nodes[number]
    }

    /// One node, or all.
    pub fn nodes(&self, one: Option<usize>) -> impl Iterator<Item = &Redis> {
        let meant = move |number: usize| one.is_none_or(|one| one == number);
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(number, _)| meant(*number))
            .map(|(_, node)| node)
    }

    /// One node, or all, to be killed.
    pub fn nodes_mut(&mut self, one: Option<usize>) -> impl Iterator<Item = &mut Redis> {
        let meant = move |number: usize| one.is_none_or(|one| one == number);
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.filter(move |(number, _)| meant(*number)).map(|(_, node)| node)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// The slots of keys that begin with `prefix` and lie on this node.
    ///
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn slots_of(&self, number: usize, prefix: &str) -> BTreeSet<String> {
        let node = self.node(number);
        let keys = node.ask(&["KEYS", &format!("{prefix}*")]).list();
        let slot = |key: Reply| node.ask(&["CLUSTER", "KEYSLOT", &key.text()]).number().to_string();
        keys.into_iter().map(slot).collect()
    }

    /// Moves a slot and its keys from one node to another, key by key, as an operator does.
    ///
    /// # Panics
    /// When a step is refused, or it takes longer than [`STUCK`].
    pub fn move_slot(&self, slot: &str, from: usize, to: usize) {
        let (source, target) = (self.node(from), self.node(to));
        let id = |node: &Redis| node.ask(&["CLUSTER", "MYID"]).text();
        let (source_id, target_id) = (id(source), id(target));
        target.tell(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &source_id]);
        source.tell(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &target_id]);
        let port = target.port().to_string();
        let limit = STUCK.as_millis().to_string();
        loop {
            let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "10"]).list();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                source.tell(&["MIGRATE", "127.0.0.1", &port, &key.text(), "0", &limit]);
            }
        }
        for node in [target, source] {
            node.tell(&["CLUSTER", "SETSLOT", slot, "NODE", &target_id]);
        }
    }
}

const OPTIONS: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    NODE_TIMEOUT_MS,
    "--cluster-config-file",
    "nodes.conf",
];

/// A port and its bus port.
fn port_with_bus() -> (Port, Port) {
    for _ in 0..1_000 {
        let port = Port::take();
        let bus = port.number().checked_add(BUS_OFFSET);
        if let Some(bus) = bus.and_then(|bus| Port::at(bus).ok()) {
            return (port, bus);
        }
    }
    panic!("there is no port for a node of a cluster");
}
