//! What conversations need of the sessions, which are above them: a trait, implemented in
//! `sessions/`.

use crate::ids::{ConnectionId, ConversationId, UserId};
use crate::wire::Frame;

/// The sockets of this node. Must not block.
pub trait Audience: Send + Sync + 'static {
    /// Pushes a notice of a conversation to those of the user's connections that are `wanted` and may
    /// touch the conversation. `frame` is called only when there is one. `wanted` must not take a
    /// lock.
    fn notify(
        &self,
        user: UserId,
        conversation: ConversationId,
        wanted: &dyn Fn(ConnectionId) -> bool,
        frame: &mut dyn FnMut() -> Frame,
    );
}
