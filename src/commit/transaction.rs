//! One attempt to commit a group, over a lane's connection.
//!
//! A group of posts is one flight on the connection: BEGIN, the locks, the append and COMMIT are
//! sent together, and their responses come together. So a commit costs one round trip and one
//! fsync. A group with other changes is sent in steps, because each is judged by what the locked
//! rows say.

use super::batch::Group;
use super::change::{self, ChangeError};
use super::error::Error;
use super::operation::{Operation, Request};
use super::receipt::Receipt;
use super::store::{self, APPEND, APPEND_NEW, LOCK, PostColumns, PostVerdict};
use crate::database::{self, Database, Dedicated, Error as DatabaseError, Params};
use crate::error::Code;
use crate::wire::Change;
use crate::wire::frames::Message;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

/// The result of one operation and, unless it changed nothing, its change.
pub(super) struct OperationOutcome {
    pub(super) result: Result<Receipt, Error>,
    pub(super) change: Option<Change>,
}

impl OperationOutcome {
    const fn refused(code: Code, message: &'static str) -> Self {
        Self {
            result: Err(Error::Refused(code, message)),
            change: None,
        }
    }
}

/// The index that a post violates whose id is known.
const KNOWN_POST: &str = "messages_tenant_id_id_key";

/// How many groups are judged after one with a known post.
const JUDGED_GROUPS: u32 = 100;

/// A connection that was idle for longer is tried before a group is entrusted to it: a firewall may
/// have forgotten it, and the group would lose seconds.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long it may take to give a sign of life.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The statement of a flight, and its prepared form.
#[derive(Clone, Copy)]
struct Append<'a> {
    named: &'a database::Statement,
    prepared: &'a Statement,
}

/// A connection with what every group needs prepared.
pub(super) struct LaneConnection {
    client: Dedicated,
    /// When it replied last.
    replied: Instant,
    lock: Statement,
    append: Statement,
    append_new: Statement,
    /// Groups that are judged, and not expected to be new, because one was not.
    judged_next: u32,
}

impl LaneConnection {
    pub(super) async fn open(database: &Database) -> Result<Self, DatabaseError> {
        let client = database.dedicated().await?;
        // The lane's statements look up a few hundred rows by key, whatever the tables' sizes were
        // when they were planned.
        client
            .batch_execute(
                "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
                 SET plan_cache_mode = force_generic_plan; SET lock_timeout = '500ms'",
            )
            .await?;
        let lock = client.prepare_named(&LOCK).await?;
        let append = client.prepare_named(&APPEND).await?;
        let append_new = client.prepare_named(&APPEND_NEW).await?;
        Ok(Self {
            client,
            replied: Instant::now(),
            lock,
            append,
            append_new,
            judged_next: 0,
        })
    }

    /// Whether it is there. Asks it, if it was idle for long.
    pub(super) async fn is_alive(&self) -> bool {
        !self.is_closed() && (self.replied.elapsed() < TRUSTED_FOR || self.client.is_alive(TRIAL_TIMEOUT).await)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Commits a group as one transaction. The outcomes are in the order of posts, then changes.
    pub(super) async fn commit(&mut self, group: &Group<Operation>) -> Result<Vec<OperationOutcome>, DatabaseError> {
        let outcomes = if group.changes.is_empty() {
            self.append(group).await
        } else {
            self.apply_in_steps(group).await
        };
        match &outcomes {
            Ok(_) => self.replied = Instant::now(),
            Err(error) => self.client.note(error),
        }
        outcomes
    }

    /// Expects posts to be new, which is cheaper, unless some were not a moment ago: repeated posts
    /// come in crowds, after a network or a node has failed.
    async fn append(&mut self, group: &Group<Operation>) -> Result<Vec<OperationOutcome>, DatabaseError> {
        let ids = conversation_ids(group);
        let columns = PostColumns::of(&group.posts, &ids);
        if self.judged_next == 0 {
            let new = columns.params_new(&ids);
            match self
                .fly(
                    group,
                    &ids,
                    Append {
                        named: &APPEND_NEW,
                        prepared: &self.append_new,
                    },
                    &new,
                )
                .await
            {
                Err(error) if error.constraint() == Some(KNOWN_POST) => self.judged_next = JUDGED_GROUPS,
                done => return done,
            }
        }
        self.judged_next -= 1;
        self.fly(
            group,
            &ids,
            Append {
                named: &APPEND,
                prepared: &self.append,
            },
            &columns.params(),
        )
        .await
    }

    /// One flight. A failed one has ended its transaction itself: COMMIT of a failed transaction is
    /// a rollback.
    async fn fly(
        &self,
        group: &Group<Operation>,
        ids: &Vec<uuid::Uuid>,
        append: Append<'_>,
        params: Params<'_>,
    ) -> Result<Vec<OperationOutcome>, DatabaseError> {
        let Self { client, lock, .. } = self;
        let lock_params: [&(dyn ToSql + Sync); 1] = [ids];
        let flight = async {
            // Polled in this order, so sent in this order; the server responds in the same.
            tokio::join!(
                biased;
                client.batch_execute("BEGIN"),
                client.query(lock, &lock_params),
                client.query(append.prepared, params),
                client.batch_execute("COMMIT"),
            )
        };
        let (begun, locked, appended, committed) = client.time(append.named, flight).await;
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

    async fn apply_in_steps(&mut self, group: &Group<Operation>) -> Result<Vec<OperationOutcome>, DatabaseError> {
        let ids = conversation_ids(group);
        // Dropped on any error, which rolls it back.
        let tx = self.client.begin().await?;
        tx.query(&LOCK, &[&ids]).await?;
        let mut outcomes = Vec::with_capacity(group.len());
        if !group.posts.is_empty() {
            let columns = PostColumns::of(&group.posts, &ids);
            let rows = tx.query(&APPEND, &columns.params()).await?;
            let posted = rows.iter().zip(&group.posts);
            outcomes.extend(posted.map(|(row, operation)| outcome_of_post(&store::posted_from_row(row), operation)));
        }
        for operation in &group.changes {
            outcomes.push(match change::apply(&tx, operation).await {
                Ok(applied) => OperationOutcome {
                    result: Ok(applied.receipt),
                    change: applied.change,
                },
                Err(ChangeError::Refused(code, message)) => OperationOutcome::refused(code, message),
                Err(ChangeError::Database(error)) => return Err(error),
            });
        }
        tx.commit().await?;
        Ok(outcomes)
    }
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

fn outcome_of_post(posted: &store::Posted, operation: &Operation) -> OperationOutcome {
    let done = |duplicate, change| OperationOutcome {
        result: Ok(Receipt {
            rev: posted.rev,
            seq: Some(posted.seq),
            created_at: Some(posted.created_at),
            duplicate,
        }),
        change,
    };
    let refused = OperationOutcome::refused;
    match posted.verdict {
        PostVerdict::Posted => done(false, message_of(posted, operation)),
        PostVerdict::Duplicate => done(true, None),
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
        mine: None,
        cause: None,
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
