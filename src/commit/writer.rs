//! Commits groups: until each is committed, refused or out of time. Used by its lane (`lane.rs`).
//!
//! What can go wrong, and what happens:
//!
//! * *The connection is lost, the server restarts, or the database is silent for
//!   [`ATTEMPT_TIMEOUT`]*: a new connection and the same group again, with back-off, until the
//!   operations' deadlines. Then they end as `unavailable`. If such an attempt had been committed
//!   after all, the repetition finds its messages by id and gives the same receipts. The
//!   conversation learns of revisions it missed from `observed`.
//! * *Two writers race for one id (unique violation), or the database asks for a repetition
//!   (serialization, deadlock)*: the same group again.
//! * *The database refuses an operation*: the group is split until the poison is alone; the others
//!   commit.
//! * *Someone else holds a conversation's row*: the conversations of the group are committed one
//!   by one, that one last.

use super::batch::Group;
use super::error::Error;
use super::observers::CommitObservers;
use super::operation::{Operation, Request};
use super::transaction::{LaneConnection, OperationOutcome};
use crate::database::{Database, Error as DatabaseError};
use crate::ids::{ConversationId, Rev};
use crate::latency::{LatencyKind, Wait};
use crate::metrics::metrics;
use crate::supervision::Backoff;
use crate::wire::Committed;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// How long one attempt may take before its connection is given up.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);
/// Shortest attempt: deadlines that follow closely on one another must not cut every attempt short.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// Pause before the first repetition; doubles up to [`RETRY_DELAY_MAX`].
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
/// Longest pause between repetitions, so that a database that is back is noticed soon.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Why a group cannot be committed as a whole.
enum GroupError {
    /// The database refuses something in it.
    Poison,
    /// Someone else holds the row of one of its conversations.
    Locked,
}

/// Commits groups over a connection of its own.
pub(super) struct GroupWriter {
    database: Database,
    observers: CommitObservers,
    connection: Option<LaneConnection>,
}

impl GroupWriter {
    pub(super) fn new(database: Database, observers: CommitObservers) -> Self {
        Self {
            database,
            observers,
            connection: None,
        }
    }

    /// Commits a group and gives out its receipts. Each operation is completed by its own deadline,
    /// or about [`ATTEMPT_MIN`] later.
    pub(super) async fn commit(&mut self, group: Group<Operation>) {
        let mut pending = VecDeque::from([group]);
        while let Some(mut group) = pending.pop_front() {
            match self.commit_until_deadline(&mut group).await {
                Ok(outcomes) => {
                    fail::fail_point!("commit::after_commit");
                    self.complete(group, outcomes);
                }
                // Everybody else first. One group a conversation, so that no operation overtakes
                // another.
                Err(GroupError::Locked) => pending.extend(by_conversation(group)),
                Err(GroupError::Poison) if group.len() > 1 => {
                    let (first, second) = group.split();
                    pending.push_front(second);
                    pending.push_front(first);
                }
                Err(GroupError::Poison) => {
                    for operation in group.posts.into_iter().chain(group.changes) {
                        operation.done.complete(Err(Error::Poison));
                    }
                }
            }
        }
    }

