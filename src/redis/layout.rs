//! Which server has which key: one server for all, or those of a Redis Cluster by slots. Pure.
//!
//! A cluster divides 16,384 slots between its masters. The slot of a key is a checksum of its name,
//! or of the part of it in braces. The layout is read from the reply to `CLUSTER SLOTS`. Only the
//! masters count: a replica may be behind.

use redis::{ConnectionAddr, Value};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

/// Where a server is: `host:port`, or the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(Arc<str>);

impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self(format!("{host}:{port}").into())
    }

    pub(super) fn of(addr: &ConnectionAddr) -> Self {
        Self(addr.to_string().into())
    }

    /// The address in a redirection of this server. Without a host it is the host of this server.
    pub(crate) fn redirected(&self, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { self.host() } else { host };
        Some(Self::new(host, port.parse().ok()?))
    }

    pub(super) fn host(&self) -> &str {
        self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host)
    }

    pub(super) fn to_connection_addr(&self) -> ConnectionAddr {
        match self.0.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) if !self.0.starts_with('/') => ConnectionAddr::Tcp(host.to_owned(), port),
            _ => ConnectionAddr::Unix(self.0.to_string().into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adjacent slots of one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    first: u16,
    last: u16,
    master: Address,
}

/// Which server has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One server for everything.
    Single(Address),
    /// In the order of the slots. Slots without a master are in no range.
    Cluster(Vec<SlotRange>),
}

impl Layout {
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// The master of a slot. `None` while a cluster is being set up, or has lost a part of itself.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<&Address> {
        match self {
            Self::Single(address) => Some(address),
            Self::Cluster(ranges) => {
                let behind = ranges.partition_point(|range| range.first <= slot);
                let range = ranges[..behind].last()?;
                (slot <= range.last).then_some(&range.master)
            }
        }
    }

    /// Every master once, in the order of their lowest slots.
    #[must_use]
    pub fn masters(&self) -> Vec<Address> {
        match self {
            Self::Single(address) => vec![address.clone()],
            Self::Cluster(ranges) => {
                let mut masters = Vec::new();
                for range in ranges {
                    if !masters.contains(&range.master) {
                        masters.push(range.master.clone());
                    }
                }
                masters
            }
        }
    }

    /// The moves of slots from this layout to another: from which master (`None`: nobody had them)
    /// to which. Each pair once.
    #[must_use]
    pub fn moves_to(&self, other: &Self) -> HashSet<(Option<Address>, Address)> {
        let mut moves = HashSet::new();
        let mut last = (None, None);
        for slot in 0..SLOTS {
            let (from, to) = (self.owner(slot), other.owner(slot));
            if from == to || last == (from, to) {
                continue;
            }
            last = (from, to);
            moves.extend(to.map(|to| (from.cloned(), to.clone())));
        }
        moves
    }

    /// A cluster of ranges: first slot, last slot, master.
    pub(crate) fn of_ranges(ranges: impl IntoIterator<Item = (u16, u16, Address)>) -> Self {
        let range = |(first, last, master)| SlotRange { first, last, master };
        let mut ranges: Vec<_> = ranges.into_iter().map(range).collect();
        ranges.sort_by_key(|range| range.first);
        Self::Cluster(ranges)
    }

    /// Whether every slot has a master.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Single(_) => true,
            Self::Cluster(ranges) => {
                let owned = ranges.iter().map(|range| usize::from(range.last - range.first) + 1);
                owned.sum::<usize>() == usize::from(SLOTS)
            }
        }
    }

    /// Parses the reply to `CLUSTER SLOTS`. A server that does not know its own name leaves it out;
    /// then the host of `asked` is taken. `None` if the reply has another form, or if no slot has a
    /// master.
    pub(super) fn parse(reply: &Value, asked: &Address) -> Option<Self> {
        let ranges: Vec<_> = sequence(reply)?
            .iter()
            .filter_map(|entry| {
                let [first, last, master, ..] = sequence(entry)? else {
                    return None;
                };
                let [host, port, ..] = sequence(master)? else {
                    return None;
                };
                let host = match host {
                    Value::BulkString(host) if !host.is_empty() => str::from_utf8(host).ok()?,
                    Value::BulkString(_) | Value::Nil => asked.host(),
                    _ => return None,
                };
                // A node that nobody can reach.
                if host == "?" {
                    return None;
                }
                let (first, last) = (number(first)?, number(last).filter(|last| *last < SLOTS)?);
                (first <= last).then_some((first, last, Address::new(host, number(port)?)))
            })
            .collect();
        (!ranges.is_empty()).then(|| Self::of_ranges(ranges))
    }
}

fn sequence(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

/// The slot of a key or of a channel.
#[must_use]
pub fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes()) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![
            Value::BulkString(host.as_bytes().to_vec()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        let mut entry = vec![Value::Int(first), Value::Int(last)];
        entry.extend(nodes);
        Value::Array(entry)
    }

    #[test]
    fn the_master_of_a_slot_is_found_and_nobody_for_one_that_is_lost() {
        let reply = Value::Array(vec![
            range(8_192, 12_000, vec![node("b", 2)]),
            range(0, 8_191, vec![node("", 1), node("replica", 9)]),
            range(12_002, 16_383, vec![node("::1", 3)]),
        ]);
        let layout = Layout::parse(&reply, &Address::new("a", 7)).unwrap();
        let owner = |slot| layout.owner(slot).map(ToString::to_string);
        assert_eq!(owner(0).as_deref(), Some("a:1"), "the server that did not name itself");
        assert_eq!(owner(8_191).as_deref(), Some("a:1"));
        assert_eq!(owner(8_192).as_deref(), Some("b:2"));
        assert_eq!(owner(12_001), None);
        assert_eq!(owner(16_383).as_deref(), Some("::1:3"));
        assert_eq!(layout.masters().len(), 3, "no replica");
        assert!(!layout.is_whole());
        assert!(Layout::of_ranges([(0, 16_383, Address::new("a", 1))]).is_whole());
        assert_eq!(
            layout.owner(16_383).unwrap().to_connection_addr(),
            ConnectionAddr::Tcp("::1".to_owned(), 3)
        );
    }

    #[test]
    fn a_reply_of_another_form_is_no_layout() {
        let asked = Address::new("a", 7);
        for reply in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![range(0, 5, Vec::new())]),
            Value::Array(vec![range(0, 20_000, vec![node("b", 2)])]),
            Value::Array(vec![range(0, 5, vec![node("?", 2)])]),
        ] {
            assert_eq!(Layout::parse(&reply, &asked), None, "{reply:?}");
        }
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT says.
        for (key, expected) in [("foo", 12_182), ("bar", 5_061), ("x{foo}y", 12_182), ("{}foo", 9_500)] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    #[test]
    fn a_redirection_without_a_host_means_the_same_host() {
        let address = Address::new("10.0.0.1", 6_379);
        let redirected = |text| address.redirected(text).map(|there| there.to_string());
        assert_eq!(redirected("10.0.0.2:6380").as_deref(), Some("10.0.0.2:6380"));
        assert_eq!(redirected(":6380").as_deref(), Some("10.0.0.1:6380"));
        assert_eq!(redirected("nonsense"), None);
    }
}
