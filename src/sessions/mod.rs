//! Sessions: who is connected, and one actor for each WebSocket.
//!
//! `session.rs` is the socket's actor, `transport/` the code below it that reads and writes frames,
//! `answers.rs` what it says to changes, `refusals.rs` when it has refused enough, `connection.rs` and `directory.rs` the
//! sockets as others see them, `sweep.rs` what must happen from outside, `drain.rs` how they go when the node goes,
//! `socket.rs` the descriptor by which a stuck one is ended.
//!
//! Bounds: 50,000 connections on a node (then 503), 20 of a user and 100 of an address (then 4005), 32 unanswered frames of
//! one (then it is not read), 1 MiB or 1,024 frames waiting for one (then it is cut).

mod answers;
mod connection;
mod directory;
mod drain;
mod refusals;
mod session;
mod socket;
mod sweep;
pub mod transport;

pub use connection::Connection;
pub use directory::Directory;
pub use session::{Opening, Unopened, open};
pub use socket::Socket;

use crate::auth::{Auth, AuthEvent, Scope, UserState};
use crate::config::SessionsConfig;
use crate::conversations::ConversationsHandle;
use crate::error::{CloseCode, Code};
use crate::ids::{NodeId, Role, UserStatus};
use crate::metrics::{Surface, metrics};
use crate::presence::PresenceHandle;
use crate::rate_limit::RateLimitHandle;
use crate::supervision::{ArbiterPool, supervise_task};
use crate::wire::frames::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use sweep::Sweeper;
use tokio::sync::broadcast;

/// What listens for revocations is called this in logs and metrics.
const REVOCATIONS: &str = "revocations";

/// The sessions of this node. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    directory: Arc<Directory>,
    conversations: ConversationsHandle,
    presence: PresenceHandle,
    auth: Auth,
    limits: RateLimitHandle,
    heartbeat: Duration,
}

/// What the sessions are built from.
pub struct SessionDependencies {
    pub node: NodeId,
    /// Also the audience of the conversations.
    pub directory: Arc<Directory>,
    pub conversations: ConversationsHandle,
    pub presence: PresenceHandle,
    pub auth: Auth,
    pub limits: RateLimitHandle,
    pub arbiters: ArbiterPool,
}

/// Why a socket is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The node is going away.
    Draining,
    /// The node has as many connections as it may.
    Full,
}

impl Sessions {
    /// Starts the sweep and the task that handles revocations.
    #[must_use]
    pub fn start(dependencies: SessionDependencies, config: &SessionsConfig) -> Self {
        let arbiters = dependencies.arbiters;
        let sessions = Self {
            shared: Arc::new(Shared {
                node: dependencies.node,
                directory: dependencies.directory,
                conversations: dependencies.conversations,
                presence: dependencies.presence,
                auth: dependencies.auth,
                limits: dependencies.limits,
                heartbeat: config.heartbeat,
            }),
        };
        Sweeper::start_supervised(&sessions, config, &arbiters);
        let listening = sessions.clone();
        arbiters.spawn(0, async move {
            let sessions = &listening;
            supervise_task(REVOCATIONS, |generation| sessions.listen(generation)).await;
        });
        sessions
    }

    /// Whether a new socket may be opened.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_room(&self) -> Result<(), Refused> {
        match self.shared.directory.check_room() {
            Err(directory::Full::Leaving) => Err(Refused::Draining),
            Err(_) => Err(Refused::Full),
            Ok(()) => Ok(()),
        }
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.shared.directory.len()
    }

    fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// A socket has opened.
    fn connected(&self, connection: &Arc<Connection>) -> Result<(), directory::Full> {
        let inserted = self.shared.directory.insert(connection);
        if matches!(inserted, Err(directory::Full::User | directory::Full::Network)) {
            metrics().rate_limited(connection.payer().tier(), Surface::Connections);
        }
        inserted?;
        self.shared.presence.connected(connection.user_id);
        Ok(())
    }

    /// A socket is gone.
    fn disconnected(&self, connection: &Connection) {
        if self.shared.directory.remove(connection) {
            self.shared.presence.disconnected(connection.user_id);
        }
    }

    /// Hears of revocations and changes of users.
    async fn listen(&self, generation: u64) {
        let mut events = self.shared.auth.events();
        if generation > 1 {
            // What was told between two generations was heard by nobody.
            self.recheck_all();
        }
        loop {
            match events.recv().await {
                Ok(AuthEvent::Revoked(credential)) => {
                    let revoked = |connection: &&Arc<Connection>| connection.credential_id() == credential;
                    for connection in self.shared.directory.all().iter().filter(revoked) {
                        connection.outbox.cut(CloseCode::Revoked);
                    }
                }
                Ok(AuthEvent::UserChanged(user)) => self.user_changed(&user),
                // Some events were lost: look at everybody.
                Err(broadcast::error::RecvError::Lagged(_)) => self.recheck_all(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn user_changed(&self, user: &UserState) {
        for connection in self.shared.directory.of_user(user.user_id) {
            if user.status == UserStatus::Suspended {
                connection.outbox.cut(CloseCode::Suspended);
            } else {
                self.recheck(&connection);
            }
        }
        self.shared.conversations.renamed(user.user_id, &user.name);
    }

    fn recheck_all(&self) {
        for connection in self.shared.directory.all() {
            self.recheck(&connection);
        }
    }

    fn recheck(&self, connection: &Connection) {
        let before = connection.principal();
        let was_guest = before.role == Role::Guest;
        match self.shared.auth.recheck(before) {
            // A key whose user lost the right to chat.
            Ok(principal) if !principal.scopes().contains(Scope::Chat) => connection.outbox.cut(CloseCode::Revoked),
            // What the connection follows was allowed to somebody who was no guest; let it ask again.
            Ok(principal) if principal.role == Role::Guest && !was_guest => {
                connection.outbox.cut(CloseCode::StateDiscarded);
            }
            Ok(principal) => connection.set_principal(principal),
            Err(crate::auth::Error::Suspended) => connection.outbox.cut(CloseCode::Suspended),
            Err(_) => connection.outbox.cut(CloseCode::Revoked),
        }
    }

    /// Gives a connection renewed credentials; until when they are good.
    fn renew(&self, connection: &Connection, token: &str) -> Result<Option<Timestamp>, (Code, &'static str)> {
        if connection.principal().session_id().is_none() {
            return Err((Code::Forbidden, "A connection of an API key needs no token."));
        }
        let renewed = self.shared.auth.authenticate_token(token);
        let principal = renewed.map_err(|error| (error.code(), error.code().text()))?;
        if principal.user_id != connection.user_id {
            return Err((Code::Forbidden, "The token is another user's."));
        }
        let token_expires_at = principal.expires_at;
        connection.set_principal(principal);
        // What was revoked between the look at the token and now spoke of the old one to this connection.
        self.recheck(connection);
        Ok(token_expires_at)
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::{Credential, Principal};
    use crate::ids::{Role, SessionId, TenantId, Tier, UserId, UserKind};

    pub(super) fn principal(user_id: UserId) -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id,
            credential: Credential::Session(SessionId::new()),
            kind: UserKind::Person,
            name: "Ada".into(),
            role: Role::Member,
            tier: Tier::Regular,
            conversation: None,
            expires_at: None,
        }
    }
}
