//! One socket, as seen from outside its worker thread: by those who push to it, sweep it, revoke it
//! or drain it.

use crate::auth::{CredentialId, Principal};
use crate::error::CloseCode;
use crate::ids::{ConnectionId, Network, TenantId, Tier, UserId};
use crate::rate_limit::Payer;
use crate::wire::Outbox;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

/// A live socket. The identity fields never change; the principal's rights may.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub user_id: UserId,
    pub tenant_id: TenantId,
    /// Where its client is.
    pub network: Network,
    /// Whether it was opened by a guest.
    pub(super) is_guest: bool,
    /// What waits to be written.
    pub outbox: Arc<Outbox>,
    /// Set when the TCP connection is to end, whatever waits.
    shut_down: AtomicBool,
    /// The socket's task, which may be waiting for room to write.
    task: AtomicWaker,
    started: Instant,
    principal: Mutex<Principal>,
    in_flight: AtomicU32,
    /// Milliseconds after `started` at which bytes last came in.
    received_ms: AtomicU64,
    draining: AtomicBool,
}

impl Connection {
    /// A socket that has just been opened. `is_limited` as for [`Outbox::new`].
    #[must_use]
    pub fn new(principal: Principal, network: Network, is_limited: bool) -> Self {
        Self {
            id: ConnectionId::new(),
            user_id: principal.user_id,
            tenant_id: principal.tenant_id,
            network,
            is_guest: principal.tier == Tier::Anonymous,
            outbox: Arc::new(Outbox::new(is_limited)),
            shut_down: AtomicBool::new(false),
            task: AtomicWaker::new(),
            started: Instant::now(),
            principal: Mutex::new(principal),
            in_flight: AtomicU32::new(0),
            received_ms: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::new(principal_for_tests(UserId::new()), Network::NONE, true)
    }

    /// Who is connected, with the rights of this moment.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.principal.lock().clone()
    }

    /// Whose quota its frames are taken from, with the tier of this moment.
    pub(super) fn payer(&self) -> Payer {
        let principal = self.principal.lock();
        Payer::user(self.user_id, principal.tier).of_tenant(principal.tenant_id, principal.plan)
    }

    /// Gives the connection other rights or renewed credentials.
    pub(super) fn set_principal(&self, principal: Principal) {
        *self.principal.lock() = principal;
    }

    /// The login or key behind the credentials.
    pub(super) fn credential_id(&self) -> CredentialId {
        self.principal.lock().credential.id()
    }

    /// How the connection ends if its credentials have run out by `now_ms`, in milliseconds of Unix
    /// time. A token is renewed; a key that has run out is as good as deleted.
    pub(super) fn expired(&self, now_ms: i64) -> Option<CloseCode> {
        let principal = self.principal.lock();
        if principal.expires_at?.timestamp_millis() > now_ms {
            return None;
        }
        Some(match principal.credential.id() {
            CredentialId::Session(_) => CloseCode::TokenExpired,
            CredentialId::ApiKey(_) => CloseCode::Revoked,
        })
    }

    /// Counts a frame that will be replied to; false when none is accepted any more. It counts
    /// first and looks then, and the drain does it the other way round: one of the two sees the
    /// other, so no frame is accepted unnoticed.
    pub fn accept_frame(&self) -> bool {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let is_accepted = !self.draining.load(Ordering::SeqCst);
        if !is_accepted {
            self.replied(1);
        }
        is_accepted
    }

    /// Replies have been handed to the socket.
    pub(super) fn replied(&self, replies: u32) {
        // Replies that were never counted must not wrap it.
        let subtract = |in_flight: u32| Some(in_flight.saturating_sub(replies));
        if self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract)
            .is_err()
        {
            tracing::debug!("a count of frames in flight was not lowered");
        }
    }

    /// Frames whose replies have not been handed to the socket.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst) as usize
    }

    /// Bytes have come in.
    pub(super) fn received(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.received_ms.store(elapsed, Ordering::Relaxed);
    }

    /// For how long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// For how long nothing has come in, in milliseconds.
    pub(super) fn silent_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_sub(self.received_ms.load(Ordering::Relaxed))
    }

    /// From now on no frame is accepted.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends the TCP connection from outside, for a socket that is not written to any more.
    pub(crate) fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.task.wake();
    }

    /// Whether [`Self::shut_down`] was called; if not, `task` is woken when it is.
    pub(crate) fn is_shut_down(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.shut_down.load(Ordering::SeqCst)
    }
}

/// A member of a tenant of their own.
#[cfg(test)]
pub(super) fn principal_for_tests(user_id: UserId) -> Principal {
    use crate::ids::{Plan, Role, SessionId, Tier, UserKind};
    Principal {
        tenant_id: TenantId::new(),
        user_id,
        credential: crate::auth::Credential::Session(SessionId::new()),
        kind: UserKind::Person,
        name: "Ada".into(),
        role: Role::Member,
        tier: Tier::Regular,
        plan: Plan::Regular,
        conversation: None,
        expires_at: None,
    }
}
