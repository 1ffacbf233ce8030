//! The writer lanes: one actor each, supervised, and the handle that feeds them.
//!
//! A lane reads its mailbox as a stream of groups and, while a group is being committed, does nothing else: what arrives
//! meanwhile waits in the bounded mailbox and makes the next group. A lane that dies takes the group it was committing
//! with it (each of its operations is answered `unavailable`); its successor reads the same mailbox on.
//!
//! A lane is an actor, and not a task, because it is one more place in the supervision tree: started by a factory,
//! watched by a guard, restarted within a budget.

use super::batch::{Group, Queue};
use super::read_markers::ReadMarkers;
use super::writer::Writer;
use super::{CommitObservers, Error, OPERATIONS_MAX, Operation};
use crate::database::Database;
use crate::ids::{ConversationId, Seq, UserId};
use crate::metrics::Depth;
use crate::supervision::{ArbiterPool, DeathGuard, Mailbox, MailboxReader, start, supervise};
use actix::prelude::*;
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a lane is called in logs and metrics.
const LANE: &str = "persistence_lane";
/// What the flush of read markers is called there.
const MARKERS: &str = "read_markers";
/// How often read markers are written.
const READ_MARKERS_INTERVAL: Duration = Duration::from_secs(1);

/// The way to durability. Cheap to clone.
#[derive(Clone)]
pub struct CommitHandle {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: Vec<Arc<Mailbox<Message>>>,
    markers: ReadMarkers,
    database: Database,
}

enum Message {
    Operation(Box<Operation>),
    /// Answered when everything before it is settled; dropped by a lane that dies.
    Flush(oneshot::Sender<()>),
}

impl CommitHandle {
    /// Starts `lanes` writer lanes and the flush of read markers.
    #[must_use]
    pub fn start(database: Database, lanes: usize, arbiters: &ArbiterPool, observers: &CommitObservers) -> Self {
        let lanes = lanes.max(1);
        let mailboxes = (0..lanes)
            .map(|_| Arc::new(Mailbox::new(OPERATIONS_MAX / lanes)))
            .collect();
        let shared = Arc::new(Shared {
            lanes: mailboxes,
            markers: ReadMarkers::default(),
            database,
        });
        for (index, mailbox) in shared.lanes.iter().enumerate() {
            let factory = LaneFactory {
                mailbox: mailbox.clone(),
                database: shared.database.clone(),
                observers: observers.clone(),
            };
            arbiters.spawn(index as u128, factory.supervise());
        }
        let markers = shared.clone();
        arbiters.spawn(lanes as u128, async move {
            let begin = |_, guard| start(MARKERS, None, MarkerFlush::new(markers.clone(), guard));
            supervise(MARKERS, begin).await;
        });
        Self { shared }
    }

    /// Hands over an operation. Never waits: a full lane answers `overloaded` at once.
    pub fn submit(&self, operation: Operation) {
        let lane = &self.shared.lanes[self.lane_of(operation.conversation_id)];
        match lane.sender().try_send(Message::Operation(Box::new(operation))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(Message::Operation(operation))) => {
                operation.done.complete(Err(Error::Overloaded));
            }
            // Closed only when the process ends; dropping the operation answers it.
            Err(_) => {}
        }
    }

    /// Notes how far a user has read; written within a second or two.
    pub fn mark_read(&self, conversation_id: ConversationId, user_id: UserId, seq: Seq) {
        self.shared.markers.mark(conversation_id, user_id, seq);
    }

    /// How far a user has read, if that is newer than a row read just now may be.
    #[must_use]
    pub fn latest_read(&self, conversation_id: ConversationId, user_id: UserId) -> Option<Seq> {
        self.shared.markers.latest(conversation_id, user_id)
    }

    /// Waits until all that was submitted before is settled, and writes the read markers.
    pub async fn flush(&self) {
        for lane in &self.shared.lanes {
            let (flushed, done) = oneshot::channel();
            if lane.sender().send(Message::Flush(flushed)).await.is_ok() && done.await.is_err() {
                // What it was committing is answered; the rest is its successor's.
                tracing::warn!("a writer lane died while it was flushed");
            }
        }
        self.shared.markers.flush(&self.shared.database).await;
    }

    /// How many operations wait, lane by lane.
    #[must_use]
    pub fn depths(&self) -> Vec<usize> {
        self.shared.lanes.iter().map(|lane| lane.depth()).collect()
    }

    /// What waits for the lanes, and the read markers that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> Vec<Depth> {
        let (lanes, markers) = (self.depths(), self.shared.markers.len());
        let depth = |actor, total, deepest| Depth { actor, total, deepest };
        vec![
            depth(
                LANE,
                lanes.iter().sum(),
                lanes.iter().copied().max().unwrap_or_default(),
            ),
            depth(MARKERS, markers, markers),
        ]
    }

    fn lane_of(&self, id: ConversationId) -> usize {
        usize::try_from(id.0.as_u128() % self.shared.lanes.len() as u128).unwrap_or_default()
    }
}

