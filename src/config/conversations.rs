//! The settings of conversations and their commits.

use super::values::{cores, pause};
use super::walk::SettingsWalk;
use crate::supervision::RestartPolicy;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct ConversationsConfig {
    pub passivate_after: Duration,
    pub arbiters: usize,
    pub active_max: usize,
    pub persistence_lanes: usize,
    /// How often a conversation that dies is started again. Not a setting.
    pub restarts: RestartPolicy,
}

impl Default for ConversationsConfig {
    fn default() -> Self {
        Self {
            passivate_after: Duration::from_secs(300),
            arbiters: cores(),
            active_max: 100_000,
            persistence_lanes: 2,
            restarts: RestartPolicy::default(),
        }
    }
}

impl ConversationsConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Conversations", "");
        walk.bounded(
            "PARLANCE_PASSIVATE_AFTER",
            &mut self.passivate_after,
            pause(),
            "A conversation without subscribers leaves memory after this time.",
        );
        walk.bounded(
            "PARLANCE_ARBITERS",
            &mut self.arbiters,
            1..=1_024,
            "Threads that run conversations.",
        );
        walk.unset("one a core");
        walk.bounded(
            "PARLANCE_ACTIVE_MAX",
            &mut self.active_max,
            1..=10_000_000,
            "Conversations in memory at most.",
        );
        walk.bounded(
            "PARLANCE_PERSISTENCE_LANES",
            &mut self.persistence_lanes,
            1..=64,
            "Writers that commit at the same time. Each has a connection of its own beside the pool.",
        );
    }
}
