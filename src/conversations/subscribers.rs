//! Who follows a conversation on this node.
//!
//! The table stands beside the actor, in its slot, and not in it: when the actor dies, its successor finds who was
//! following and how far each had been served. Only the actor touches it, so its lock is never contended.

use crate::ids::{ConnectionId, Rev, UserId};
use crate::metrics::metrics;
use crate::wire::{Class, Frame, Outbox, Pushed, ReplayInterest, Reply};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// How far a subscriber is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Gets every change as it happens.
    Live,
    /// Is being brought to the present; live frames wait.
    Replaying(Replay),
}

/// A replay under way.
#[derive(Debug)]
pub(super) struct Replay {
    /// What the reader had when it asked: decides between `message` and `updated`.
    pub(super) after: Rev,
    /// Everything up to here has been handed to the socket.
    pub(super) through: Rev,
    /// Whether this conversation's older messages are all with the reader.
    pub(super) complete: bool,
    /// Given at the end.
    pub(super) reply: Reply,
    /// Ends the sending of pages when this replay ends, for whatever reason.
    pub(super) interest: ReplayInterest,
    /// What is being sent.
    pub(super) stage: Stage,
    /// Tells this replay from an earlier one of the same connection.
    pub(super) number: u64,
    /// What it has sent so far.
    pub(super) sent: Sent,
    /// Whether the socket has everything the database has, and this node has to catch up first.
    pub(super) waits: bool,
}

/// How much a replay has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    changes: usize,
    bytes: usize,
}

impl Sent {
    /// So much more, a frame for each change.
    pub(super) fn add(&mut self, frames: &[Frame]) {
        self.changes += frames.len();
        self.bytes += frames.iter().map(Frame::len).sum::<usize>();
    }

    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            changes: self.changes + other.changes,
            bytes: self.bytes + other.bytes,
        }
    }

    /// The reader is at the present.
    pub(super) fn count(self) {
        metrics().resumed(self.changes, self.bytes);
    }
}

/// What a replay is sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A snapshot that was in the memory of this generation only.
    Snapshot,
    /// Changes, which can be read again from `through` on.
    Changes,
}

/// One connection that follows.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) phase: Phase,
    /// The revision of the last frame pushed to it while live.
    pub(super) delivered: Rev,
    /// Its place among the subscriptions of its connection.
    pub(super) seat: Option<OwnedSemaphorePermit>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    entries: Vec<Subscriber>,
    positions: HashMap<ConnectionId, usize>,
}

impl Subscribers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.entries.iter()
    }

    pub(super) fn contains(&self, connection: ConnectionId) -> bool {
        self.positions.contains_key(&connection)
    }

    pub(super) fn find_mut(&mut self, connection: ConnectionId) -> Option<&mut Subscriber> {
        self.positions
            .get(&connection)
            .and_then(|position| self.entries.get_mut(*position))
    }

    /// Adds a subscriber, or replaces the connection's earlier subscription.
    pub(super) fn insert(&mut self, mut subscriber: Subscriber) {
        if let Some(position) = self.positions.get(&subscriber.connection) {
            let replaced = &mut self.entries[*position];
            subscriber.seat = subscriber.seat.or_else(|| replaced.seat.take());
            *replaced = subscriber;
        } else {
            self.positions.insert(subscriber.connection, self.entries.len());
            self.entries.push(subscriber);
        }
    }

    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<Subscriber> {
        let position = self.positions.remove(&connection)?;
        let removed = self.entries.swap_remove(position);
        if let Some(moved) = self.entries.get(position) {
            self.positions.insert(moved.connection, position);
        }
        Some(removed)
    }

    /// Drops those whose connection is gone: what says so may be lost, or overtake the subscription. Whether any is left.
    pub(super) fn drop_closed(&mut self) -> bool {
        let closed = self.entries.iter().filter(|entry| entry.outbox.is_closed());
        let closed: Vec<_> = closed.map(|entry| entry.connection).collect();
        for connection in closed {
            self.remove(connection);
        }
        !self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) -> Vec<Subscriber> {
        self.positions.clear();
        std::mem::take(&mut self.entries)
    }

    /// Pushes changes up to `rev` to everyone who is live.
    pub(super) fn push_durable(&mut self, frame: &Frame, rev: Rev) {
        self.push_where(frame, Class::Durable, |subscriber| {
            let live = matches!(subscriber.phase, Phase::Live) && subscriber.delivered < rev;
            if live {
                subscriber.delivered = rev;
            }
            live
        });
    }

    /// Pushes a frame that only matters now to everyone who is live, except one user.
    pub(super) fn push_ephemeral(&mut self, frame: &Frame, except: Option<UserId>) {
        self.push_where(frame, Class::Ephemeral, |subscriber| {
            matches!(subscriber.phase, Phase::Live) && Some(subscriber.user) != except
        });
    }

    /// Never waits; who is gone or has been cut is dropped from the table.
    fn push_where(&mut self, frame: &Frame, class: Class, mut wanted: impl FnMut(&mut Subscriber) -> bool) {
        let mut gone = Vec::new();
        let mut pushed = 0;
        for subscriber in &mut self.entries {
            if !wanted(subscriber) {
                continue;
            }
            match subscriber.outbox.push(frame.clone(), class) {
                Pushed::Queued => pushed += 1,
                Pushed::Dropped => {}
                Pushed::Overflowed | Pushed::Closed => gone.push(subscriber.connection),
            }
        }
        for connection in gone {
            self.remove(connection);
        }
        if class == Class::Durable {
            // Once for all of them: there are a million deliveries a second.
            metrics().pushed(pushed * u64::from(frame.count()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(user: UserId) -> Subscriber {
        Subscriber {
            connection: ConnectionId::new(),
            user,
            outbox: Arc::new(Outbox::new()),
            phase: Phase::Live,
            delivered: Rev(1),
            seat: None,
        }
    }

    #[test]
    fn removal_keeps_the_others_where_they_are_found() {
        let mut table = Subscribers::default();
        let entries: Vec<_> = (0..4).map(|_| subscriber(UserId::new())).collect();
        let connections: Vec<_> = entries.iter().map(|entry| entry.connection).collect();
        entries.into_iter().for_each(|entry| table.insert(entry));
        assert!(table.remove(connections[0]).is_some());
        assert!(table.remove(connections[0]).is_none());
        for connection in &connections[1..] {
            assert_eq!(
                table.find_mut(*connection).map(|entry| entry.connection),
                Some(*connection)
            );
        }
    }

    #[test]
    fn a_change_is_delivered_once_and_a_closed_connection_is_dropped() {
        let mut table = Subscribers::default();
        let (open, closed) = (subscriber(UserId::new()), subscriber(UserId::new()));
        closed.outbox.finish();
        let outbox = open.outbox.clone();
        table.insert(open);
        table.insert(closed);
        let frame = crate::wire::encode_close(None);
        table.push_durable(&frame, Rev(2));
        table.push_durable(&frame, Rev(2));
        assert_eq!(table.iter().count(), 1);
        let late = subscriber(UserId::new());
        late.outbox.finish();
        table.insert(late);
        assert!(table.drop_closed(), "one is still there");
        assert_eq!(table.iter().count(), 1);
        assert!(
            matches!(outbox.drain(1024, std::task::Waker::noop()), crate::wire::Drained::Chunk { bytes, .. } if bytes.len() == frame.len())
        );
    }
}