struct LaneFactory {
    mailbox: Arc<Mailbox<Message>>,
    database: Database,
    observers: CommitObservers,
}

impl LaneFactory {
    async fn supervise(self) {
        let begin = |_, guard| {
            let (mailbox, writer) = (
                self.mailbox.clone(),
                Writer::new(self.database.clone(), self.observers.clone()),
            );
            // The reader is free as soon as the predecessor's stream is gone.
            actix::spawn(async move {
                let reader = mailbox.reader().await;
                let lane = Lane {
                    writer: Some(writer),
                    groups: Some(Groups::new(reader)),
                    _guard: guard,
                };
                start(LANE, None, lane);
            });
        };
        supervise(LANE, begin).await;
    }
}

/// One writer lane.
struct Lane {
    /// Absent while a group is being committed.
    writer: Option<Writer>,
    /// Handed to the context when the lane starts.
    groups: Option<Groups>,
    _guard: DeathGuard,
}

impl Actor for Lane {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(groups) = self.groups.take() {
            ctx.add_stream(groups);
        }
    }
}

/// What a lane does next: commit a group, then tell those who wait for all before it.
struct Work {
    group: Group<Operation>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl StreamHandler<Work> for Lane {
    fn handle(&mut self, work: Work, ctx: &mut Self::Context) {
        fail::fail_point!("commit::lane");
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let commit = async move {
            if !work.group.is_empty() {
                writer.commit(work.group).await;
            }
            for waiting in work.flushed {
                // Whoever waited may have lost patience.
                if waiting.send(()).is_err() {
                    tracing::debug!("nobody waits for a flush any more");
                }
            }
            writer
        };
        // `wait`, so that the next group is only taken from the mailbox when this one is done: it has grown meanwhile.
        ctx.wait(
            commit
                .into_actor(self)
                .map(|writer, lane, _| lane.writer = Some(writer)),
        );
    }
}

/// The mailbox as a stream of groups.
struct Groups {
    reader: MailboxReader<Message>,
    queue: Queue<Operation>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Groups {
    fn new(reader: MailboxReader<Message>) -> Self {
        Self {
            reader,
            queue: Queue::default(),
            flushes: Vec::new(),
        }
    }
}

impl Stream for Groups {
    type Item = Work;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Work>> {
        let this = self.get_mut();
        // A flush waits for all before it, so nothing behind it is read until it is answered.
        while this.flushes.is_empty() && !this.queue.is_full() {
            // Polled only when nothing waits: the runtime lets a task poll a hundred-odd messages at a time, which would
            // be the size of every group.
            let next = this.reader.try_next();
            match next.map_or_else(|| this.reader.poll_recv(cx), |message| Poll::Ready(Some(message))) {
                Poll::Ready(Some(Message::Operation(operation))) => this.queue.push(*operation),
                Poll::Ready(Some(Message::Flush(flushed))) => this.flushes.push(flushed),
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
        Poll::Ready(Some(Work { group, flushed }))
    }
}

/// Writes the read markers once a second.
struct MarkerFlush {
    shared: Arc<Shared>,
    _guard: DeathGuard,
}

impl MarkerFlush {
    const fn new(shared: Arc<Shared>, guard: DeathGuard) -> Self {
        Self { shared, _guard: guard }
    }
}

impl Actor for MarkerFlush {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(READ_MARKERS_INTERVAL, Self::flush);
    }
}

impl MarkerFlush {
    fn flush(&mut self, ctx: &mut Context<Self>) {
        fail::fail_point!("commit::read_markers");
        let shared = self.shared.clone();
        let flush = async move { shared.markers.flush(&shared.database).await };
        // The next flush is armed when this one has ended, so that they never overlap.
        ctx.spawn(flush.into_actor(self).map(|(), _, ctx| {
            ctx.run_later(READ_MARKERS_INTERVAL, Self::flush);
        }));
    }
}
