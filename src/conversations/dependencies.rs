//! What the conversations of a node are built from, and what all of them share.

use super::audience::Audience;
use super::clock::Clock;
use super::slot_table::SlotTable;
use crate::bus::{Bus, Envelope, To};
use crate::cache::CacheHandle;
use crate::commit::CommitHandle;
use crate::config::ConversationsConfig;
use crate::database::Database;
use crate::fairness::{FairPermits, LogSample, TurnLimits};
use crate::ids::{ConversationId, NodeId, TenantId, UserId};
use crate::latency::LatencyRecorder;
use crate::metrics::SharedResource;
use crate::presence::PresenceHandle;
use crate::supervision::{ArbiterPool, RestartPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Conversations that read what they have missed, at the same time.
const CATCH_UPS_MAX: usize = 8;
/// Pages of replays that are read at the same time, in turns. A connection waits for one.
const REPLAYS: TurnLimits = TurnLimits {
    running_max: 8,
    running_of_group_max: 6,
    running_of_member_max: 4,
    waiting_max: 20_000,
    waiting_of_group_max: 10_000,
    waiting_of_member_max: 100,
};
/// Conversations that are loaded at the same time, in turns: fewer than the pool has connections,
/// and fewer of one tenant than of all.
const LOADS: TurnLimits = TurnLimits {
    running_max: 12,
    running_of_group_max: 10,
    running_of_member_max: 8,
    waiting_max: 10_000,
    waiting_of_group_max: 5_000,
    waiting_of_member_max: 500,
};

/// What the conversations are built from; made in `app.rs`.
pub struct ConversationDependencies {
    pub node: NodeId,
    /// The active conversations. The observers of commits know the same table.
    pub slots: Arc<SlotTable>,
    pub commits: CommitHandle,
    pub database: Database,
    pub bus: Arc<dyn Bus>,
    pub cache: CacheHandle,
    pub presence: PresenceHandle,
    pub audience: Arc<dyn Audience>,
    pub arbiters: ArbiterPool,
    /// What deliveries take.
    pub latencies: LatencyRecorder,
}

/// What every conversation of the node shares.
pub(super) struct ConversationContext {
    pub(super) node: NodeId,
    pub(super) slots: Arc<SlotTable>,
    pub(super) commits: CommitHandle,
    pub(super) database: Database,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) cache: CacheHandle,
    pub(super) presence: PresenceHandle,
    pub(super) audience: Arc<dyn Audience>,
    pub(super) arbiters: ArbiterPool,
    pub(super) latencies: LatencyRecorder,
    /// A permit for each read of what a conversation has missed.
    pub(super) catch_ups: Semaphore,
    /// A permit for each page that is read for a subscriber.
    pub(super) replays: FairPermits<TenantId, UserId>,
    /// A permit for each conversation that is loaded when it begins to be active.
    pub(super) loads: FairPermits<TenantId, UserId>,
    /// Of the lines that say that one could not be loaded.
    pub(super) failed_loads: Mutex<LogSample>,
    pub(super) clock: Clock,
    pub(super) passivate_after: Duration,
    pub(super) restarts: RestartPolicy,
}

impl ConversationContext {
    pub(super) fn new(dependencies: ConversationDependencies, config: &ConversationsConfig) -> Self {
        let ConversationDependencies {
            node,
            slots,
            commits,
            database,
            bus,
            cache,
            presence,
            audience,
            arbiters,
            latencies,
        } = dependencies;
        Self {
            node,
            slots,
            commits,
            database,
            bus,
            cache,
            presence,
            audience,
            arbiters,
            latencies,
            catch_ups: Semaphore::new(CATCH_UPS_MAX),
            replays: FairPermits::new(SharedResource::Replays, REPLAYS),
            loads: FairPermits::new(SharedResource::ConversationStarts, LOADS),
            failed_loads: Mutex::default(),
            clock: Clock::start(),
            passivate_after: config.passivate_after,
            restarts: config.restarts,
        }
    }

    pub(super) fn has_peers(&self) -> bool {
        self.bus.has_peers(self.node)
    }

    /// Publishes to the other nodes on which the conversation is active, if there are other nodes.
    pub(super) fn publish(&self, conversation: ConversationId, envelope: impl FnOnce() -> Envelope) {
        if self.has_peers() {
            self.bus.publish(self.node, To::Conversation(conversation), envelope());
        }
    }
}
