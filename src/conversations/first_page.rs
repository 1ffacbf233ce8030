//! The first page of a person's conversations. It is asked for all the time, so it is kept,
//! encoded, until something on it changes.
//!
//! It depends on all conversations of the person, and not only on those of the page, because a
//! message in any of them brings it to the top. It also depends on the person: their memberships
//! and read markers. All of that is invalidated as it happens (`first_page_observer.rs`). A message
//! costs two atomic operations, whether the conversation has two members or ten thousand, and
//! nobody's page is looked for. So on this node a page never shows what was before a change whose
//! author has the receipt.
//!
//! Other nodes learn it by the bus, which may lose things. So where there may be others, a page is
//! kept for [`AGE_MAX_WITH_PEERS`] at most. Pages are not put into Redis
//! (`docs/adr/0013-stamps-instead-of-removal.md`).
//!
//! Why encoded, although the room knows nothing of JSON otherwise: a page is read far more often
//! than it changes. Encoding 50 summaries (31 KB) takes about 118 µs of CPU, a clone of the bytes a
//! tenth of a microsecond at most. A whole request for a kept page takes 47 µs (42,600/s on two
//! cores). So encoding each response anew would leave less than a third of that rate. Measured in
//! November 2026 with `serde_json`, release build; 20 summaries take 46 µs, one takes 2 µs.
//!
//! Bounds: the page of a person in more than [`DEPENDS_MAX`] conversations is not kept; all pages
//! take part in the cache's bound in bytes.

use super::error::Error;
use super::handle::ConversationsHandle;
use super::listing::{Summary, SummaryPage};
use super::store;
use crate::auth::{Access, AllowedConversations};
use crate::cache::{Cacheable, Kind, LoadedValue, Subject, keys};
use bytes::Bytes;
use std::time::Duration;

/// Conversations that a page may depend on: more would cost more to look at than the page saves.
const DEPENDS_MAX: usize = 1_000;
/// How old a page may become where other nodes may change things too, should the bus have lost an
/// invalidation. Five seconds are promised; the rest is for loading it again.
const AGE_MAX_WITH_PEERS: Duration = Duration::from_secs(4);

/// A page as the bytes of its JSON.
#[derive(Clone, Debug)]
struct FirstPage(Bytes);

impl Cacheable for FirstPage {
    const KIND: Kind = Kind::Conversations;

    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// A page as data, and how long it may be kept.
struct LoadedPage {
    summaries: Vec<Summary>,
    depends_on: Vec<Subject>,
    keep: bool,
}

impl ConversationsHandle {
    /// The first page of the caller's conversations, newest activity first, as `encode` writes it.
    /// `encode` gets one summary more than `limit` if there are more. It is called only when the
    /// page has changed.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Encode`].
    pub async fn first_page(
        &self,
        access: Access,
        limit: i64,
        encode: impl FnOnce(Vec<Summary>) -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Bytes, Error> {
        let only = match access.conversations {
            AllowedConversations::All => None,
            AllowedConversations::Only(only) => Some(only),
            // Sees nothing; not worth remembering.
            AllowedConversations::None => return Ok(encode(Vec::new())?.into()),
        };
        let key = keys::conversations(access.tenant_id, access.user_id, limit, only);
        let context = &self.context;
        let age_max = if context.bus.may_have_peers(context.node) {
            AGE_MAX_WITH_PEERS
        } else {
            Duration::MAX
        };
        let conversations = self.clone();
        let load = move || async move {
            let loaded = conversations.load_first_page(access, limit).await?;
            Ok(LoadedValue {
                value: Some(FirstPage(encode(loaded.summaries)?.into())),
                depends_on: loaded.depends_on,
                keep: loaded.keep,
            })
        };
        let page = context.cache.get_or_load_here::<FirstPage, _, _>(&key, age_max, load);
        Ok(page.await?.map(|page| page.0).unwrap_or_default())
    }

    /// The page and what it depends on, in one flight. They need not be of one snapshot: a
    /// membership that comes or goes in between invalidates what depends on the person.
    async fn load_first_page(&self, access: Access, limit: i64) -> Result<LoadedPage, Error> {
        let client = self.context.database.client().await?;
        let more = i64::try_from(DEPENDS_MAX + 1).unwrap_or(i64::MAX);
        let page = SummaryPage {
            limit: limit + 1,
            from: None,
            only: None,
        };
        let (summaries, memberships) = tokio::join!(
            self.summaries_on(&client, access, page),
            store::list_memberships(&client, access.tenant_id, access.user_id, more),
        );
        let (summaries, memberships) = (summaries?, memberships?);
        Ok(LoadedPage {
            summaries,
            keep: memberships.len() <= DEPENDS_MAX,
            depends_on: std::iter::once(Subject::User(access.user_id))
                .chain(memberships.into_iter().map(Subject::Conversation))
                .collect(),
        })
    }
}
