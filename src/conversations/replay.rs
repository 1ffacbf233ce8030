//! Bringing a subscriber to the present: from memory when it is little, from the database in pages when it is not.
//!
//! Little goes into the outbox at once, before its `subscribed`, and the subscriber is live. Otherwise it is marked as
//! replaying: live frames pass it by, a task hands page after page to its socket, each when the one before has been
//! taken, and at the end asks the conversation again for what has happened meanwhile. That is little, sooner or later,
//! because the latest changes are in memory: then it is pushed, `subscribed` follows, and the subscriber is live, all
//! within one turn of the actor, so there is no gap and no overlap.
//!
//! A replay reads the database under one of [`READERS_MAX`] permits of the node, and waits for its socket without one; a
//! page holds at most about 192 KiB, so waiting replays are bounded too.

use super::Follower;
use super::actor::Conversation;
use super::registry::Shared;
use super::state::{Millis, Opening};
use super::store;
use super::subscribers::{Phase, Replay, Sent, Stage, Subscriber};
use crate::error::Code;
use crate::ids::{ConnectionId, ConversationId, Rev, UserId};
use crate::wire::{Change, Class, Frame, Outbox, ReplayInterest, ReplayWatch, Reply};
use actix::prelude::*;
use std::sync::Arc;

/// Replays that read the database at the same time, over all conversations of a node.
pub(super) const READERS_MAX: usize = 8;
/// Most bytes that are pushed at once, outside the outbox's limits; more goes by pages.
const DIRECT_BYTES_MAX: usize = 64 * 1024;
/// About how many changes a conversation reads at once to catch up; it goes on from there. Fewer than an outbox holds.
const CATCH_UP_MAX: usize = 500;
/// About how many bytes of them, likewise: what is pushed in one turn should leave room in the outboxes of all readers.
const CATCH_UP_BYTES_MAX: usize = 256 * 1024;

/// Why a replay ended early.
enum Broken {
    /// The socket is gone, or the subscription has ended.
    Gone,
    /// The reader claims a revision that does not exist.
    Ahead,
    /// The database failed.
    Database(crate::database::Error),
}

impl From<crate::database::Error> for Broken {
    fn from(error: crate::database::Error) -> Self {
        Self::Database(error)
    }
}

impl Conversation {
    /// Takes a new subscriber in; it replaces what the same connection had.
    pub(super) fn subscribe(
        &mut self,
        follower: Follower,
        user: UserId,
        after: Option<Rev>,
        reply: Reply,
        ctx: &mut Context<Self>,
    ) {
        let Follower {
            connection,
            outbox,
            seat,
        } = follower;
        if seat.is_none() && !self.slot.subscribers.lock().contains(connection) {
            return reply.error(
                Code::LimitReached,
                "This connection has as many subscriptions as it can.",
            );
        }
        let opening = self.state.open(after);
        let known = after.unwrap_or(Rev::ZERO);
        let complete = !matches!(opening, Opening::Ready { complete: false, .. });
        // Readers without `after` get the newest messages, and what changes from here on.
        let start = if after.is_some() { known } else { self.state.rev };
        let mut subscriber = Subscriber {
            connection,
            user,
            outbox: outbox.clone(),
            phase: Phase::Live,
            delivered: self.state.rev,
            seat,
        };
        let (stage, pages) = match opening {
            Opening::Ready { changes, .. } => {
                let frames: Vec<_> = changes.iter().map(|change| change.encode_after(known)).collect();
                if fits(&frames) {
                    // First into the table, so that an earlier replay of this connection ends before it.
                    self.slot.subscribers.lock().insert(subscriber);
                    push_all(&outbox, &frames).count();
                    let frame = self.state.subscribed(user, reply.reference(), complete);
                    return reply.give(&frame);
                }
                (
                    Stage::Snapshot,
                    Pages::Memory {
                        frames,
                        through: self.state.rev,
                    },
                )
            }
            Opening::Read => (
                Stage::Changes,
                Pages::Database {
                    known: start,
                    from: start,
                },
            ),
        };
        let number = self.number_replay();
        let interest = ReplayInterest::default();
        let watch = interest.watch();
        subscriber.phase = Phase::Replaying(Replay {
            after: start,
            through: start,
            complete,
            reply,
            interest,
            stage,
            number,
            sent: Sent::default(),
            waits: false,
        });
        self.slot.subscribers.lock().insert(subscriber);
        self.run_replay(connection, number, (outbox, watch), pages, ctx);
    }

