//! What has been revoked or changed since the tokens in circulation were issued: a picture in memory, kept fresh by
//! reading `auth_events`.
//!
//! Every node reads the latest rows each second and needs no bus for it, so a log-out or suspension on one node reaches
//! all within five seconds, also while Redis is down. Reading is idempotent: the window overlaps generously, because a
//! row's time is taken when it is written but seen when its transaction commits. A local change is applied at once, by
//! the same functions.
//!
//! Bounds: an entry is kept as long as a token that contradicts it may live, then dropped; so the picture holds what was
//! logged out or changed within about fifteen minutes. The event channel holds [`EVENTS_MAX`]; a receiver that falls
//! behind is told so (`Lagged`) and checks its sockets with [`super::Auth::recheck`].
//!
//! Crash and overload: the reader runs in a task that is started again when it panics, and simply tries again when the
//! database is away; its next window begins at its last success. While a node cannot read, it keeps to what it knows.

use super::store;
use super::{Error, Principal};
use crate::database::Database;
use crate::ids::{Role, SessionId, TenantId, Tier, UserId, UserStatus};
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
    /// A log-in is over: its sockets are closed with 4001.
    SessionRevoked {
        /// The log-in.
        session_id: SessionId,
    },
    /// A user's name, role, tier or status is another: sockets get the new rights, or are closed with 4003.
    UserChanged(UserState),
}

/// One row of `auth_events`, as read.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Revoked(SessionId),
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
    revoked: HashMap<SessionId, Instant>,
    changed: HashMap<UserId, (UserState, Instant)>,
}

impl Picture {
    /// An empty picture for tokens that live for `ttl`.
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

    /// The principal with what has changed since its token was issued.
    pub(super) fn check(&self, mut principal: Principal) -> Result<Principal, Error> {
        let entries = self.entries.read();
        if entries.revoked.contains_key(&principal.session_id) {
            return Err(Error::Revoked);
        }
        let Some((user, _)) = entries.changed.get(&principal.user_id) else {
            return Ok(principal);
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
                Row::Revoked(session_id) => {
                    if entries.revoked.insert(session_id, until).is_none() {
                        news.push(Event::SessionRevoked { session_id });
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
        let window = since.map_or(self.keep, |since| started.duration_since(since).min(self.keep)) + OVERLAP;
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
    use crate::ids::{ConversationId, UserKind};

    fn principal() -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            session_id: SessionId::new(),
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
        assert!(picture.check(a.clone()).is_ok());
        let suspended = UserState {
            status: UserStatus::Suspended,
            ..state(&b)
        };
        for _ in 0..2 {
            picture.apply(
                vec![Row::Revoked(a.session_id), Row::Changed(suspended.clone())],
                Instant::now(),
            );
        }
        assert!(matches!(picture.check(a.clone()), Err(Error::Revoked)));
        assert!(matches!(picture.check(b), Err(Error::Suspended)));
        assert_eq!(
            events.try_recv().unwrap(),
            Event::SessionRevoked {
                session_id: a.session_id
            }
        );
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
        let now = picture.check(guest.clone()).unwrap();
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
            picture.check(guest.clone()).unwrap().conversation,
            guest.conversation,
            "still a guest"
        );
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
        assert!(matches!(picture.check(who), Err(Error::Suspended)));
    }

    #[test]
    fn entries_outlive_the_tokens_and_are_then_forgotten() {
        let ttl = Duration::from_secs(900);
        let picture = Picture::new(ttl);
        let (who, start) = (principal(), Instant::now());
        picture.apply(vec![Row::Revoked(who.session_id), Row::Changed(state(&who))], start);
        picture.prune(start + ttl + OVERLAP);
        assert!(picture.check(who.clone()).is_err());
        picture.prune(start + ttl + 2 * OVERLAP);
        assert!(picture.check(who).is_ok());
        let entries = picture.entries.read();
        assert_eq!((entries.revoked.len(), entries.changed.len()), (0, 0));
    }
}
