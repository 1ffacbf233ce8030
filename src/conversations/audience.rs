//! What conversations need of the sessions, which are above them: a trait, implemented in
//! `sessions/`.

use crate::ids::{ConnectionId, UserId};
use crate::wire::frames::Notice;

/// The sockets of this node. Must not block.
pub trait Audience: Send + Sync + 'static {
    /// Pushes a notice to the user's connections, except those for which `subscribed` is true.
    fn notify(&self, user: UserId, notice: Notice, subscribed: &dyn Fn(ConnectionId) -> bool);
}
