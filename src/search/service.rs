//! Searches messages. Called by `http/`. No actor; it keeps nothing.
//!
//! A search has three steps.
//!
//! 1. The database itself finds which slices of which conversations may hold something. So only
//!    conversations are searched of which the caller is a member at this moment.
//! 2. The slices are searched in rounds (`rounds.rs`), by the index of migration V0003. This is the
//!    work, and a replica may do it.
//! 3. What was found is read from the database itself, once more with the membership and the words.
//!    So a replica that is seconds behind decides nothing, and a response never shows a deleted
//!    message, an old body, or a conversation that the caller has just lost.
//!
//! Bounds: the quota of expensive routes, the slices and the time of `rounds.rs`, and [`PERMITS`].
//! So many searches use a connection of the database at a time, because its pool is everybody's.
//! Who waits too long for a permit gets `overloaded`. When the database is away it is
//! `unavailable`.
//!
//! Why not by relevance: in a conversation people look for the last time that a word was said, and
//! a rank would have to read every hit before the first could be shown.

use super::error::Error;
use super::query;
use super::request::{Criteria, SearchCursor, SearchRequest};
use super::results::{FoundMessage, SearchResults};
use super::rounds::{Hit, Hits, Rounds, Slice};
use super::snippet::snippet;
use super::store::{self, ReadHit};
use crate::auth::{Access, AllowedConversations};
use crate::database::{self, Client, Database};
use crate::ids::ConversationId;
use crate::metrics::{ReadTarget, metrics};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Searches of this node that query the database itself at a time. Those on a replica are not
/// counted.
const PERMITS: usize = 4;
/// How long a search waits for a permit.
const PERMIT_WAIT: Duration = Duration::from_secs(2);

/// Search. Cheap to clone.
#[derive(Clone)]
pub struct Search {
    database: Database,
    permits: Arc<Semaphore>,
}

impl Search {
    #[must_use]
    pub fn new(database: Database) -> Self {
        let permits = Arc::new(Semaphore::new(PERMITS));
        Self { database, permits }
    }

    /// Finds what the caller may read.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, access: Access, request: &SearchRequest) -> Result<SearchResults, Error> {
        let only = match narrow(access, request.conversation)? {
            AllowedConversations::All => None,
            AllowedConversations::Only(id) => Some(id),
            AllowedConversations::None => {
                return Ok(SearchResults {
                    items: Vec::new(),
                    next: None,
                    complete: true,
                });
            }
        };
        let words = query::prepare(&request.words);
        let criteria = Criteria {
            words: &words,
            author: request.author,
            before: request.before,
            after: request.after,
            from: request.from,
        };
        let listing = self.on_primary(async |client| {
            let slices = store::list_slices(client, access, only, &criteria).await?;
            let is_nowhere = match request.conversation {
                Some(id) if slices.is_empty() => !store::is_member(client, access, id).await?,
                _ => false,
            };
            Ok((slices, is_nowhere))
        });
        let (slices, is_nowhere) = listing.await?;
        if is_nowhere {
            return Err(Error::NotFound);
        }
        let hits = self
            .run_rounds(access, Rounds::new(slices, request.limit), &criteria)
            .await?;
        let next = hits.page.last().filter(|_| hits.more).map(|last| SearchCursor {
            created_at: last.created_at,
            id: last.id,
        });
        let mut items = Vec::new();
        if !hits.page.is_empty() {
            let reading = self.on_primary(async |client| store::read(client, access, &hits.page, &words).await);
            items.extend(reading.await?.into_iter().map(found_message));
        }
        Ok(SearchResults {
            items,
            next,
            complete: hits.complete,
        })
    }

    async fn run_rounds(&self, access: Access, mut rounds: Rounds, criteria: &Criteria<'_>) -> Result<Hits, Error> {
        while let Some(slices) = rounds.next_round() {
            let started = Instant::now();
            let (most, time) = (rounds.wanted(), rounds.time_left());
            let find = async |client: &mut Client, slices: &[Slice]| {
                store::find_hits(client, access, slices, criteria, most, time).await
            };
            match self.run_round(slices, find).await {
                Err(Error::Database(error)) if error.is_cancelled() => rounds.break_off(started.elapsed()),
                hits => rounds.add(hits?, started.elapsed()),
            }
        }
        Ok(rounds.finish())
    }

    /// One round: on the replica, if there is one. It may not have what is very young, and nobody
    /// should miss what they have just written, so that is looked for on the database itself.
    async fn run_round(
        &self,
        slices: &[Slice],
        find: impl AsyncFn(&mut Client, &[Slice]) -> Result<Vec<Hit>, database::Error>,
    ) -> Result<Vec<Hit>, Error> {
        let (fresh, older): (Vec<Slice>, Vec<Slice>) = slices.iter().partition(|slice| slice.is_fresh);
        if !older.is_empty()
            && let Some(found) = self
                .database
                .read_stale(async |client| find(client, &older).await)
                .await
        {
            let mut hits = found?;
            if !fresh.is_empty() {
                metrics().read_stale(ReadTarget::Primary);
                hits.extend(self.on_primary(async |client| find(client, &fresh).await).await?);
            }
            return Ok(hits);
        }
        metrics().read_stale(ReadTarget::Primary);
        self.on_primary(async |client| find(client, slices).await).await
    }

    /// Queries the database itself, with one of the permits.
    async fn on_primary<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, database::Error>,
    ) -> Result<T, Error> {
        let Ok(Ok(_permit)) = tokio::time::timeout(PERMIT_WAIT, self.permits.acquire()).await else {
            return Err(Error::Overloaded);
        };
        Ok(work(&mut self.database.client().await?).await?)
    }
}

fn found_message(hit: ReadHit) -> FoundMessage {
    let body = hit.message.body.as_deref().unwrap_or_default();
    FoundMessage {
        snippet: snippet(body, &hit.marked),
        message: hit.message,
        conversation: hit.conversation,
    }
}

/// Which conversations to search: those the caller may touch, or of them the one that is wanted.
fn narrow(access: Access, wanted: Option<ConversationId>) -> Result<AllowedConversations, Error> {
    match wanted {
        None => Ok(access.conversations),
        Some(id) if access.allows(id) => Ok(AllowedConversations::Only(id)),
        Some(_) => Err(Error::NotFound),
    }
}
