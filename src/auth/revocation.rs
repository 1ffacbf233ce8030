//! The revocation cache: what has been revoked or changed since the credentials in circulation were
//! issued. Kept in memory, and fresh by polling `auth_events`.
//!
//! `upkeep.rs` polls it each second, on every node. No bus is needed, so a logout or suspension on
//! one node reaches all within five seconds, also while Redis is down. Applying is idempotent:
//! windows overlap generously, because the time of a row is taken when it is written, but the row
//! is seen when its transaction commits. A local change is applied at once, by the same function.
//!
//! Bounds: an entry is kept as long as a token may live that contradicts it, or as long as the
//! look-up of a key may be remembered. So the cache holds what was revoked or changed within about
//! fifteen minutes. The channel of events holds [`EVENTS_MAX`]. A receiver that falls behind gets
//! `Lagged`, and checks its sockets with `Auth::recheck`.
//!
//! While the database is away, a node keeps to what it knows. The next window begins at the last
//! success.

use super::error::Error;
use super::events::{AuthEvent, UserState};
use super::principal::{CredentialId, Principal};
use super::store::events as store;
use crate::database::Database;
use crate::ids::{Role, UserId, UserStatus};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Interval of the reads; five seconds are promised.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How far a read reaches back behind the last one: longer than any transaction that writes an
/// event may take.
const OVERLAP: Duration = Duration::from_secs(30);
/// The longest time without a read that is caught up with: as long as events are kept at least.
pub(super) const GAP_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Events a receiver may fall behind.
const EVENTS_MAX: usize = 1_024;

/// What was revoked or changed lately, and who listens.
pub(super) struct RevocationCache {
    entries: RwLock<RevocationEntries>,
    events: broadcast::Sender<AuthEvent>,
    /// How long a token may contradict an entry.
    keep: Duration,
}

#[derive(Default)]
struct RevocationEntries {
    revoked: HashMap<CredentialId, Instant>,
    changed: HashMap<UserId, (UserState, Instant)>,
}

impl RevocationCache {
    /// An empty cache for credentials that are believed for `ttl` without looking.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            entries: RwLock::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            // A token may be issued from a row read just before it changed; the overlap covers that
            // and clock leeway.
            keep: ttl + 2 * OVERLAP,
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<AuthEvent> {
        self.events.subscribe()
    }

    /// The principal with what has changed since its token was issued, or since its key was looked
    /// up, when its user's status was `status`.
    pub(super) fn check(&self, mut principal: Principal, status: UserStatus) -> Result<Principal, Error> {
        let entries = self.entries.read();
        if entries.revoked.contains_key(&principal.credential.id()) {
            return Err(Error::Revoked);
        }
        let Some((user, _)) = entries.changed.get(&principal.user_id) else {
            return match status {
                UserStatus::Active => Ok(principal),
                UserStatus::Suspended => Err(Error::Suspended),
            };
        };
        if user.status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        principal.name = user.name.clone();
        principal.tier = user.tier;
        principal.role = user.role;
        if user.role != Role::Guest {
            principal.conversation = None;
        }
        Ok(principal)
    }

    /// Applies what was read or changed, and sends the listeners what is new in it.
    pub(super) fn apply(&self, events: Vec<AuthEvent>, now: Instant) {
        let until = now + self.keep;
        let mut news = Vec::new();
        let mut entries = self.entries.write();
        for event in events {
            match event {
                AuthEvent::Revoked(credential) => {
                    if entries.revoked.insert(credential, until).is_none() {
                        news.push(AuthEvent::Revoked(credential));
                    }
                }
                AuthEvent::UserChanged(user) => {
                    let known = entries.changed.get(&user.user_id).map(|(known, _)| known);
                    if known.is_some_and(|known| known.updated_at > user.updated_at) {
                        continue;
                    }
                    let is_new = known != Some(&user);
                    entries.changed.insert(user.user_id, (user.clone(), until));
                    if is_new {
                        news.push(AuthEvent::UserChanged(user));
                    }
                }
            }
        }
        drop(entries);
        for event in news {
            // Nobody listening is fine: there are no sockets then.
            self.events.send(event).ok();
        }
    }

    /// Removes what no living token can contradict.
    pub(super) fn prune(&self, now: Instant) {
        let mut entries = self.entries.write();
        entries.revoked.retain(|_, until| *until > now);
        entries.changed.retain(|_, (_, until)| *until > now);
    }

    /// Reads once; `since` is the start of the last successful read, `None` at the start of the
    /// process.
    pub(super) async fn poll(&self, database: &Database, since: Option<Instant>) -> Result<Instant, Error> {
        let started = Instant::now();
        // A token that outlived the gap has run out; the socket of a deleted key has not. So a gap
        // is read whole.
        let window = since.map_or(self.keep, |since| started.duration_since(since).min(GAP_MAX)) + OVERLAP;
        let client = database.client().await?;
        let events = store::list_auth_events(&client, window).await?;
        self.apply(events, started);
        self.prune(started);
        Ok(started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Credential;
    use crate::auth::scopes::{Scope, Scopes};
    use crate::ids::{ApiKeyId, ConversationId, Plan, SessionId, TenantId, Tier, UserKind};
    use chrono::DateTime;

    fn principal() -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            kind: UserKind::Person,
            name: "Ann".into(),
            role: Role::Guest,
            tier: Tier::Anonymous,
            plan: Plan::Regular,
            conversation: Some(ConversationId::new()),
            expires_at: None,
        }
    }