    /// Outcomes of what is left in the group: operations whose deadline comes first are completed
    /// and taken out.
    async fn commit_until_deadline(
        &mut self,
        group: &mut Group<Operation>,
    ) -> Result<Vec<OperationOutcome>, GroupError> {
        let mut retries = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            let Some(left) = complete_expired(group) else {
                return Ok(Vec::new());
            };
            let limit = left.clamp(ATTEMPT_MIN, ATTEMPT_TIMEOUT);
            let started = Instant::now();
            let error = match tokio::time::timeout(limit, self.attempt(group)).await {
                Ok(Ok(outcomes)) => {
                    metrics().committed(group.len(), started.elapsed());
                    return Ok(outcomes);
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => {
                    self.connection = None;
                    metrics().commit_retried();
                    tracing::warn!(operations = group.len(), "commit timed out; reconnecting");
                    continue;
                }
            };
            if is_locked(&error) {
                tracing::warn!(
                    operations = group.len(),
                    "a conversation's row is locked by another transaction"
                );
                return Err(GroupError::Locked);
            }
            if error.is_unavailable() || self.connection.as_ref().is_none_or(|known| known.is_closed()) {
                self.connection = None;
            } else if !is_repeatable(&error) {
                if group.len() == 1 {
                    tracing::error!(%error, "the database refuses an operation");
                }
                return Err(GroupError::Poison);
            }
            metrics().commit_retried();
            let delay = retries.next_pause();
            tracing::warn!(%error, operations = group.len(), delay_ms = delay.as_secs_f64() * 1e3, "commit failed; repeating");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&mut self, group: &Group<Operation>) -> Result<Vec<OperationOutcome>, DatabaseError> {
        if let Some(known) = &self.connection
            && !known.is_alive().await
        {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(LaneConnection::open(&self.database).await?),
        };
        fail::fail_point!("commit::before_commit");
        connection.commit(group).await
    }

    /// Notifies the observers, then gives out the receipts.
    fn complete(&self, group: Group<Operation>, outcomes: Vec<OperationOutcome>) {
        let now = Instant::now();
        let mut by_conversation: HashMap<ConversationId, Committed> = HashMap::new();
        let mut results = Vec::with_capacity(group.len());
        let mut waits = Vec::with_capacity(group.posts.len());
        for (operation, OperationOutcome { result, change }) in
            group.posts.into_iter().chain(group.changes).zip(outcomes)
        {
            if let Ok(receipt) = &result {
                let conversation_id = operation.conversation_id;
                let committed = by_conversation.entry(conversation_id).or_insert_with(|| Committed {
                    conversation_id,
                    tenant_id: Some(operation.tenant_id),
                    changes: Vec::new(),
                    observed: Rev::ZERO,
                    since: None,
                    committed_at: Some(now),
                });
                committed.observed = committed.observed.max(receipt.rev);
                if matches!(operation.request, Request::Post { .. }) {
                    let accepted_at = operation.accepted_at();
                    let elapsed = now.saturating_duration_since(accepted_at);
                    metrics().acknowledged(elapsed);
                    if change.is_some() {
                        let tenant = operation.tenant_id;
                        waits.push(Wait { tenant, elapsed, n: 1 });
                        committed.since = Some(committed.since.map_or(accepted_at, |since| since.min(accepted_at)));
                    }
                }
                committed.changes.extend(change);
            }
            results.push((operation.done, result));
        }
        self.observers.latencies().record(LatencyKind::Append, waits);
        for committed in by_conversation.into_values() {
            self.observers.notify(&committed);
        }
        for (done, result) in results {
            done.complete(result);
        }
    }
}

/// Completes the operations whose time is over as `unavailable`. How long the next one has, unless
/// none is left.
fn complete_expired(group: &mut Group<Operation>) -> Option<Duration> {
    let now = Instant::now();
    let late = |operation: &mut Operation| operation.deadline <= now;
    let mut expired: Vec<_> = group.posts.extract_if(.., late).collect();
    expired.extend(group.changes.extract_if(.., late));
    if !expired.is_empty() {
        tracing::error!(operations = expired.len(), "commits given up at their deadline");
    }
    for operation in expired {
        operation.done.complete(Err(Error::Unavailable));
    }
    let deadlines = group
        .posts
        .iter()
        .chain(&group.changes)
        .map(|operation| operation.deadline);
    deadlines.min().map(|first| first.saturating_duration_since(now))
}

/// Whether a row of the group was locked by someone else for too long.
fn is_locked(error: &DatabaseError) -> bool {
    error.sql_state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// A group for each of its conversations, in the order in which they come first.
fn by_conversation(group: Group<Operation>) -> Vec<Group<Operation>> {
    let mut groups: Vec<Group<Operation>> = Vec::new();
    let mut positions: HashMap<ConversationId, usize> = HashMap::new();
    let posts = group.posts.len();
    for (n, operation) in group.posts.into_iter().chain(group.changes).enumerate() {
        let position = *positions.entry(operation.conversation_id).or_insert(groups.len());
        if position == groups.len() {
            groups.push(Group {
                posts: Vec::new(),
                changes: Vec::new(),
            });
        }
        let kind = if n < posts {
            &mut groups[position].posts
        } else {
            &mut groups[position].changes
        };
        kind.push(operation);
    }
    groups
}

/// Whether the same group may succeed when it is simply sent again.
fn is_repeatable(error: &DatabaseError) -> bool {
    // Two writers raced for one message id: the repetition finds the other's message. Another
    // unique violation is a defect, and repeating it would hold the lane up.
    error.is_serialization() || error.constraint() == Some("messages_tenant_id_id_key")
}
