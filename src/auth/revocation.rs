//! What has been revoked or changed since the tokens in circulation were issued: a picture in memory, kept fresh by
//! reading `auth_events`.
//!
//! Every node reads the latest rows each second and needs no bus for it, so a log-out or suspension on one node reaches
//! all within five seconds, also while Redis is down. Reading is idempotent: the window overlaps generously, because a
//! row's time is taken when it is written but seen when its transaction commits. A local change is applied at once, by
//! the same functions.
//!
//! Bounds: an entry is kept as long as a token that contradicts it may live, or a key's look-up may be remembered, then
//! dropped; so the picture holds what was revoked or changed within about fifteen minutes. The event channel holds
//! [`EVENTS_MAX`]; a receiver that falls behind is told so (`Lagged`) and checks its sockets with
//! [`super::Auth::recheck`].
//!
//! Crash and overload: the reader runs in a task that is started again when it panics, and simply tries again when the
//! database is away; its next window begins at its last success. While a node cannot read, it keeps to what it knows.

use super::store;
use super::{CredentialId, Error, Principal};
use crate::database::Database;
use crate::ids::{Role, TenantId, Tier, UserId, UserStatus};
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Interval of the reads; five seconds are promised.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How far a read reaches back behind the last one: longer than any transaction that writes an event may take.
const OVERLAP: Duration = Duration::from_secs(30);
/// The longest time without a read that is caught up with: as long as events are kept at least.
pub(super) const GAP_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Events a receiver may fall behind.
const EVENTS_MAX: usize = 1_024;

/// A user as they are now, where it concerns their rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState {
    /// The user's tenant.
    pub tenant_id: TenantId,
    /// The user.
    pub user_id: UserId,
    /// Display name.
    pub name: ByteString,
    /// Role in the tenant.
    pub role: Role,
    /// Tier of the limits.
    pub tier: Tier,
    /// Suspended users are refused everywhere.
    pub status: UserStatus,
    /// When the row last changed: a read that began before a local change must not undo it here.
    pub updated_at: DateTime<Utc>,
}

/// What live sockets must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A log-in is over, or a key deleted: its sockets are closed with 4001.
    Revoked(CredentialId),
    /// A user's name, role, tier or status is another: sockets get the new rights, or are closed with 4003.
    UserChanged(UserState),
}

/// One row of `auth_events`, as read.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Revoked(CredentialId),
    Changed(UserState),
}

/// The picture.
pub(super) struct Picture {
    entries: RwLock<Entries>,
    events: broadcast::Sender<Event>,
    /// How long a token may contradict an entry.
    keep: Duration,
}

#[derive(Default)]
struct Entries {
    revoked: HashMap<CredentialId, Instant>,
    changed: HashMap<UserId, (UserState, Instant)>,
}

impl Picture {
    /// An empty picture for credentials that are believed for `ttl` without looking.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            entries: RwLock::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            // A token may be issued from a row read just before it changed; the overlap covers that and clock leeway.
            keep: ttl + 2 * OVERLAP,
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The principal with what has changed since its token was issued, or since its key was looked up, when its user's
    /// status was `status`.
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

