//! Runs the transaction of one group, until it is committed, refused or out of time.
//!
//! A group of posts is one flight on the connection: BEGIN, the locks, the append and COMMIT are sent together and their
//! answers come together, so a commit costs one round trip and one fsync. A group with other changes is sent in steps,
//! because each is judged by what the locked rows say.
//!
//! What can go wrong, and what happens. The connection is lost, the server restarts, or nothing is heard for
//! [`ATTEMPT_TIMEOUT`]: a new connection, the same group again, with back-off, until the operations' deadlines; then they
//! are answered `unavailable`. If such an attempt had been committed after all, the repetition finds its messages by id
//! and answers the same receipts; the conversation learns of revisions it missed from `observed`. Two writers race for
//! one id (unique violation) or the database asks for a repetition (serialization, deadlock): the same group again. The
//! database refuses an operation: the group is split until the poison stands alone; the others commit. Somebody else holds
//! a conversation's row: the conversations of the group are committed one by one, that one last.

use super::batch::Group;
use super::change::{self, Failure};
use super::store::{self, APPEND, LOCK, PostColumns, PostVerdict};
use super::{CommitObservers, Error, Operation, Receipt, Request};
use crate::database::{Database, Dedicated, Error as DatabaseError};
use crate::error::Code;
use crate::ids::{ConversationId, Rev};
use crate::metrics::metrics;
use crate::supervision::Backoff;
use crate::wire::frames::Message;
use crate::wire::{Change, Committed};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

/// How long one attempt may hear nothing from the database before its connection is given up.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);
/// Shortest attempt: deadlines that follow closely on one another must not cut every attempt short.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// Pause before the first repetition; doubles up to [`RETRY_DELAY_MAX`].
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
/// Longest pause between repetitions, so that a database that is back is noticed soon.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// The result of one operation and, unless it changed nothing, its change.
type Outcome = (Result<Receipt, Error>, Option<Change>);

/// Why a group cannot be committed as a whole.
enum Obstacle {
    /// The database refuses something in it.
    Poison,
    /// Somebody else holds the row of one of its conversations.
    Locked,
}

/// A connection with what every group needs prepared.
struct Connection {
    client: Dedicated,
    lock: Statement,
    append: Statement,
}

/// Commits groups over a connection of its own.
pub(super) struct Writer {
    database: Database,
    observers: CommitObservers,
    connection: Option<Connection>,
}

impl Writer {
    pub(super) fn new(database: Database, observers: CommitObservers) -> Self {
        Self {
            database,
            observers,
            connection: None,
        }
    }

    /// Commits a group and gives out its receipts. Each operation is answered by its own deadline, or about
    /// [`ATTEMPT_MIN`] later.
    pub(super) async fn commit(&mut self, group: Group<Operation>) {
        let mut pending = VecDeque::from([group]);
        while let Some(mut group) = pending.pop_front() {
            match self.commit_until_deadline(&mut group).await {
                Ok(outcomes) => {
                    fail::fail_point!("commit::after_commit");
                    self.complete(group, outcomes);
                }
                // Everybody else first; one group a conversation, so that none of its operations overtakes another.
                Err(Obstacle::Locked) => pending.extend(by_conversation(group)),
                Err(Obstacle::Poison) if group.len() > 1 => {
                    let (first, second) = group.split();
                    pending.push_front(second);
                    pending.push_front(first);
                }
                Err(Obstacle::Poison) => {
                    for operation in group.posts.into_iter().chain(group.changes) {
                        operation.done.complete(Err(Error::Poison));
                    }
                }
            }
        }
    }

