//! Hands the pages of a replay to a socket, each when the one before has been taken.
//!
//! A replay reads the database under one of the node's permits, and waits for its socket without
//! one. A page holds at most about 192 KiB, so waiting replays are bounded too.

use super::dependencies::ConversationContext;
use super::store;
use super::subscribers::ReplayTotals;
use crate::commit::own_reactions;
use crate::ids::{ConversationId, Rev, UserId};
use crate::wire::{Change, Frame, Outbox, OwnReactions, ReplayWatch};
use std::sync::Arc;

/// Most bytes that are pushed at once, outside the outbox's limits; more goes by pages.
const DIRECT_BYTES_MAX: usize = 64 * 1024;

/// Why a replay ended early.
pub(super) enum ReplayError {
    /// The socket is gone, or the subscription has ended.
    Gone,
    /// The client claims a revision that does not exist.
    Ahead,
    Database(crate::database::Error),
}

impl From<crate::database::Error> for ReplayError {
    fn from(error: crate::database::Error) -> Self {
        Self::Database(error)
    }
}

/// Where the pages of a replay come from.
pub(super) enum PageSource {
    /// A snapshot that was too large to be pushed at once, or of which the database has to say what
    /// is the reader's own.
    Memory {
        changes: Vec<Change>,
        known: Rev,
        through: Rev,
    },
    /// The database, for a subscriber who has everything up to `known` and was sent what follows up
    /// to `from`.
    Database { known: Rev, from: Rev },
}

/// How far a replay has brought its subscriber.
#[derive(Clone, Copy)]
pub(super) struct ReplayProgress {
    /// Everything up to here is with the socket.
    pub(super) through: Rev,
    pub(super) sent: ReplayTotals,
}

/// Where the pages of a replay go.
pub(super) struct ReplayTarget {
    pub(super) outbox: Arc<Outbox>,
    /// Says when the replay has ended, for whatever reason.
    pub(super) watch: ReplayWatch,
    /// Who reads.
    pub(super) user: UserId,
}

impl ReplayTarget {
    async fn send(&self, frames: &[Frame]) -> Result<(), ReplayError> {
        let mut rest = frames;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest.iter().take_while(|frame| {
                bytes += frame.len();
                bytes <= DIRECT_BYTES_MAX
            });
            let (chunk, after) = rest.split_at(count.count().max(1));
            let sent = self.outbox.push_page(Frame::concat(chunk), &self.watch);
            sent.await.map_err(|_closed| ReplayError::Gone)?;
            rest = after;
        }
        Ok(())
    }
}

/// Whether frames are few enough to be pushed at once.
pub(super) fn fits(frames: &[Frame]) -> bool {
    frames.iter().map(Frame::len).sum::<usize>() <= DIRECT_BYTES_MAX
}

/// Frames for one reader, who has everything up to `known`, when all users of all reactions are
/// listed; `None` when the database has to be asked.
pub(super) fn encode_listed(user: UserId, changes: &[Change], known: Rev) -> Option<Vec<Frame>> {
    let own = OwnReactions::listed(user);
    let is_listed = !changes.iter().any(Change::has_unlisted);
    is_listed.then(|| encode_own(changes, known, &own))
}

async fn encode(
    context: &ConversationContext,
    user: UserId,
    changes: &[Change],
    known: Rev,
) -> Result<Vec<Frame>, crate::database::Error> {
    if let Some(frames) = encode_listed(user, changes, known) {
        return Ok(frames);
    }
    let messages = changes.iter().filter_map(|change| match change {
        Change::Message(message) => Some(&**message),
        _ => None,
    });
    let client = context.database.client().await?;
    let own = own_reactions(&client, user, messages).await?;
    Ok(encode_own(changes, known, &own))
}

pub(super) fn encode_own(changes: &[Change], known: Rev, own: &OwnReactions) -> Vec<Frame> {
    changes
        .iter()
        .map(|change| change.encode_replayed(known, own))
        .collect()
}

/// Hands all pages to a socket, and waits until it has taken them.
pub(super) async fn send_pages(
    context: &ConversationContext,
    id: ConversationId,
    target: &ReplayTarget,
    source: PageSource,
) -> Result<ReplayProgress, ReplayError> {
    let mut sent = ReplayTotals::default();
    let (known, mut from) = match source {
        PageSource::Memory {
            changes,
            known,
            through,
        } => {
            let frames = encode(context, target.user, &changes, known).await?;
            drop(changes);
            target.send(&frames).await?;
            sent.add(&frames);
            return Ok(ReplayProgress { through, sent });
        }
        PageSource::Database { known, from } => (known, from),
    };
    let latest = store::load_rev(&context.database, id).await?;
    if from > latest {
        return Err(ReplayError::Ahead);
    }
    while from < latest {
        if target.watch.is_over() {
            return Err(ReplayError::Gone);
        }
        let page = {
            let _permit = context.readers.acquire().await;
            store::load_changes(&context.database, id, from, latest).await?
        };
        let frames = encode(context, target.user, &page.changes, known).await?;
        drop(page.changes);
        target.send(&frames).await?;
        sent.add(&frames);
        from = page.through;
    }
    Ok(ReplayProgress { through: from, sent })
}