    pub(super) const fn number_replay(&mut self) -> u64 {
        self.replays += 1;
        self.replays
    }

    pub(super) fn run_replay(
        &self,
        connection: ConnectionId,
        number: u64,
        to: (Arc<Outbox>, ReplayWatch),
        pages: Pages,
        ctx: &mut Context<Self>,
    ) {
        let (shared, id) = (self.shared.clone(), self.state.id);
        let send = async move { send_pages(&shared, id, &to, pages).await };
        ctx.spawn(send.into_actor(self).map(move |sent, conversation, ctx| {
            match sent {
                Ok((through, sent)) => conversation.finish_replay(connection, number, (through, sent), ctx),
                Err(broken) => conversation.break_replay(connection, number, broken),
            }
            conversation.settle(ctx);
        }));
    }

    /// Everything up to `through` is with the socket: the rest, if it is little, and `subscribed`; or another round.
    fn finish_replay(
        &mut self,
        connection: ConnectionId,
        number: u64,
        (through, sent): (Rev, Sent),
        ctx: &mut Context<Self>,
    ) {
        if through > self.state.rev {
            // The database is ahead of this node: what is between arrives as a fact, or is read.
            let mut effects = Vec::new();
            self.state.committed(Vec::new(), through, self.now(), &mut effects);
        }
        let mut subscribers = self.slot.subscribers.lock();
        let Some(subscriber) = subscribers.find_mut(connection) else {
            return;
        };
        let Phase::Replaying(replay) = &mut subscriber.phase else {
            return;
        };
        if replay.number != number {
            return;
        }
        replay.through = through;
        replay.sent = replay.sent.plus(sent);
        replay.stage = Stage::Changes;
        replay.waits = through > self.state.rev;
        if replay.waits {
            self.replays_wait = true;
            return;
        }
        if self.state.role_of(subscriber.user).is_none() {
            if let Some(Subscriber {
                phase: Phase::Replaying(replay),
                ..
            }) = subscribers.remove(connection)
            {
                replay.reply.refuse(Code::NotFound);
            }
            return;
        }
        let rest = match self.state.open(Some(through)) {
            Opening::Ready { changes, .. } => {
                let frames: Vec<_> = changes.iter().map(|change| change.encode_after(replay.after)).collect();
                fits(&frames).then_some(frames)
            }
            Opening::Read => None,
        };
        let Some(frames) = rest else {
            let to = (subscriber.outbox.clone(), replay.interest.watch());
            let pages = Pages::Database {
                known: replay.after,
                from: through,
            };
            drop(subscribers);
            return self.run_replay(connection, number, to, pages, ctx);
        };
        let (outbox, user) = (subscriber.outbox.clone(), subscriber.user);
        let rest = push_all(&outbox, &frames);
        subscriber.delivered = self.state.rev;
        if let Phase::Replaying(replay) = std::mem::replace(&mut subscriber.phase, Phase::Live) {
            replay.sent.plus(rest).count();
            let frame = self.state.subscribed(user, replay.reply.reference(), replay.complete);
            replay.reply.give(&frame);
        }
    }

    /// After learning more, from facts or from a read: replays that waited for this node to know what they have already
    /// been sent.
    pub(super) fn continue_waiting(&mut self, ctx: &mut Context<Self>) {
        self.replays_wait = false;
        let waiting: Vec<_> = {
            let subscribers = self.slot.subscribers.lock();
            let replays = subscribers.iter().filter_map(|subscriber| match &subscriber.phase {
                Phase::Replaying(replay) if replay.waits => {
                    Some((subscriber.connection, replay.number, replay.through))
                }
                _ => None,
            });
            replays.collect()
        };
        for (connection, number, through) in waiting {
            self.finish_replay(connection, number, (through, Sent::default()), ctx);
        }
    }

