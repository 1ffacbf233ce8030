//! Answers questions. Called by `http/`. No actor; it keeps nothing but turns.
//!
//! * Numbers come from the cache: those of a range that is over for as long as the cache remembers,
//!   those of one that goes on for [`FRESH_FOR`]. Who asks the same at the same time waits for the
//!   same answer.
//! * Names and titles are read for each caller, because who may read a title is decided now.
//! * Bounds: one question of a tenant is worked on at a time on a node ([`TURNS`]); who waits longer
//!   than [`TURN_WAIT`] gets `overloaded`. A question that is given up, because nobody waits for it
//!   any more, ends its statement in PostgreSQL.

use super::error::Error;
use super::question::{Asked, Computed, Numbers, SeriesKey};
use super::{reading, store};
use crate::auth::{Principal, Scope};
use crate::cache::{CacheHandle, keys};
use crate::database::Database;
use crate::fairness::{Claimant, FairPermit, FairPermits, TurnLimits};
use crate::ids::{ConversationId, TenantId, UserId, UserKind};
use crate::metrics::{SharedResource, metrics};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Questions of this node that are worked on at a time.
const TURNS: TurnLimits = TurnLimits {
    running_max: 4,
    running_of_group_max: 1,
    running_of_member_max: 1,
    waiting_max: 256,
    waiting_of_group_max: 64,
    waiting_of_member_max: 64,
};
/// How long a question waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// How long an answer about a range that goes on is given again.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Analytics. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    database: Database,
    cache: CacheHandle,
    turns: FairPermits<TenantId, UserId>,
    /// Up to when everything was counted when this node last saw it.
    seen_through: Arc<AtomicI64>,
}

/// Names and titles of what an answer is about, as far as its caller may know them.
#[derive(Debug, Default)]
pub struct Names {
    pub users: HashMap<UserId, (String, UserKind)>,
    pub titles: HashMap<ConversationId, String>,
}

impl Analytics {
    #[must_use]
    pub fn new(database: Database, cache: CacheHandle) -> Self {
        Self {
            database,
            cache,
            turns: FairPermits::new(SharedResource::Analytics, TURNS),
            seen_through: Arc::new(AtomicI64::new(i64::MIN)),
        }
    }

    /// Answers a question about the caller's tenant, or about the caller.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn answer(&self, caller: &Principal, asked: &Asked) -> Result<Computed, Arc<Error>> {
        let period = &asked.period;
        let is_closed = period.to <= self.seen_through.load(Ordering::Relaxed);
        let key = keys::analytics(
            caller.tenant_id,
            &format!(
                "{}:{}:{}:{}:{}",
                if is_closed { "over" } else { "on" },
                asked.question.name(),
                period.from,
                period.to,
                period.zone.name()
            ),
        );
        let own = self.clone();
        let claimant = Claimant {
            group: caller.tenant_id,
            member: caller.user_id,
        };
        let asked = asked.clone();
        let load = move || async move { own.compute(claimant, &asked).await.map(Some) };
        let found = if is_closed {
            self.cache.get_or_load(&key, load).await?
        } else {
            let load = || async move {
                Ok(crate::cache::LoadedValue {
                    value: load().await?,
                    depends_on: Vec::new(),
                    keep: true,
                })
            };
            self.cache.get_or_load_here(&key, FRESH_FOR, load).await?
        };
        let computed = found.ok_or(Error::NotCounted)?;
        // Never back: an answer may be one that was kept.
        self.seen_through.fetch_max(computed.data_through, Ordering::Relaxed);
        Ok(computed)
    }

    async fn compute(&self, claimant: Claimant<TenantId, UserId>, asked: &Asked) -> Result<Computed, Error> {
        let _turn = self.take_turn(claimant).await?;
        let started = Instant::now();
        let computed = self.compute_on_primary(claimant.group, asked).await?;
        metrics().analytics_answered(started.elapsed());
        Ok(computed)
    }

    async fn compute_on_primary(&self, tenant: TenantId, asked: &Asked) -> Result<Computed, Error> {
        let mut client = self.database.cancelling_client().await?;
        let computed = reading::answer(&mut client, tenant, asked).await;
        client.settle();
        computed
    }

    /// Waits for the turn of a tenant.
    pub(super) async fn take_turn(
        &self,
        claimant: Claimant<TenantId, UserId>,
    ) -> Result<FairPermit<TenantId, UserId>, Error> {
        let turn = self.turns.acquire_within(claimant, TURN_WAIT).await;
        turn.map_err(|_beyond| Error::Overloaded)
    }

    /// The names and titles that belong to an answer.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn names(&self, caller: &Principal, numbers: &Numbers) -> Result<Names, Error> {
        let (users, conversations) = mentioned(numbers);
        let mut names = Names::default();
        let reads_titles = caller.scopes().contains(Scope::Chat) && !conversations.is_empty();
        if users.is_empty() && !reads_titles {
            return Ok(names);
        }
        let client = self.database.client().await?;
        if !users.is_empty() {
            names.users = store::list_users(&client, caller.tenant_id, &users).await?;
        }
        if reads_titles {
            names.titles = store::list_titles(&client, caller.tenant_id, caller.user_id, &conversations).await?;
        }
        Ok(names)
    }
}

/// The users and conversations of an answer.
fn mentioned(numbers: &Numbers) -> (Vec<Uuid>, Vec<Uuid>) {
    let (mut users, mut conversations) = (Vec::new(), Vec::new());
    match numbers {
        Numbers::Messages(series) => {
            for one in series {
                match one.key {
                    SeriesKey::User(id) => users.push(id.0),
                    SeriesKey::Conversation(id) => conversations.push(id.0),
                    SeriesKey::All | SeriesKey::Kind(_) | SeriesKey::Other => {}
                }
            }
        }
        Numbers::TopUsers(items) => users.extend(items.iter().map(|item| item.user.0)),
        Numbers::TopConversations(items) => conversations.extend(items.iter().map(|item| item.conversation.0)),
        Numbers::Summary { .. } | Numbers::ActiveUsers(_) | Numbers::Heatmap(_) | Numbers::Usage { .. } => {}
    }
    (users, conversations)
}
