//! A Redis cluster of our own: three nodes with a third of the slots each, without replicas.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::redis::{Redis, Sync};
use crate::child;

const NODES: u32 = 3;
const SLOTS: u32 = 16_384;

/// A node talks to the others on its port plus this number.
const BUS_OFFSET: u16 = 10_000;

const PORT_ATTEMPTS_MAX: u32 = 1_000;

/// How long the nodes may take to agree that they are a cluster.
const AGREEMENT_LIMIT: Duration = Duration::from_secs(60);

/// Starts the nodes and joins them; each syncs before it answers.
pub(super) fn start(program: &Path, folder: &Path) -> io::Result<Vec<Redis>> {
    let more = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
        "--protected-mode",
        "no",
    ];
    let nodes: Vec<Redis> = (0..NODES)
        .map(|number| {
            let home = folder.join(number.to_string());
            Redis::start_at(program, &home, Sync::Always, free_address_with_bus()?, &more)
        })
        .collect::<io::Result<_>>()?;
    let mut first_slot = 0;
    for (number, node) in (1..=NODES).zip(&nodes) {
        let last_slot = SLOTS * number / NODES;
        let mut wire = node.wire()?;
        let slots: Vec<String> = (first_slot..last_slot).map(|slot| slot.to_string()).collect();
        let mut words = vec!["CLUSTER", "ADDSLOTS"];
        words.extend(slots.iter().map(String::as_str));
        wire.text(&words)?;
        // Of its own, else the nodes would quarrel about it after they have met.
        wire.text(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()])?;
        first_slot = last_slot;
    }
    if let Some((first, others)) = nodes.split_first() {
        for other in others {
            let port = other.address().port().to_string();
            first.wire()?.text(&["CLUSTER", "MEET", "127.0.0.1", &port])?;
        }
    }
    let start = Instant::now();
    for node in &nodes {
        while !node.wire()?.text(&["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
            if start.elapsed() > AGREEMENT_LIMIT {
                return Err(io::Error::other("the nodes of the Redis cluster do not agree"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(nodes)
}

/// A free address whose bus port exists and is free too.
fn free_address_with_bus() -> io::Result<SocketAddr> {
    for _ in 0..PORT_ATTEMPTS_MAX {
        let address = child::free_address()?;
        if let Some(bus) = address.port().checked_add(BUS_OFFSET)
            && TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return Ok(address);
        }
    }
    Err(io::Error::other("there is no free port for a node of the Redis cluster"))
}
