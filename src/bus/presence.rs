//! What nodes publish about the users who are connected to them.
//!
//! Published and handled by `src/presence`, carried by the bus. Nodes of two versions read each
//! other's messages while an installation is upgraded: the order of variants and fields is their
//! form on the wire (see `codec.rs`).

use crate::ids::{NodeId, UserId};
use serde::{Deserialize, Serialize};

/// A node says something about its own users, or asks another node about those there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PresenceMessage {
    /// The first connection of a user came to the node, or the last one is gone.
    Delta {
        node: NodeId,
        user_id: UserId,
        online: bool,
    },
    /// A sign of life of the sender, whose other messages may have been lost.
    Heartbeat {
        node: NodeId,
        /// How many deltas it has published since it started.
        version: u64,
    },
    /// Someone needs a node's snapshot.
    SyncRequest {
        /// The node that should publish it.
        node: NodeId,
    },
    /// All users of the sender, or a part of them.
    Snapshot(SnapshotPart),
}

/// A part of the list of all users who are connected to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotPart {
    pub node: NodeId,
    /// How many deltas the sender had published when it made the list.
    pub version: u64,
    /// Which part this is, from 0.
    pub part: u32,
    /// How many parts the list has.
    pub parts: u32,
    pub users: Vec<UserId>,
}
