//! What the sessions are built from, and share.

use super::directory::Directory;
use crate::auth::Auth;
use crate::conversations::ConversationsHandle;
use crate::ids::NodeId;
use crate::presence::PresenceHandle;
use crate::rate_limit::RateLimitHandle;
use std::sync::Arc;

/// What the sessions are built from.
pub struct SessionDependencies {
    pub node: NodeId,
    /// Also the audience of the conversations.
    pub directory: Arc<Directory>,
    pub conversations: ConversationsHandle,
    pub presence: PresenceHandle,
    pub auth: Auth,
    pub limits: RateLimitHandle,
}
