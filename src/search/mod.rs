//! Search: the messages of the caller's conversations that have some words, youngest first.
//!
//! Three steps. Which slices of which conversations may hold something is asked of the database itself, so that only
//! conversations are searched of which the caller is a member at this moment (`store::list_slices`). The slices are looked
//! through in rounds (`rounds.rs`) by the index of migration V0003; this is the work, and it may be done by a replica. What
//! was found is then read from the database itself, once more with the membership and the words (`store::read`): so a
//! replica that is seconds behind decides nothing, and an answer never shows a deleted message, an old body, or a
//! conversation that the caller has just lost. `query.rs` is what may be asked, `snippet.rs` what is shown of a hit.
//!
//! It is no actor and keeps nothing: REST calls it. Its bounds are the quota of expensive routes, the slices and the time of
//! `rounds.rs`, and [`SEATS`]: so many searches use a connection of the database at a time, whose pool is everybody's; who
//! waits too long for one is `overloaded`. If the database is away it is `unavailable`.
//! The loser: ranking by relevance. In a conversation the last time a word was said is what people look for, and a rank
//! would have to read every hit before the first could be shown.

mod query;
mod rounds;
mod snippet;
mod store;

pub use query::QUERY_BYTES_MAX;
pub use snippet::Fragment;

use crate::auth::{Access, AllowedConversations};
use crate::database::{self, Client, Database};
use crate::error::Code;
use crate::ids::{ConversationId, UserId};
use crate::metrics::{ReadTarget, metrics};
use crate::wire::frames::{Message, Timestamp};
use rounds::{Hit, Hits, Rounds, Slice};
use serde::Serialize;
use snippet::snippet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

/// Searches of this node that ask the database something at a time; those on a replica are not counted.
const SEATS: usize = 4;
/// How long one waits for its turn.
const SEAT_WAIT: Duration = Duration::from_secs(2);

/// Why a search was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conversation that was named is not the caller's.
    #[error("not a conversation of the caller")]
    NotFound,
    /// Others are searching.
    #[error("too many searches at a time")]
    Overloaded,
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl Error {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Overloaded => Code::Overloaded,
            Self::Database(error) => error.code(),
        }
    }
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Words, as somebody typed them; at most [`QUERY_BYTES_MAX`] bytes.
    pub words: String,
    /// Only here.
    pub conversation: Option<ConversationId>,
    /// Only by this author.
    pub author: Option<UserId>,
    /// Only what is older.
    pub before: Option<Timestamp>,
    /// Only what is younger.
    pub after: Option<Timestamp>,
    /// The last message of the page before.
    pub from: Option<(Timestamp, Uuid)>,
    /// Messages of a page, at least 1.
    pub limit: usize,
}

/// The same as the statements take it.
struct Criteria<'a> {
    words: &'a str,
    author: Option<UserId>,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
    from: Option<(Timestamp, Uuid)>,
}

impl Criteria<'_> {
    /// No message of the page is younger.
    fn until(&self) -> Option<Timestamp> {
        let from = self.from.map(|(at, _)| at);
        [self.before, from].into_iter().flatten().min()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages, youngest first; fewer than asked for where some have just been changed.
    pub items: Vec<Found>,
    /// Where the next page begins, if there is one.
    pub next: Option<(Timestamp, Uuid)>,
    /// Whether everything was searched that belongs on this page; not so where that would have taken too long.
    pub complete: bool,
}

/// A message that was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Found {
    /// The message as it is now.
    pub message: Message,
    /// Where it stands.
    pub conversation: Place,
    /// A part of its body, at most 240 characters, with `…` where something was left out, in pieces that are a hit or not.
    pub snippet: Vec<Fragment>,
}

/// A conversation in which something was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Place {
    /// The conversation.
    pub id: ConversationId,
    /// Its title.
    pub title: String,
}

/// Search. Cheap to clone.
#[derive(Clone)]
pub struct Search {
    database: Database,
    seats: Arc<Semaphore>,
}

impl Search {
    /// Search in a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        let seats = Arc::new(Semaphore::new(SEATS));
        Self { database, seats }
    }

    /// Finds what the caller may read.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, access: Access, query: &Query) -> Result<Page, Error> {
        let Some(only) = within_reach(access, query.conversation)? else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
                complete: true,
            });
        };
        let words = query::prepare(&query.words);
        let criteria = Criteria {
            words: &words,
            author: query.author,
            before: query.before,
            after: query.after,
            from: query.from,
        };
        let listing = self.on_primary(async |client| {
            let slices = store::list_slices(client, access, only, &criteria).await?;
            let is_nowhere = match query.conversation {
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
            .look_through(access, Rounds::new(slices, query.limit), &criteria)
            .await?;
        let next = hits.page.last().filter(|_| hits.more).map(position);
        let mut items = Vec::new();
        if !hits.page.is_empty() {
            let reading = self.on_primary(async |client| store::read(client, access, &hits.page, &words).await);
            items.extend(reading.await?.into_iter().map(Found::from));
        }
        Ok(Page {
            items,
            next,
            complete: hits.complete,
        })
    }

    async fn look_through(&self, access: Access, mut rounds: Rounds, criteria: &Criteria<'_>) -> Result<Hits, Error> {
        while let Some(slices) = rounds.next_round() {
            let started = Instant::now();
            let (most, time) = (rounds.wanted(), rounds.time_left());
            let find = async |client: &mut Client, slices: &[Slice]| {
                store::find_hits(client, access, slices, criteria, most, time).await
            };
            match self.look_into(slices, find).await {
                Err(Error::Database(error)) if error.is_cancelled() => rounds.break_off(started.elapsed()),
                hits => rounds.take(hits?, started.elapsed()),
            }
        }
        Ok(rounds.finish())
    }

    /// One round: on the replica, if there is one. It may not have what is very young, and nobody should miss what they have
    /// just written, so that is looked for on the database itself.
    async fn look_into(
        &self,
        slices: &[Slice],
        find: impl AsyncFn(&mut Client, &[Slice]) -> Result<Vec<Hit>, database::Error>,
    ) -> Result<Vec<Hit>, Error> {
        let (fresh, settled): (Vec<Slice>, Vec<Slice>) = slices.iter().partition(|slice| slice.is_fresh);
        if !settled.is_empty()
            && let Some(found) = self
                .database
                .read_stale(async |client| find(client, &settled).await)
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

    /// Asks the database itself something, when it is this search's turn.
    async fn on_primary<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, database::Error>,
    ) -> Result<T, Error> {
        let Ok(Ok(_seat)) = tokio::time::timeout(SEAT_WAIT, self.seats.acquire()).await else {
            return Err(Error::Overloaded);
        };
        Ok(work(&mut self.database.client().await?).await?)
    }
}

impl From<store::Read> for Found {
    fn from(read: store::Read) -> Self {
        let body = read.message.body.as_deref().unwrap_or_default();
        Self {
            snippet: snippet(body, &read.marked),
            message: read.message,
            conversation: read.conversation,
        }
    }
}

const fn position(hit: &Hit) -> (Timestamp, Uuid) {
    (hit.created_at, hit.id)
}

/// Which conversation to search, if only one; `None` for who has none.
fn within_reach(access: Access, asked: Option<ConversationId>) -> Result<Option<Option<ConversationId>>, Error> {
    match (asked, access.conversations) {
        (Some(id), _) if !access.allows(id) => Err(Error::NotFound),
        (Some(id), _) | (None, AllowedConversations::Only(id)) => Ok(Some(Some(id))),
        (None, AllowedConversations::All) => Ok(Some(None)),
        (None, AllowedConversations::None) => Ok(None),
    }
}
