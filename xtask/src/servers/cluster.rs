//! A Redis cluster of our own: three nodes, each with a third of the slots, without replicas.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use super::launch::{Server, free_port, temporary_folder};
use super::{find, redis};
use crate::context::{Context, Error};
use crate::reaper::Ask;

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

/// A node talks to the others on its port plus this number.
const BUS_OFFSET: u16 = 10_000;

/// How many ports may be looked at before giving up.
const PORT_ATTEMPTS_MAX: u32 = 1_000;

/// Starts the nodes, joins them, and returns the cluster's URL when every node calls it whole.
pub(super) fn start(context: &Context, deadline: Instant) -> Result<String, Error> {
    let program = find::redis(context, deadline)?;
    let folder = temporary_folder(context, "cluster")?;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let home = folder.join(number.to_string());
        fs::create_dir(&home).map_err(Error::doing(format!("create {}", home.display())))?;
        let port = free_port_with_bus()?;
        let mut command = redis::command(context, &program, &home, port);
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]);
        command.args(["--cluster-config-file", "nodes.conf"]);
        let mut server = Server::launch(context, &mut command, Ask::Terminate)?;
        server.wait_for(redis::READY, deadline)?;
        nodes.push((port, server));
    }
    join(&nodes)?;
    for (_, server) in &mut nodes {
        server.wait_for("Cluster state changed: ok", deadline)?;
    }
    let addresses: Vec<String> =
        nodes.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
    Ok(format!("redis-cluster://{}", addresses.join(",")))
}

/// Deals the slots and introduces the first node to the others. Each node gets an epoch of its
/// own first, else they would quarrel about it after they have met.
fn join(nodes: &[(u16, Server)]) -> Result<(), Error> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut first_slot = 0;
    for (number, (port, _)) in (1..=NODES).zip(nodes) {
        let last_slot = (u32::from(SLOTS) * u32::from(number) / u32::from(NODES)) as u16;
        let mut slots = words(&["CLUSTER", "ADDSLOTS"]);
        slots.extend((first_slot..last_slot).map(|slot| slot.to_string()));
        redis::tell(*port, &slots)?;
        redis::tell(*port, &words(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()]))?;
        first_slot = last_slot;
    }
    if let Some(((first, _), others)) = nodes.split_first() {
        for (other, _) in others {
            redis::tell(*first, &words(&["CLUSTER", "MEET", "127.0.0.1", &other.to_string()]))?;
        }
    }
    Ok(())
}

/// A free port whose bus port exists and is free too.
fn free_port_with_bus() -> Result<u16, Error> {
    for _ in 0..PORT_ATTEMPTS_MAX {
        let port = free_port()?;
        if let Some(bus) = port.checked_add(BUS_OFFSET)
            && TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return Ok(port);
        }
    }
    Err(Error::new("find a free port for a node of the Redis cluster"))
}