    fn break_replay(&self, connection: ConnectionId, number: u64, broken: Broken) {
        let mut subscribers = self.slot.subscribers.lock();
        let current = subscribers
            .find_mut(connection)
            .is_some_and(|entry| matches!(&entry.phase, Phase::Replaying(replay) if replay.number == number));
        if !current {
            return;
        }
        let Some(Subscriber {
            phase: Phase::Replaying(replay),
            ..
        }) = subscribers.remove(connection)
        else {
            return;
        };
        match broken {
            Broken::Gone => replay.reply.forgo(),
            Broken::Ahead => {
                replay.reply.error(
                    Code::Conflict,
                    "`after` is ahead of the conversation; subscribe without it.",
                );
            }
            Broken::Database(error) => {
                tracing::warn!(%error, conversation.id = %self.state.id, "replay not read");
                replay.reply.refuse(error.code());
            }
        }
    }
}

fn push_all(outbox: &Outbox, frames: &[Frame]) -> Sent {
    let mut sent = Sent::default();
    if !frames.is_empty() {
        outbox.push(Frame::concat(frames), Class::Snapshot);
        sent.add(frames);
    }
    sent
}

/// Where the pages of a replay come from.
pub(super) enum Pages {
    /// A snapshot that was too large to be pushed at once.
    Memory { frames: Vec<Frame>, through: Rev },
    /// The database, for a reader who has everything up to `known` and was sent what follows up to `from`.
    Database { known: Rev, from: Rev },
}

/// Hands pages to a socket and answers the revision it has then, and how much that took.
async fn send_pages(
    shared: &Shared,
    id: ConversationId,
    to: &(Arc<Outbox>, ReplayWatch),
    pages: Pages,
) -> Result<(Rev, Sent), Broken> {
    let mut sent = Sent::default();
    let (known, mut from) = match pages {
        Pages::Memory { frames, through } => {
            send_frames(to, &frames).await?;
            sent.add(&frames);
            return Ok((through, sent));
        }
        Pages::Database { known, from } => (known, from),
    };
    let target = store::load_rev(&shared.database, id).await?;
    if from > target {
        return Err(Broken::Ahead);
    }
    while from < target {
        if to.1.is_over() {
            return Err(Broken::Gone);
        }
        let page = {
            let _permit = shared.readers.acquire().await;
            store::load_changes(&shared.database, id, from, target).await?
        };
        let frames: Vec<_> = page.changes.iter().map(|change| change.encode_after(known)).collect();
        drop(page.changes);
        send_frames(to, &frames).await?;
        sent.add(&frames);
        from = page.through;
    }
    Ok((from, sent))
}

async fn send_frames((outbox, watch): &(Arc<Outbox>, ReplayWatch), frames: &[Frame]) -> Result<(), Broken> {
    let mut rest = frames;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest.iter().take_while(|frame| {
            bytes += frame.len();
            bytes <= DIRECT_BYTES_MAX
        });
        let (chunk, after) = rest.split_at(count.count().max(1));
        let sent = outbox.push_page(Frame::concat(chunk), watch);
        sent.await.map_err(|_closed| Broken::Gone)?;
        rest = after;
    }
    Ok(())
}

fn fits(frames: &[Frame]) -> bool {
    frames.iter().map(Frame::len).sum::<usize>() <= DIRECT_BYTES_MAX
}

/// The net effect of what came after a revision, ascending, at most about [`CATCH_UP_MAX`] changes and
/// [`CATCH_UP_BYTES_MAX`] of it; for a conversation that missed something.
pub(super) async fn read_all(
    shared: &Shared,
    id: ConversationId,
    after: Rev,
) -> Result<Vec<Change>, crate::database::Error> {
    let _permit = shared.readers.acquire().await;
    let target = store::load_rev(&shared.database, id).await?;
    let mut found = Vec::new();
    let (mut from, mut bytes) = (after, 0);
    while from < target && found.len() < CATCH_UP_MAX && bytes < CATCH_UP_BYTES_MAX {
        let page = store::load_changes(&shared.database, id, from, target).await?;
        bytes += page.changes.iter().map(Change::weight).sum::<usize>();
        found.extend(page.changes);
        from = page.through;
    }
    Ok(found)
}

/// A monotonic clock in milliseconds since the node started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(super) fn now(self) -> Millis {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