    fn state(p: &Principal) -> UserState {
        UserState {
            tenant_id: p.tenant_id,
            user_id: p.user_id,
            name: p.name.clone(),
            role: p.role,
            tier: p.tier,
            status: UserStatus::Active,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn revocation_and_suspension_refuse_and_are_notified_once() {
        let cache = RevocationCache::new(Duration::from_secs(900));
        let mut events = cache.subscribe();
        let (a, b) = (principal(), principal());
        assert!(cache.check(a.clone(), UserStatus::Active).is_ok());
        let suspended = UserState {
            status: UserStatus::Suspended,
            ..state(&b)
        };
        for _ in 0..2 {
            cache.apply(
                vec![
                    AuthEvent::Revoked(a.credential.id()),
                    AuthEvent::UserChanged(suspended.clone()),
                ],
                Instant::now(),
            );
        }
        assert!(matches!(
            cache.check(a.clone(), UserStatus::Active),
            Err(Error::Revoked)
        ));
        assert!(matches!(cache.check(b, UserStatus::Active), Err(Error::Suspended)));
        assert_eq!(events.try_recv().unwrap(), AuthEvent::Revoked(a.credential.id()));
        assert_eq!(events.try_recv().unwrap(), AuthEvent::UserChanged(suspended));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn the_latest_rights_win_over_the_token() {
        let cache = RevocationCache::new(Duration::from_secs(900));
        let guest = principal();
        let promoted = UserState {
            role: Role::Member,
            tier: Tier::Premium,
            name: "Anna".into(),
            ..state(&guest)
        };
        cache.apply(vec![AuthEvent::UserChanged(promoted)], Instant::now());
        let now = cache.check(guest.clone(), UserStatus::Active).unwrap();
        assert_eq!(
            (now.role, now.tier, &*now.name, now.conversation),
            (Role::Member, Tier::Premium, "Anna", None)
        );
        let renamed = UserState {
            name: "Annie".into(),
            ..state(&guest)
        };
        cache.apply(vec![AuthEvent::UserChanged(renamed)], Instant::now());
        assert_eq!(
            cache.check(guest.clone(), UserStatus::Active).unwrap().conversation,
            guest.conversation,
            "still a guest"
        );
    }

    #[test]
    fn a_key_is_worth_what_its_user_is_now() {
        let cache = RevocationCache::new(Duration::from_secs(900));
        let id = ApiKeyId::new();
        let scopes: Scopes = Scope::ALL.into_iter().collect();
        let key = Principal {
            role: Role::Owner,
            credential: Credential::ApiKey { id, scopes },
            ..principal()
        };
        assert!(matches!(
            cache.check(key.clone(), UserStatus::Suspended),
            Err(Error::Suspended)
        ));
        let demoted = UserState {
            role: Role::Member,
            ..state(&key)
        };
        cache.apply(vec![AuthEvent::UserChanged(demoted)], Instant::now());
        // Active again since the key was looked up, and no admin any more.
        let now = cache.check(key.clone(), UserStatus::Suspended).unwrap();
        assert!(now.scopes().contains(Scope::Chat) && !now.scopes().contains(Scope::Admin));
        cache.apply(vec![AuthEvent::Revoked(CredentialId::ApiKey(id))], Instant::now());
        assert!(matches!(cache.check(key, UserStatus::Active), Err(Error::Revoked)));
    }

    #[test]
    fn a_slow_read_does_not_undo_a_local_change() {
        let cache = RevocationCache::new(Duration::from_secs(900));
        let who = principal();
        let updated_at = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1);
        let suspended = UserState {
            status: UserStatus::Suspended,
            updated_at,
            ..state(&who)
        };
        cache.apply(vec![AuthEvent::UserChanged(suspended)], Instant::now());
        cache.apply(vec![AuthEvent::UserChanged(state(&who))], Instant::now());
        assert!(matches!(cache.check(who, UserStatus::Active), Err(Error::Suspended)));
    }

    #[test]
    fn entries_outlive_the_tokens_and_are_then_forgotten() {
        let ttl = Duration::from_secs(900);
        let cache = RevocationCache::new(ttl);
        let (who, start) = (principal(), Instant::now());
        cache.apply(
            vec![
                AuthEvent::Revoked(who.credential.id()),
                AuthEvent::UserChanged(state(&who)),
            ],
            start,
        );
        cache.prune(start + ttl + OVERLAP);
        assert!(cache.check(who.clone(), UserStatus::Active).is_err());
        cache.prune(start + ttl + 2 * OVERLAP);
        assert!(cache.check(who, UserStatus::Active).is_ok());
        let entries = cache.entries.read();
        assert_eq!((entries.revoked.len(), entries.changed.len()), (0, 0));
    }
}
