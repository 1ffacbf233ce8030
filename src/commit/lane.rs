//! The writer lanes: one actor each, supervised.
//!
//! A lane reads its mailbox as a stream of groups. While a group is being committed it does nothing
//! else: what arrives meanwhile waits in the bounded mailbox and makes the next group. A lane that
//! dies takes the group it was committing with it; its operations end as `unavailable`. Its
//! successor reads the same mailbox on.
//!
//! A lane is an actor, and not a task, because it is one more place in the supervision tree:
//! watched by a guard, restarted within a budget.

use super::batch::{Group, Queue};
use super::observers::CommitObservers;
use super::operation::Operation;
use super::writer::GroupWriter;
use crate::database::Database;
use crate::supervision::{DeathGuard, Mailbox, MailboxReader, start, supervise};
use actix::prelude::*;
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use tokio::sync::oneshot;

/// What a lane is called in logs and metrics.
pub(super) const ACTOR: &str = "persistence_lane";

pub(super) enum LaneMessage {
    Operation(Box<Operation>),
    /// Sent when everything before it is completed; dropped by a lane that dies.
    Flush(oneshot::Sender<()>),
}

/// Keeps a lane running.
pub(super) async fn supervise_lane(mailbox: Arc<Mailbox<LaneMessage>>, database: Database, observers: CommitObservers) {
    let begin = |_, guard| {
        let writer = GroupWriter::new(database.clone(), observers.clone());
        let mailbox = mailbox.clone();
        // The reader is free as soon as the predecessor's stream is gone.
        actix::spawn(async move {
            let reader = mailbox.reader().await;
            let lane = LaneActor {
                writer: Some(writer),
                groups: Some(GroupStream::new(reader)),
                _guard: guard,
            };
            start(ACTOR, None, lane);
        });
    };
    supervise(ACTOR, begin).await;
}

struct LaneActor {
    /// Absent while a group is being committed.
    writer: Option<GroupWriter>,
    /// Handed to the actor's context when it starts.
    groups: Option<GroupStream>,
    _guard: DeathGuard,
}

impl Actor for LaneActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(groups) = self.groups.take() {
            ctx.add_stream(groups);
        }
    }
}

/// What a lane does next: commit a group, then reply to those who wait for all before it.
struct LaneWork {
    group: Group<Operation>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl StreamHandler<LaneWork> for LaneActor {
    fn handle(&mut self, work: LaneWork, ctx: &mut Self::Context) {
        fail::fail_point!("commit::lane");
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let commit = async move {
            if !work.group.is_empty() {
                writer.commit(work.group).await;
            }
            for flushed in work.flushed {
                // Anyone who waited may have lost patience.
                if flushed.send(()).is_err() {
                    tracing::debug!("nobody waits for a flush any more");
                }
            }
            writer
        };
        // `wait`, so that the next group is only taken from the mailbox when this one is done: it
        // has grown meanwhile.
        ctx.wait(
            commit
                .into_actor(self)
                .map(|writer, lane, _| lane.writer = Some(writer)),
        );
    }
}

/// The mailbox as a stream of groups.
struct GroupStream {
    reader: MailboxReader<LaneMessage>,
    queue: Queue<Operation>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl GroupStream {
    fn new(reader: MailboxReader<LaneMessage>) -> Self {
        Self {
            reader,
            queue: Queue::default(),
            flushes: Vec::new(),
        }
    }
}

impl Stream for GroupStream {
    type Item = LaneWork;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<LaneWork>> {
        let this = self.get_mut();
        // A flush waits for all before it, so nothing behind it is read until it is done.
        while this.flushes.is_empty() && !this.queue.is_full() {
            // Polled only when nothing waits: the runtime lets a task poll some hundred messages at
            // a time, which would be the size of every group.
            let next = this.reader.try_next();
            match next.map_or_else(|| this.reader.poll_recv(cx), |message| Poll::Ready(Some(message))) {
                Poll::Ready(Some(LaneMessage::Operation(operation))) => this.queue.push(*operation),
                Poll::Ready(Some(LaneMessage::Flush(flushed))) => this.flushes.push(flushed),
                Poll::Ready(None) if this.queue.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if this.queue.is_empty() && this.flushes.is_empty() {
            return Poll::Pending;
        }
        let group = this.queue.next_group();
        let flushed = if this.queue.is_empty() {
            std::mem::take(&mut this.flushes)
        } else {
            Vec::new()
        };
        Poll::Ready(Some(LaneWork { group, flushed }))
    }
}