    /// Outcomes of what is left in the group: operations whose deadline comes first are answered and taken out.
    async fn commit_until_deadline(&mut self, group: &mut Group<Operation>) -> Result<Vec<Outcome>, Obstacle> {
        let mut retries = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            let Some(left) = answer_expired(group) else {
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
                    "a conversation's row is locked by somebody else"
                );
                return Err(Obstacle::Locked);
            }
            if error.is_unavailable() || self.connection.as_ref().is_none_or(|known| known.client.is_closed()) {
                self.connection = None;
            } else if !is_repeatable(&error) {
                if group.len() == 1 {
                    tracing::error!(%error, "the database refuses an operation");
                }
                return Err(Obstacle::Poison);
            }
            metrics().commit_retried();
            let delay = retries.next_pause();
            tracing::warn!(%error, operations = group.len(), delay_ms = delay.as_secs_f64() * 1e3, "commit failed; repeating");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&mut self, group: &Group<Operation>) -> Result<Vec<Outcome>, DatabaseError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.database).await?),
        };
        fail::fail_point!("commit::before_commit");
        if group.changes.is_empty() {
            // A failed flight has ended its transaction itself: COMMIT of a failed one is a rollback.
            append_in_one_flight(connection, group).await
        } else {
            apply_in_steps(connection, group).await
        }
    }

    /// Tells the conversations, then the waiting clients.
    fn complete(&self, group: Group<Operation>, outcomes: Vec<Outcome>) {
        let now = Instant::now();
        let mut by_conversation: HashMap<ConversationId, Committed> = HashMap::new();
        let mut results = Vec::with_capacity(group.len());
        for (operation, (result, change)) in group.posts.into_iter().chain(group.changes).zip(outcomes) {
            if let Ok(receipt) = &result {
                let conversation_id = operation.conversation_id;
                let committed = by_conversation.entry(conversation_id).or_insert_with(|| Committed {
                    conversation_id,
                    changes: Vec::new(),
                    observed: Rev::ZERO,
                    since: None,
                });
                committed.observed = committed.observed.max(receipt.rev);
                if matches!(operation.request, Request::Post { .. }) {
                    let accepted_at = operation.accepted_at();
                    metrics().acknowledged(now.saturating_duration_since(accepted_at));
                    if change.is_some() {
                        committed.since = Some(committed.since.map_or(accepted_at, |since| since.min(accepted_at)));
                    }
                }
                committed.changes.extend(change);
            }
            results.push((operation.done, result));
        }
        for committed in by_conversation.into_values() {
            self.observers.notify(&committed);
        }
        for (done, result) in results {
            done.complete(result);
        }
    }
}

/// Answers the operations whose time is over; how long the next one has, unless none is left.
fn answer_expired(group: &mut Group<Operation>) -> Option<Duration> {
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

async fn connect(database: &Database) -> Result<Connection, DatabaseError> {
    let client = database.dedicated().await?;
    // The lane's statements look up a few hundred rows by key, whatever the tables' sizes were when they were planned.
    client
        .batch_execute(
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
             SET plan_cache_mode = force_generic_plan; SET lock_timeout = '500ms'",
        )
        .await?;
    let lock = client.prepare_named(&LOCK).await?;
    let append = client.prepare_named(&APPEND).await?;
    Ok(Connection { client, lock, append })
}

/// Whether a row of the group was locked by somebody else for too long.
fn is_locked(error: &DatabaseError) -> bool {
    error.sql_state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// A group for each of its conversations, in the order in which they come first.
fn by_conversation(group: Group<Operation>) -> Vec<Group<Operation>> {
    let mut groups: Vec<Group<Operation>> = Vec::new();
    let mut places: HashMap<ConversationId, usize> = HashMap::new();
    let posts = group.posts.len();
    for (n, operation) in group.posts.into_iter().chain(group.changes).enumerate() {
        let place = *places.entry(operation.conversation_id).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group {
                posts: Vec::new(),
                changes: Vec::new(),
            });
        }
        let kind = if n < posts {
            &mut groups[place].posts
        } else {
            &mut groups[place].changes
        };
        kind.push(operation);
    }
    groups
}

/// Whether the same group may succeed when it is simply sent again.
fn is_repeatable(error: &DatabaseError) -> bool {
    // The race of two writers for one message id: the repetition finds the other's message. Another unique violation is a
    // defect, and repeating it would hold the lane up.
    error.is_serialization() || error.constraint() == Some("messages_tenant_id_id_key")
}

