//! The subscribers of a conversation on this node.
//!
//! The table is in the slot, beside the actor and not in it. When the actor dies, its successor
//! finds who was subscribed, and how far each had been served. Only the actor changes it, so its
//! lock is hardly ever contended. Bounded by the connections of the node.

use crate::ids::{ConnectionId, Rev, UserId};
use crate::metrics::metrics;
use crate::wire::{Class, Frame, Outbox, Pushed, ReplayInterest, Reply};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A connection that wants to subscribe.
#[derive(Debug)]
pub struct NewSubscriber {
    pub connection: ConnectionId,
    pub outbox: Arc<Outbox>,
    /// One of the connection's subscriptions; `None` when it replaces one that the connection
    /// believes to have.
    pub permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(super) enum SubscriberPhase {
    /// Is pushed every change as it happens.
    Live,
    /// Is being brought to the present; live frames pass it by.
    Replaying(Replay),
}

/// A replay under way.
#[derive(Debug)]
pub(super) struct Replay {
    /// What the client had when it subscribed: decides between `message` and `updated`.
    pub(super) after: Rev,
    /// Everything up to here has been handed to the socket.
    pub(super) through: Rev,
    /// Whether the client has all older messages of the conversation.
    pub(super) complete: bool,
    /// Given at the end of the replay.
    pub(super) reply: Reply,
    /// Ends the sending of pages when this replay ends, for whatever reason.
    pub(super) interest: ReplayInterest,
    pub(super) stage: ReplayStage,
    /// Tells this replay from an earlier one of the same connection.
    pub(super) number: u64,
    pub(super) sent: ReplayTotals,
    /// How often it had to go on with what had happened meanwhile.
    pub(super) rounds: u32,
    /// Whether the socket has everything the database has, and this node has to catch up first.
    pub(super) waits: bool,
}

impl Replay {
    /// A replay that has not sent anything yet.
    pub(super) fn new(number: u64, after: Rev, stage: ReplayStage, complete: bool, reply: Reply) -> Self {
        Self {
            after,
            through: after,
            complete,
            reply,
            interest: ReplayInterest::default(),
            stage,
            number,
            sent: ReplayTotals::default(),
            rounds: 0,
            waits: false,
        }
    }
}

/// How much a replay has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplayTotals {
    changes: usize,
    bytes: usize,
}

impl ReplayTotals {
    /// Adds changes that were sent, a frame each.
    pub(super) fn add(&mut self, frames: &[Frame]) {
        self.changes += frames.len();
        self.bytes += frames.iter().map(Frame::len).sum::<usize>();
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            changes: self.changes + other.changes,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Counts a replay that has ended, in the metrics.
    pub(super) fn count(self) {
        metrics().resumed(self.changes, self.bytes);
    }
}

/// What a replay is sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplayStage {
    /// A snapshot that was in the memory of this generation only.
    Snapshot,
    /// Changes, which can be read again from `through` on.
    Changes,
}

#[derive(Debug)]
pub struct Subscriber {
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) phase: SubscriberPhase,
    /// The revision of the last frame that was pushed to it while live.
    pub(super) delivered: Rev,
    /// One of the connection's subscriptions.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Subscriber {
    /// One who has everything up to `delivered`, and is pushed what comes after.
    #[must_use]
    pub const fn live(connection: ConnectionId, user: UserId, outbox: Arc<Outbox>, delivered: Rev) -> Self {
        Self {
            connection,
            user,
            outbox,
            phase: SubscriberPhase::Live,
            delivered,
            permit: None,
        }
    }
}

#[derive(Debug, Default)]
pub struct Subscribers {
    entries: Vec<Subscriber>,
    positions: HashMap<ConnectionId, usize>,
}

impl Subscribers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.entries.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
    pub fn insert(&mut self, mut subscriber: Subscriber) {
        if let Some(position) = self.positions.get(&subscriber.connection) {
            let replaced = &mut self.entries[*position];
            subscriber.permit = subscriber.permit.or_else(|| replaced.permit.take());
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

    /// Removes a subscriber; its replay, if one was under way.
    pub(super) fn remove_replaying(&mut self, connection: ConnectionId) -> Option<Replay> {
        match self.remove(connection)?.phase {
            SubscriberPhase::Replaying(replay) => Some(replay),
            SubscriberPhase::Live => None,
        }
    }

    /// Removes those whose connection is gone: the event that says so may be lost, or overtake the
    /// subscription. Whether any is left.
    pub(super) fn remove_closed(&mut self) -> bool {
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

    /// Pushes changes up to `rev` to everyone who is live; returns to how many.
    pub fn push_durable(&mut self, frame: &Frame, rev: Rev) -> u64 {
        self.push_where(frame, Class::Durable, |subscriber| {
            let live = matches!(subscriber.phase, SubscriberPhase::Live) && subscriber.delivered < rev;
            if live {
                subscriber.delivered = rev;
            }
            live
        })
    }

    /// Pushes a frame that only matters now to everyone who is live, except one user.
    pub(super) fn push_ephemeral(&mut self, frame: &Frame, except: Option<UserId>) {
        self.push_where(frame, Class::Ephemeral, |subscriber| {
            matches!(subscriber.phase, SubscriberPhase::Live) && Some(subscriber.user) != except
        });
    }

    /// Never waits; who is gone, or whose outbox overflows, is removed from the table. Returns how
    /// many outboxes have it.
    fn push_where(&mut self, frame: &Frame, class: Class, mut wanted: impl FnMut(&mut Subscriber) -> bool) -> u64 {
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
        pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(user: UserId) -> Subscriber {
        Subscriber::live(ConnectionId::new(), user, Arc::new(Outbox::default()), Rev(1))
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
    fn a_change_is_delivered_once_and_a_closed_connection_is_removed() {
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
        assert!(table.remove_closed(), "one is still there");
        assert_eq!(table.iter().count(), 1);
        assert!(
            matches!(outbox.drain(1024, std::task::Waker::noop()), crate::wire::Drained::Chunk { bytes, .. } if bytes.len() == frame.len())
        );
    }
}
