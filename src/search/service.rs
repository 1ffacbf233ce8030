//! Searches messages. Called by `http/`. No actor; it keeps nothing.
//!
//! A search has four steps.
//!
//! 1. The database itself finds which slices of which conversations may hold something. So only
//!    conversations are searched of which the caller is a member at this moment.
//! 2. What is not in the index yet is read from the database itself and judged by its text. So
//!    nobody misses what they have just written (`index/`).
//! 3. The slices are searched in rounds (`rounds.rs`), by the index. This is the work, and a
//!    replica may do it. A phrase is not in the index, so its candidates are judged by their text.
//! 4. What was found is read from the database itself, with the membership, and judged by what it
//!    says now. So a replica or an index that is seconds behind decides nothing, and a response
//!    never shows a deleted message, an old body, or a conversation that the caller has just lost.
//!
//! Bounds: the quota of expensive routes, the slices and the time of `rounds.rs`, [`PAGE_BYTES_MAX`],
//! and [`SEATS`]. So many searches use a connection of the database at a time, because its pool is
//! everybody's; half of them at most are of one tenant, one of one user, and they are given in turns.
//! Who waits too long, or has too many waiting, gets `overloaded`. When the database is away it is
//! `unavailable`.
//!
//! Why not by relevance: in a conversation people look for the last time that a word was said, and
//! a rank would have to read every hit before the first could be shown.

use super::error::Error;
use super::query::Query;
use super::request::{Criteria, SearchCursor, SearchRequest};
use super::results::{FoundMessage, SearchResults};
use super::rounds::{Hit, Hits, Rounds, Slice};
use super::snippet::snippet;
use super::store::{self, Candidate, ReadHit};
use crate::auth::{Access, AllowedConversations};
use crate::database::{self, Client, Database};
use crate::fairness::{Claimant, FairPermits, TurnLimits};
use crate::ids::{ConversationId, Rev, TenantId, UserId};
use crate::metrics::{ReadTarget, SharedResource, metrics};
use crate::wire::frames::Message;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Searches of this node that query the database itself at a time. Those on a replica are not
/// counted.
const SEATS: TurnLimits = TurnLimits {
    running_max: 4,
    running_of_group_max: 2,
    running_of_member_max: 1,
    waiting_max: 256,
    waiting_of_group_max: 64,
    waiting_of_member_max: 8,
};
/// How large a page may become, as far as its messages are concerned. One at least is on it.
const PAGE_BYTES_MAX: usize = 512 * 1_024;
/// Candidates that are read and judged at a time.
const CANDIDATES: usize = 200;
/// How long a search waits for a seat.
const SEAT_WAIT: Duration = Duration::from_secs(2);

/// Search. Cheap to clone.
#[derive(Clone)]
pub struct Search {
    database: Database,
    seats: FairPermits<TenantId, UserId>,
}

impl Search {
    #[must_use]
    pub fn new(database: Database) -> Self {
        let seats = FairPermits::new(SharedResource::Search, SEATS);
        Self { database, seats }
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
        let query = Query::parse(&request.words);
        let criteria = Criteria {
            query: &query,
            author: request.author,
            before: request.before,
            after: request.after,
            from: request.from,
        };
        let rounds = self.begin(access, only, request, &criteria).await?;
        let hits = self.run_rounds(access, rounds, &criteria).await?;
        let mut read = Vec::new();
        if !hits.page.is_empty() {
            let reading = self.on_primary(access, async |client| store::read(client, access, &hits.page).await);
            read = reading.await?;
        }
        let fitting = fitting(read.iter().map(|hit| message_bytes(&hit.message)));
        // Where the page is cut, the next one begins behind what is on it.
        let last = match read
            .get(..fitting)
            .and_then(<[_]>::last)
            .filter(|_| fitting < read.len())
        {
            Some(hit) => Some((hit.message.created_at, hit.message.id.0)),
            None => hits
                .page
                .last()
                .filter(|_| hits.more)
                .map(|last| (last.created_at, last.id)),
        };
        read.truncate(fitting);
        let items = read.into_iter().filter_map(|hit| found_message(hit, &query));
        Ok(SearchResults {
            items: items.collect(),
            next: last.map(|(created_at, id)| SearchCursor { created_at, id }),
            complete: hits.complete,
        })
    }