    /// Takes up what was read or changed; tells the listeners what is new in it.
    pub(super) fn apply(&self, rows: Vec<Row>, now: Instant) {
        let until = now + self.keep;
        let mut news = Vec::new();
        let mut entries = self.entries.write();
        for row in rows {
            match row {
                Row::Revoked(credential) => {
                    if entries.revoked.insert(credential, until).is_none() {
                        news.push(Event::Revoked(credential));
                    }
                }
                Row::Changed(user) => {
                    let known = entries.changed.get(&user.user_id).map(|(known, _)| known);
                    if known.is_some_and(|known| known.updated_at > user.updated_at) {
                        continue;
                    }
                    let is_new = known != Some(&user);
                    entries.changed.insert(user.user_id, (user.clone(), until));
                    if is_new {
                        news.push(Event::UserChanged(user));
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

    /// Forgets what no living token can contradict.
    pub(super) fn prune(&self, now: Instant) {
        let mut entries = self.entries.write();
        entries.revoked.retain(|_, until| *until > now);
        entries.changed.retain(|_, (_, until)| *until > now);
    }

    /// Reads once; `since` is the start of the last successful read, `None` at the start of the process.
    pub(super) async fn poll(&self, database: &Database, since: Option<Instant>) -> Result<Instant, Error> {
        let started = Instant::now();
        // A token that outlived the gap has run out; the socket of a deleted key has not. So a gap is read whole.
        let window = since.map_or(self.keep, |since| started.duration_since(since).min(GAP_MAX)) + OVERLAP;
        let client = database.client().await?;
        let rows = store::list_auth_events(&client, window).await?;
        self.apply(rows, started);
        self.prune(started);
        Ok(started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Credential, Scope, Scopes};
    use crate::ids::{ApiKeyId, ConversationId, SessionId, UserKind};

    fn principal() -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            credential: Credential::Session(SessionId::new()),
            kind: UserKind::Person,
            name: "Ann".into(),
            role: Role::Guest,
            tier: Tier::Anonymous,
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
    fn revocation_and_suspension_refuse_and_are_told_once() {
        let picture = Picture::new(Duration::from_secs(900));
        let mut events = picture.subscribe();
        let (a, b) = (principal(), principal());
        assert!(picture.check(a.clone(), UserStatus::Active).is_ok());
        let suspended = UserState {
            status: UserStatus::Suspended,
            ..state(&b)
        };
        for _ in 0..2 {
            picture.apply(
                vec![Row::Revoked(a.credential.id()), Row::Changed(suspended.clone())],
                Instant::now(),
            );
        }
        assert!(matches!(
            picture.check(a.clone(), UserStatus::Active),
            Err(Error::Revoked)
        ));
        assert!(matches!(picture.check(b, UserStatus::Active), Err(Error::Suspended)));
        assert_eq!(events.try_recv().unwrap(), Event::Revoked(a.credential.id()));
        assert_eq!(events.try_recv().unwrap(), Event::UserChanged(suspended));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn the_latest_rights_win_over_the_token() {
        let picture = Picture::new(Duration::from_secs(900));
        let guest = principal();
        let promoted = UserState {
            role: Role::Member,
            tier: Tier::Premium,
            name: "Anna".into(),
            ..state(&guest)
        };
        picture.apply(vec![Row::Changed(promoted)], Instant::now());
        let now = picture.check(guest.clone(), UserStatus::Active).unwrap();
        assert_eq!(
            (now.role, now.tier, &*now.name, now.conversation),
            (Role::Member, Tier::Premium, "Anna", None)
        );
        let renamed = UserState {
            name: "Annie".into(),
            ..state(&guest)
        };
        picture.apply(vec![Row::Changed(renamed)], Instant::now());
        assert_eq!(
            picture.check(guest.clone(), UserStatus::Active).unwrap().conversation,
            guest.conversation,
            "still a guest"
        );
    }

    #[test]
    fn a_key_is_worth_what_its_user_is_now() {
        let picture = Picture::new(Duration::from_secs(900));
        let id = ApiKeyId::new();
        let scopes: Scopes = Scope::ALL.into_iter().collect();
        let key = Principal {
            role: Role::Owner,
            credential: Credential::ApiKey { id, scopes },
            ..principal()
        };
        assert!(matches!(
            picture.check(key.clone(), UserStatus::Suspended),
            Err(Error::Suspended)
        ));
        let demoted = UserState {
            role: Role::Member,
            ..state(&key)
        };
        picture.apply(vec![Row::Changed(demoted)], Instant::now());
        // Active again since the key was looked up, and no admin any more.
        let now = picture.check(key.clone(), UserStatus::Suspended).unwrap();
        assert!(now.scopes().contains(Scope::Chat) && !now.scopes().contains(Scope::Admin));
        picture.apply(vec![Row::Revoked(CredentialId::ApiKey(id))], Instant::now());
        assert!(matches!(picture.check(key, UserStatus::Active), Err(Error::Revoked)));
    }

    #[test]
    fn a_slow_read_does_not_undo_a_local_change() {
        let picture = Picture::new(Duration::from_secs(900));
        let who = principal();
        let updated_at = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1);
        let suspended = UserState {
            status: UserStatus::Suspended,
            updated_at,
            ..state(&who)
        };
        picture.apply(vec![Row::Changed(suspended)], Instant::now());
        picture.apply(vec![Row::Changed(state(&who))], Instant::now());
        assert!(matches!(picture.check(who, UserStatus::Active), Err(Error::Suspended)));
    }

    #[test]
    fn entries_outlive_the_tokens_and_are_then_forgotten() {
        let ttl = Duration::from_secs(900);
        let picture = Picture::new(ttl);
        let (who, start) = (principal(), Instant::now());
        picture.apply(
            vec![Row::Revoked(who.credential.id()), Row::Changed(state(&who))],
            start,
        );
        picture.prune(start + ttl + OVERLAP);
        assert!(picture.check(who.clone(), UserStatus::Active).is_err());
        picture.prune(start + ttl + 2 * OVERLAP);
        assert!(picture.check(who, UserStatus::Active).is_ok());
        let entries = picture.entries.read();
        assert_eq!((entries.revoked.len(), entries.changed.len()), (0, 0));
    }
}
