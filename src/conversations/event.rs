//! What a conversation is notified of. Events wait in the mailbox of its slot (`slot.rs`) and are
//! taken by `actor.rs`.

use crate::ids::{ConnectionId, Seq, UserId};
use crate::wire::Committed;
use bytestring::ByteString;

#[derive(Debug)]
pub(super) enum ConversationEvent {
    /// Changes were committed by this node.
    Committed(Committed),
    /// Changes were committed by another node, or the database was found to be further than this
    /// node.
    CommittedElsewhere(Committed),
    /// A member has read up to `seq`, on another node.
    Read { user: UserId, seq: Seq },
    /// A member started or stopped typing, on another node.
    Typing { user: UserId, on: bool },
    /// A user came online or went offline.
    Presence { user: UserId, online: bool },
    /// A user has another name.
    Renamed { user: UserId, name: ByteString },
    /// The table is full, and this conversation was unused for longest.
    MakeRoom,
    /// A connection is gone.
    Disconnected { connection: ConnectionId },
}
