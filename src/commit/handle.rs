//! The handle: [`CommitHandle`], by which conversations hand over operations and read markers.
//!
//! Bounds: [`OPERATIONS_MAX`] operations wait, shared by the lanes. Each lane has a mailbox (taken
//! by `lane.rs`). A full one refuses at once with `overloaded`. Read markers wait in a map
//! (`read_markers.rs`).

use super::error::Error;
use super::lane::{self, LaneMessage};
use super::observers::CommitObservers;
use super::operation::Operation;
use super::read_markers::ReadMarkers;
use super::read_markers_actor::{self, ReadMarkersActor};
use crate::database::Database;
use crate::ids::{ConversationId, Seq, UserId};
use crate::metrics::Depth;
use crate::supervision::{ArbiterPool, Mailbox};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Operations that wait for a commit on this node, over all lanes.
pub const OPERATIONS_MAX: usize = 10_000;

/// The way to durability. Cheap to clone.
#[derive(Clone)]
pub struct CommitHandle {
    lanes: Arc<[Arc<Mailbox<LaneMessage>>]>,
    markers: Arc<ReadMarkers>,
    database: Database,
}

impl CommitHandle {
    /// Starts `lanes` writer lanes and the flush of read markers.
    #[must_use]
    pub fn start(database: Database, lanes: usize, arbiters: &ArbiterPool, observers: &CommitObservers) -> Self {
        let lanes = lanes.max(1);
        let handle = Self {
            lanes: (0..lanes)
                .map(|_| Arc::new(Mailbox::new(OPERATIONS_MAX / lanes)))
                .collect(),
            markers: Arc::default(),
            database,
        };
        for (index, mailbox) in handle.lanes.iter().enumerate() {
            let run = lane::supervise_lane(mailbox.clone(), handle.database.clone(), observers.clone());
            arbiters.spawn(index as u128, run);
        }
        let flush = ReadMarkersActor::supervise(handle.markers.clone(), handle.database.clone());
        arbiters.spawn(lanes as u128, flush);
        handle
    }

    /// Hands over an operation. Never waits: a full lane refuses it with `overloaded` at once.
    pub fn submit(&self, operation: Operation) {
        let lane = &self.lanes[self.lane_of(operation.conversation_id)];
        match lane.sender().try_send(LaneMessage::Operation(Box::new(operation))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(LaneMessage::Operation(operation))) => {
                operation.done.complete(Err(Error::Overloaded));
            }
            // Closed only when the process ends; dropping the operation completes it.
            Err(_) => {}
        }
    }

    /// Notes how far a user has read; written within a second or two.
    pub fn mark_read(&self, conversation_id: ConversationId, user_id: UserId, seq: Seq) {
        self.markers.mark(conversation_id, user_id, seq);
    }

    /// How far a user has read, if that is newer than a row read just now may be.
    #[must_use]
    pub fn latest_read(&self, conversation_id: ConversationId, user_id: UserId) -> Option<Seq> {
        self.markers.latest(conversation_id, user_id)
    }

    /// Waits until all that was submitted before is completed, and writes the read markers.
    pub async fn flush(&self) {
        for lane in &*self.lanes {
            let (flushed, done) = oneshot::channel();
            if lane.sender().send(LaneMessage::Flush(flushed)).await.is_ok() && done.await.is_err() {
                // What it was committing is completed; its successor goes on with the rest.
                tracing::warn!("a writer lane died while it was flushed");
            }
        }
        self.markers.flush(&self.database).await;
    }

    /// How many operations wait, lane by lane.
    #[must_use]
    pub fn lane_depths(&self) -> Vec<usize> {
        self.lanes.iter().map(|lane| lane.depth()).collect()
    }

    /// What waits for the lanes, and the read markers that wait to be written.
    #[must_use]
    pub fn depths(&self) -> Vec<Depth> {
        let (lanes, markers) = (self.lane_depths(), self.markers.len());
        vec![
            Depth {
                actor: lane::ACTOR,
                total: lanes.iter().sum(),
                deepest: lanes.iter().copied().max().unwrap_or_default(),
            },
            Depth {
                actor: read_markers_actor::ACTOR,
                total: markers,
                deepest: markers,
            },
        ]
    }

    fn lane_of(&self, id: ConversationId) -> usize {
        usize::try_from(id.0.as_u128() % self.lanes.len() as u128).unwrap_or_default()
    }
}
