//! What operators do with the index: start it with a node, verify it, and rebuild it.
//!
//! Verifying and rebuilding run beside nodes that serve, in pages, and can be interrupted: a
//! rebuild that was broken off is finished by the task of any node, because the positions say what
//! is missing.

use super::backlog::{Backlog, Waiting};
use super::observer::SearchObserver;
use super::store::{self, Scanned};
use super::vector::WordVector;
use super::{indexer, task};
use crate::database::{Database, Error};
use crate::ids::{ConversationId, Seq};
use crate::supervision::ArbiterPool;
use std::sync::Arc;
use std::time::Instant;

/// Messages that are compared at a time: 3 MiB of bodies at most.
const PAGE: i64 = 200;
/// Conversations that are listed at a time.
const CONVERSATIONS: i64 = 500;

/// The index of words of a database.
#[derive(Clone)]
pub struct SearchIndex {
    database: Database,
    backlog: Arc<Backlog>,
}

/// What verifying or rebuilding has found or done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Messages in the database, as it was at the beginning.
    pub total: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Messages that the index should know and does not, or has with other words.
    pub wrong: u64,
    /// Entries of the index without a message.
    pub superfluous: u64,
    /// The first message that was wrong.
    pub first: Option<(ConversationId, Seq)>,
}

impl SearchIndex {
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            backlog: Arc::default(),
        }
    }

    /// Starts the task of a node that follows commits.
    pub fn start(&self, arbiters: &ArbiterPool) {
        arbiters.spawn(1, task::supervise(self.database.clone(), self.backlog.clone()));
    }

    /// What the task hears of commits by.
    #[must_use]
    pub fn observer(&self) -> SearchObserver {
        SearchObserver::new(self.backlog.clone())
    }

    /// Compares the index with the messages, up to the position of each conversation. `progress` is
    /// called after each page.
    ///
    /// # Errors
    /// [`Error`]; then nothing is known of the rest.
    pub async fn verify(&self, mut progress: impl FnMut(&IndexReport)) -> Result<IndexReport, Error> {
        let mut report = self.begin().await?;
        let mut after = None;
        loop {
            let scanned = self.page_of_conversations(after).await?;
            let Some(last) = scanned.last() else {
                return Ok(report);
            };
            after = Some(last.conversation);
            for conversation in &scanned {
                self.verify_conversation(conversation, &mut report, &mut progress)
                    .await?;
            }
        }
    }

    async fn verify_conversation(
        &self,
        scanned: &Scanned,
        report: &mut IndexReport,
        progress: &mut impl FnMut(&IndexReport),
    ) -> Result<(), Error> {
        let mut from = 0;
        while from < scanned.last_seq.0 {
            let client = self.database.client().await?;
            let page = store::compare(&client, scanned, Seq(from), Seq(from + PAGE)).await?;
            drop(client);
            for compared in page.iter().filter(|compared| !compared.is_beyond) {
                let body = compared.body.as_deref().unwrap_or_default();
                let is_right = match (
                    WordVector::of(scanned.conversation, compared.seq, body),
                    &compared.words,
                ) {
                    (None, None) => true,
                    (Some(expected), Some(words)) => expected.is(words),
                    (None, Some(_)) => {
                        report.superfluous += 1;
                        continue;
                    }
                    (Some(_), None) => false,
                };
                if !is_right {
                    report.wrong += 1;
                    report.first = report.first.or(Some((scanned.conversation, compared.seq)));
                }
            }
            report.messages += page.len() as u64;
            from += PAGE;
            progress(report);
        }
        Ok(())
    }

    /// Makes the index anew, conversation by conversation. Searches go on meanwhile: what is being
    /// indexed anew is read directly.
    ///
    /// # Errors
    /// [`Error`]; then the rest is as it was.
    pub async fn rebuild(&self, mut progress: impl FnMut(&IndexReport)) -> Result<IndexReport, Error> {
        let mut report = self.begin().await?;
        let mut after = None;
        loop {
            let scanned = self.page_of_conversations(after).await?;
            let Some(last) = scanned.last() else {
                return Ok(report);
            };
            after = Some(last.conversation);
            for conversation in &scanned {
                store::reset(&self.database.client().await?, conversation).await?;
                let mut waiting = vec![Waiting {
                    conversation: conversation.conversation,
                    tenant: conversation.tenant,
                    since: Instant::now(),
                }];
                while !waiting.is_empty() {
                    let batch = indexer::index(&self.database, &waiting).await?;
                    report.messages += batch.messages as u64;
                    waiting = batch.unfinished;
                    progress(&report);
                }
            }
        }
    }

    async fn begin(&self) -> Result<IndexReport, Error> {
        let total = store::count_messages(&self.database.client().await?).await?;
        Ok(IndexReport {
            total,
            ..IndexReport::default()
        })
    }

    async fn page_of_conversations(&self, after: Option<ConversationId>) -> Result<Vec<Scanned>, Error> {
        store::list_conversations(&self.database.client().await?, after, CONVERSATIONS).await
    }
}
