//! Which server holds which record: the slots of a cluster, or the one server there is.

use std::sync::Arc;

use redis::Value;

use crate::address::Host;
use crate::line::Line;
use crate::reply;

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// One server and the connections to it.
#[derive(Debug)]
pub(crate) struct Node {
    /// For whatever may take long, so that no step waits behind it.
    pub(crate) admin: Line,
    pub(crate) host: Host,
    /// Its name within the cluster, if it is known.
    pub(crate) id: Option<String>,
    pub(crate) lines: Vec<Line>,
}

/// Who holds what, as somebody said it.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) generation: u64,
    /// Those that hold slots.
    pub(crate) nodes: Vec<Arc<Node>>,
    /// By slot, the number of its node; empty where the first node holds all.
    owners: Vec<Option<u16>>,
}

/// A server that holds slots, by what another one says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) first: u16,
    pub(crate) host: Host,
    pub(crate) id: String,
    pub(crate) last: u16,
}

impl Node {
    /// A connection for a step; it stays with the step, so that what is repeated because a connection
    /// was lost does not meet the next one that is.
    pub(crate) fn line(&self, turn: usize) -> &Line {
        self.lines.get(turn % self.lines.len().max(1)).unwrap_or(&self.admin)
    }

    pub(crate) fn all_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().chain([&self.admin])
    }
}

impl Owner {
    /// Whether that is the server that is meant.
    pub(crate) fn is(&self, node: &Node) -> bool {
        node.id.as_ref() == Some(&self.id) && node.host == self.host
    }
}

impl Map {
    /// One server that holds everything.
    pub(crate) fn standalone(node: Arc<Node>) -> Self {
        Self { generation: 1, nodes: vec![node], owners: Vec::new() }
    }

    /// A cluster's: its servers, and what each of them holds.
    pub(crate) fn of_cluster(generation: u64, nodes: Vec<Arc<Node>>, told: &[Owner]) -> Self {
        let mut owners = vec![None; usize::from(SLOTS)];
        for owner in told {
            let number = nodes.iter().position(|node| owner.is(node));
            let range = usize::from(owner.first)..=usize::from(owner.last);
            for slot in owners.get_mut(range).into_iter().flatten() {
                *slot = number.and_then(|number| u16::try_from(number).ok());
            }
        }
        Self { generation, nodes, owners }
    }

    pub(crate) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let number = match self.owners.get(usize::from(slot)) {
            Some(number) => usize::from((*number)?),
            None => 0,
        };
        self.nodes.get(number)
    }
}

/// The slot of a key: CRC-16 (XMODEM) of what is within its braces, or of all of it.
pub(crate) fn slot_of(key: &str) -> u16 {
    let tagged = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = match tagged {
        Some((tag, _)) if !tag.is_empty() => tag,
        Some(_) | None => key,
    };
    let mut crc = 0_u16;
    for byte in hashed.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

/// Reads the answer to CLUSTER SLOTS of the server at `asked`; `None` if it makes no sense.
pub(crate) fn read_owners(answer: &Value, asked: &Host) -> Option<Vec<Owner>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().map(|range| read_owner(range, asked)).collect()
}

/// First slot, last slot, master (name, port, id), replicas.
fn read_owner(range: &Value, asked: &Host) -> Option<Owner> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let [name, Value::Int(port), id, ..] = master.as_slice() else { return None };
    // Without a name it is the one that was asked, or under the same name.
    let name = match reply::bytes(name) {
        Some(name) if !name.is_empty() && name != b"?" => String::from_utf8(name.to_vec()).ok()?,
        Some(_) | None => asked.name.clone(),
    };
    Some(Owner {
        first: u16::try_from(*first).ok().filter(|slot| *slot < SLOTS)?,
        host: Host { name, port: u16::try_from(*port).ok()? },
        id: String::from_utf8(reply::bytes(id)?.to_vec()).ok()?,
        last: u16::try_from(*last).ok().filter(|slot| *slot < SLOTS)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_server() {
        // As CLUSTER KEYSLOT says.
        for (key, slot) in [
            ("123456789", 0x31c3),
            ("foo", 12_182),
            ("x{foo}y", 12_182),
            ("{}foo", slot_of("{}foo")),
            ("foo{bar", slot_of("foo{bar")),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
        assert_ne!(slot_of("{}foo"), slot_of("foo"));
    }

    #[test]
    fn owners_without_a_name_are_those_that_were_asked() {
        let asked = Host { name: "a".to_owned(), port: 1 };
        let master = |name| Value::Array(vec![name, Value::Int(7), Value::BulkString(b"i".into())]);
        let range = |name| Value::Array(vec![Value::Int(0), Value::Int(16_383), master(name)]);
        for (name, expected) in [
            (Value::Nil, "a"),
            (Value::BulkString(b"".into()), "a"),
            (Value::BulkString(b"b".into()), "b"),
        ] {
            let owners = read_owners(&Value::Array(vec![range(name)]), &asked).unwrap();
            assert_eq!(owners[0].host, Host { name: expected.to_owned(), port: 7 });
        }
        let odd = Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16_384)])]);
        assert_eq!(read_owners(&odd, &asked), None);
    }
}