    /// The slices to search, and what is found outside the index.
    async fn begin(
        &self,
        access: Access,
        only: Option<ConversationId>,
        request: &SearchRequest,
        criteria: &Criteria<'_>,
    ) -> Result<Rounds, Error> {
        let listing = self.on_primary(access, async |client| {
            if criteria.query.is_empty() {
                let is_here = match request.conversation {
                    Some(id) => store::is_member(client, access, id).await?,
                    None => true,
                };
                return Ok(is_here.then(|| Rounds::new(Vec::new(), request.limit)));
            }
            let slices = store::list_slices(client, access, only, criteria).await?;
            if slices.is_empty()
                && let Some(id) = request.conversation
                && !store::is_member(client, access, id).await?
            {
                return Ok(None);
            }
            let beyond: HashMap<Uuid, Rev> = slices
                .iter()
                .filter_map(|slice| Some((slice.conversation, slice.unindexed_after?)))
                .collect();
            let mut rounds = Rounds::new(slices, request.limit);
            if !beyond.is_empty() {
                let beyond: Vec<_> = beyond.into_iter().collect();
                let (candidates, is_cut) = store::read_unindexed(client, access, &beyond, criteria).await?;
                rounds.add_unindexed(
                    candidates.into_iter().filter_map(|one| judge(one, criteria.query)),
                    is_cut,
                );
            }
            Ok(Some(rounds))
        });
        listing.await?.ok_or(Error::NotFound)
    }

    async fn run_rounds(&self, access: Access, mut rounds: Rounds, criteria: &Criteria<'_>) -> Result<Hits, Error> {
        while let Some(slices) = rounds.next_round() {
            let started = Instant::now();
            let (most, time) = (rounds.wanted(), rounds.time_left());
            let find = async |client: &mut Client, slices: &[Slice]| {
                find_hits(client, access, slices, criteria, most, time).await
            };
            match self.run_round(access, slices, find).await {
                Err(Error::Database(error)) if error.is_cancelled() => rounds.break_off(started.elapsed()),
                hits => match hits? {
                    Some(hits) => rounds.add(hits, started.elapsed()),
                    None => rounds.break_off(started.elapsed()),
                },
            }
        }
        Ok(rounds.finish())
    }

    /// One round: on the replica, if there is one. It may not have what is very young, and nobody
    /// should miss what they have just written, so that is looked for on the database itself. `None`
    /// where it took too long.
    async fn run_round(
        &self,
        access: Access,
        slices: &[Slice],
        find: impl AsyncFn(&mut Client, &[Slice]) -> Result<Option<Vec<Hit>>, database::Error>,
    ) -> Result<Option<Vec<Hit>>, Error> {
        let (fresh, older): (Vec<Slice>, Vec<Slice>) = slices.iter().partition(|slice| slice.is_fresh);
        if !older.is_empty()
            && let Some(found) = self
                .database
                .read_stale(async |client| find(client, &older).await)
                .await
        {
            let Some(mut hits) = found? else { return Ok(None) };
            if !fresh.is_empty() {
                metrics().read_stale(ReadTarget::Primary);
                match self
                    .on_primary(access, async |client| find(client, &fresh).await)
                    .await?
                {
                    Some(more) => hits.extend(more),
                    None => return Ok(None),
                }
            }
            return Ok(Some(hits));
        }
        metrics().read_stale(ReadTarget::Primary);
        self.on_primary(access, async |client| find(client, slices).await).await
    }

    /// Queries the database itself, with one of the seats.
    async fn on_primary<T>(
        &self,
        access: Access,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, database::Error>,
    ) -> Result<T, Error> {
        let claimant = Claimant {
            group: access.tenant_id,
            member: access.user_id,
        };
        let seat = self.seats.acquire_within(claimant, SEAT_WAIT).await;
        let _seat = seat.map_err(|_beyond| Error::Overloaded)?;
        Ok(work(&mut self.database.client().await?).await?)
    }
}

