//! Keeps the rights of open connections true: a client renews its token, a login or key is revoked,
//! a user is suspended or has another role.
//!
//! A task of the node handles the events of auth. It closes connections and waits for nobody. When
//! it has lost events, because it was too slow or has died, it looks at every connection.

use super::connection::Connection;
use super::dependencies::SessionDependencies;
use crate::auth::{self, Auth, AuthEvent, Scope, UserState};
use crate::error::{CloseCode, Code};
use crate::ids::{Role, UserStatus};
use crate::supervision::{ArbiterPool, supervise_task};
use crate::wire::frames::Timestamp;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// What the task is called in logs and metrics.
const REVOCATIONS: &str = "revocations";

/// Why a token is not taken.
pub(super) struct RenewalError {
    pub(super) code: Code,
    pub(super) message: &'static str,
}

/// Starts the task under supervision.
pub(super) fn start(dependencies: &Arc<SessionDependencies>, arbiters: &ArbiterPool) {
    let dependencies = dependencies.clone();
    arbiters.spawn(0, async move {
        let dependencies = &dependencies;
        supervise_task(REVOCATIONS, |generation| handle_events(dependencies, generation)).await;
    });
}

async fn handle_events(dependencies: &SessionDependencies, generation: u64) {
    let mut events = dependencies.auth.events();
    if generation > 1 {
        // Nobody received what came between two generations.
        recheck_all(dependencies);
    }
    loop {
        match events.recv().await {
            Ok(AuthEvent::Revoked(credential)) => {
                let revoked = |connection: &&Arc<Connection>| connection.credential_id() == credential;
                for connection in dependencies.directory.all().iter().filter(revoked) {
                    connection.outbox.cut(CloseCode::Revoked);
                }
            }
            Ok(AuthEvent::UserChanged(user)) => user_changed(dependencies, &user),
            Err(RecvError::Lagged(_)) => recheck_all(dependencies),
            Err(RecvError::Closed) => return,
        }
    }
}

fn user_changed(dependencies: &SessionDependencies, user: &UserState) {
    for connection in dependencies.directory.of_user(user.user_id) {
        if user.status == UserStatus::Suspended {
            connection.outbox.cut(CloseCode::Suspended);
        } else {
            recheck(&dependencies.auth, &connection);
        }
    }
    dependencies.conversations.renamed(user.user_id, &user.name);
}

fn recheck_all(dependencies: &SessionDependencies) {
    for connection in dependencies.directory.all() {
        recheck(&dependencies.auth, &connection);
    }
}

/// Gives a connection the rights that its user has now, or closes it.
pub(super) fn recheck(auth: &Auth, connection: &Connection) {
    let before = connection.principal();
    let was_guest = before.role == Role::Guest;
    match auth.recheck(before) {
        // A key whose user lost the right to chat.
        Ok(principal) if !principal.scopes().contains(Scope::Chat) => connection.outbox.cut(CloseCode::Revoked),
        // Its subscriptions were allowed to someone who was no guest; let it subscribe again.
        Ok(principal) if principal.role == Role::Guest && !was_guest => {
            connection.outbox.cut(CloseCode::StateDiscarded);
        }
        Ok(principal) => connection.set_principal(principal),
        Err(auth::Error::Suspended) => connection.outbox.cut(CloseCode::Suspended),
        Err(_) => connection.outbox.cut(CloseCode::Revoked),
    }
}

/// Gives a connection a new token. Returns until when it is good.
pub(super) fn renew(auth: &Auth, connection: &Connection, token: &str) -> Result<Option<Timestamp>, RenewalError> {
    let forbidden = |message| RenewalError {
        code: Code::Forbidden,
        message,
    };
    if connection.principal().session_id().is_none() {
        return Err(forbidden("A connection of an API key needs no token."));
    }
    let renewed = auth.authenticate_token(token);
    let principal = renewed.map_err(|error| RenewalError {
        code: error.code(),
        message: error.code().text(),
    })?;
    if principal.user_id != connection.user_id {
        return Err(forbidden("The token is another user's."));
    }
    let token_expires_at = principal.expires_at;
    connection.set_principal(principal);
    // A revocation since the token was verified was compared with the old one of this connection.
    recheck(auth, connection);
    Ok(token_expires_at)
}