fn conversation_ids(group: &Group<Operation>) -> Vec<uuid::Uuid> {
    let mut ids: Vec<_> = group
        .posts
        .iter()
        .chain(&group.changes)
        .map(|operation| operation.conversation_id.0)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

async fn append_in_one_flight(
    connection: &Connection,
    group: &Group<Operation>,
) -> Result<Vec<Outcome>, DatabaseError> {
    let ids = conversation_ids(group);
    let columns = PostColumns::of(&group.posts);
    let Connection { client, lock, append } = connection;
    let (append_params, lock_params): (_, [&(dyn tokio_postgres::types::ToSql + Sync); 1]) = (columns.params(), [&ids]);
    let flight = async {
        // Polled in this order, so sent in this order; the server answers in the same.
        tokio::join!(
            biased;
            client.batch_execute("BEGIN"),
            client.query(lock, &lock_params),
            client.query(append, &append_params),
            client.batch_execute("COMMIT"),
        )
    };
    let (begun, locked, appended, committed) = client.time(&APPEND, flight).await;
    begun?;
    locked?;
    let rows = appended?;
    committed?;
    Ok(rows
        .iter()
        .zip(&group.posts)
        .map(|(row, operation)| outcome_of_post(&store::posted_from_row(row), operation))
        .collect())
}

async fn apply_in_steps(connection: &mut Connection, group: &Group<Operation>) -> Result<Vec<Outcome>, DatabaseError> {
    let ids = conversation_ids(group);
    // Dropped on any error, which rolls it back.
    let tx = connection.client.begin().await?;
    tx.query(&LOCK, &[&ids]).await?;
    let mut outcomes = Vec::with_capacity(group.len());
    if !group.posts.is_empty() {
        let columns = PostColumns::of(&group.posts);
        let rows = tx.query(&APPEND, &columns.params()).await?;
        let posted = rows.iter().zip(&group.posts);
        outcomes.extend(posted.map(|(row, operation)| outcome_of_post(&store::posted_from_row(row), operation)));
    }
    for operation in &group.changes {
        outcomes.push(match change::apply(&tx, operation).await {
            Ok(applied) => (Ok(applied.receipt), applied.change),
            Err(Failure::Refused(code, message)) => (Err(Error::Refused(code, message)), None),
            Err(Failure::Database(error)) => return Err(error),
        });
    }
    tx.commit().await?;
    Ok(outcomes)
}

fn outcome_of_post(posted: &store::Posted, operation: &Operation) -> Outcome {
    let receipt = |duplicate| Receipt {
        rev: posted.rev,
        seq: Some(posted.seq),
        created_at: Some(posted.created_at),
        duplicate,
    };
    let refused = |code: Code, message| (Err(Error::Refused(code, message)), None);
    match posted.verdict {
        PostVerdict::Posted => (Ok(receipt(false)), message_of(posted, operation)),
        PostVerdict::Duplicate => (Ok(receipt(true)), None),
        PostVerdict::Conflict => refused(Code::Conflict, "This id was used before for something else."),
        PostVerdict::NotFound => refused(Code::NotFound, Code::NotFound.text()),
        PostVerdict::NoTarget => refused(Code::NotFound, "The message answered to is not in this conversation."),
    }
}

fn message_of(posted: &store::Posted, operation: &Operation) -> Option<Change> {
    let Request::Post { id, body, reply_to } = &operation.request else {
        return None;
    };
    Some(Change::Message(Arc::new(Message {
        conversation: operation.conversation_id,
        rev: posted.rev,
        seq: posted.seq,
        id: *id,
        author: operation.actor_id,
        kind: operation.actor_kind,
        body: Some(body.clone()),
        reply_to: *reply_to,
        created_at: posted.created_at,
        edited_at: None,
        deleted_at: None,
        reactions: Vec::new(),
        posted_rev: posted.rev,
    })))
}