/// The youngest hits of some slices, at most `limit`. Candidates that have to be judged are read in
/// pages; `None` when that takes longer than `time`.
async fn find_hits(
    client: &mut Client,
    access: Access,
    slices: &[Slice],
    criteria: &Criteria<'_>,
    limit: usize,
    time: Duration,
) -> Result<Option<Vec<Hit>>, database::Error> {
    let started = Instant::now();
    let mut hits = Vec::new();
    let mut older_than = None;
    loop {
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        let page = if criteria.query.is_exact() { limit } else { CANDIDATES };
        let candidates = store::find_candidates(client, access, slices, criteria, older_than, page, left).await?;
        let is_last = candidates.len() < page;
        older_than = candidates.last().map(|last| last.hit);
        if criteria.query.is_exact() {
            return Ok(Some(candidates.into_iter().map(|one| one.hit).collect()));
        }
        hits.extend(candidates.into_iter().filter_map(|one| judge(one, criteria.query)));
        if is_last || hits.len() >= limit {
            hits.truncate(limit);
            return Ok(Some(hits));
        }
    }
}

/// How many of these, from the first on, are a page.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = |(n, size): &(usize, usize)| {
        bytes += size;
        *n == 0 || bytes <= PAGE_BYTES_MAX
    };
    sizes.enumerate().take_while(fits).count()
}

/// About how large a message is in a response.
fn message_bytes(message: &Message) -> usize {
    const WITHOUT_TEXT: usize = 512;
    WITHOUT_TEXT + message.body.as_ref().map_or(0, |body| body.len())
}

/// The hit, if its text is what is asked for.
fn judge(candidate: Candidate, query: &Query) -> Option<Hit> {
    query.hits(&candidate.body?).map(|_| candidate.hit)
}

/// `None` where the message says something else by now.
fn found_message(hit: ReadHit, query: &Query) -> Option<FoundMessage> {
    let body = hit.message.body.as_deref().unwrap_or_default();
    Some(FoundMessage {
        snippet: snippet(body, &query.hits(body)?),
        message: hit.message,
        conversation: hit.conversation,
    })
}

/// Which conversations to search: those the caller may touch, or of them the one that is wanted.
fn narrow(access: Access, wanted: Option<ConversationId>) -> Result<AllowedConversations, Error> {
    match wanted {
        None => Ok(access.conversations),
        Some(id) if access.allows(id) => Ok(AllowedConversations::Only(id)),
        Some(_) => Err(Error::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_tenant_leaves_seats_to_others_and_a_user_to_their_tenant() {
        let seats = FairPermits::new(SharedResource::Search, SEATS);
        let of = |group: u8, member: u8| Claimant { group, member };
        let ask = |group, member| Box::pin(seats.acquire(of(group, member)));
        let (mut running, mut greedy) = (Vec::new(), Vec::new());
        for n in 0..20 {
            let mut asks = ask(1, n / 4);
            match asks.as_mut().now_or_never() {
                Some(given) => running.push(given.unwrap()),
                None => greedy.push(asks),
            }
        }
        assert_eq!(running.len(), 2);
        assert!(ask(2, 1).now_or_never().is_some(), "a seat is free for others");
        let mut others: Vec<_> = (2..4).filter_map(|group| ask(group, 1).now_or_never()).collect();
        assert_eq!(others.len(), 2);
        // All are taken. Who comes now is before the many that wait.
        let mut neighbour = ask(4, 1);
        assert!(neighbour.as_mut().now_or_never().is_none());
        drop(others.pop());
        assert!(neighbour.now_or_never().is_some());
        drop(running.pop());
        let given: Vec<_> = greedy
            .iter_mut()
            .filter_map(|asks| asks.as_mut().now_or_never())
            .collect();
        assert_eq!(given.len(), 1);
    }

    #[test]
    fn a_page_ends_with_its_bytes_but_not_before_its_first() {
        assert_eq!(fitting([1, 2, 3].into_iter()), 3);
        assert_eq!(fitting([PAGE_BYTES_MAX, 1].into_iter()), 1);
        assert_eq!(fitting([PAGE_BYTES_MAX + 1, 1].into_iter()), 1);
        assert_eq!(fitting([PAGE_BYTES_MAX - 1, 1, 1].into_iter()), 2);
        assert_eq!(fitting(std::iter::empty()), 0);
    }
}
