//! Hands the pages of a replay to a socket, each when the one before has been taken.
//!
//! A page is read and encoded when it is the turn of this replay among those of the connection
//! ([`Outbox::page_turn`]), so a connection holds one page however many conversations it subscribes
//! to and however slowly it reads. While it waits for its turn, a replay from memory holds references
//! to messages, and one from the database holds nothing.
//!
//! A page is read under a permit of the node, in turns between tenants. A page of the database has
//! bodies of about 192 KiB, and goes to the socket in pieces of [`PIECE_BYTES_MAX`].

use super::dependencies::ConversationContext;
use super::store;
use super::subscribers::ReplayTotals;
use crate::commit::own_reactions;
use crate::error::Code;
use crate::fairness::{Beyond, Claimant};
use crate::ids::{ConversationId, Rev, Seq, TenantId, UserId};
use crate::wire::{Change, Frame, Outbox, OwnReactions, PageTurn, ReplayWatch};
use std::sync::Arc;

/// Most bytes that are pushed at once, outside the outbox's limits; more goes by pages.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Why a replay ended early.
pub(super) enum ReplayError {
    /// The socket is gone, or the subscription has ended.
    Gone,
    /// The client claims a revision that does not exist.
    Ahead,
    /// Too many of the same tenant or user wait to read.
    Beyond(Beyond),
    Database(crate::database::Error),
}

impl From<crate::database::Error> for ReplayError {
    fn from(error: crate::database::Error) -> Self {
        Self::Database(error)
    }
}

impl ReplayError {
    /// What the subscriber is told; `None` if nobody waits for it.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Gone => None,
            Self::Ahead => Some(Code::Conflict),
            Self::Beyond(Beyond) => Some(Code::Overloaded),
            Self::Database(error) => Some(error.code()),
        }
    }
}

/// Where the pages of a replay come from.
pub(super) enum PageSource {
    /// Changes that were too many to be pushed at once, or of which the database has to say what is
    /// the reader's own, for one who has everything up to `known`.
    Memory {
        changes: Vec<Change>,
        known: Rev,
        through: Rev,
    },
    /// The messages with numbers after `after` up to `last`, for one who has none.
    Newest { after: Seq, last: Seq, through: Rev },
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
    /// For whom the database is read.
    pub(super) reader: Claimant<TenantId, UserId>,
}

impl ReplayTarget {
    /// Waits until it is the turn of this replay.
    async fn turn(&self) -> Result<PageTurn<'_>, ReplayError> {
        tokio::select! {
            biased;
            () = self.watch.over() => Err(ReplayError::Gone),
            turn = self.outbox.page_turn() => turn.ok_or(ReplayError::Gone),
        }
    }

    /// Encodes one piece and waits until the socket has taken it. What is left.
    async fn send<'c>(
        &self,
        context: &ConversationContext,
        _turn: &PageTurn<'_>,
        changes: &'c [Change],
        known: Rev,
        sent: &mut ReplayTotals,
    ) -> Result<&'c [Change], ReplayError> {
        let (piece, rest) = changes.split_at(piece_len(changes));
        let frames = encode(context, self.reader.member, piece, known).await?;
        sent.add(&frames);
        let page = Frame::concat(&frames);
        drop(frames);
        let taken = self.outbox.push_page(page, &self.watch);
        taken.await.map_err(|_closed| ReplayError::Gone)?;
        Ok(rest)
    }
}

/// How many changes are a piece, from the first on.
fn piece_len(changes: &[Change]) -> usize {
    let mut bytes = 0;
    let fitting = changes.iter().take_while(|change| {
        bytes += change.encoded_bytes();
        bytes <= PIECE_BYTES_MAX
    });
    fitting.count().max(1).min(changes.len())
}

/// Whether changes are few enough to be pushed at once.
pub(super) fn fits(changes: &[Change]) -> bool {
    piece_len(changes) == changes.len() && changes.iter().map(Change::encoded_bytes).sum::<usize>() <= PIECE_BYTES_MAX
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

fn encode_own(changes: &[Change], known: Rev, own: &OwnReactions) -> Vec<Frame> {
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
    let through = match source {
        PageSource::Memory {
            changes,
            known,
            through,
        } => {
            let mut rest = changes.as_slice();
            while !rest.is_empty() {
                let turn = target.turn().await?;
                rest = target.send(context, &turn, rest, known, &mut sent).await?;
            }
            through
        }
        PageSource::Newest { after, last, through } => {
            send_newest(context, id, target, after..last, &mut sent).await?;
            through
        }
        PageSource::Database { known, from } => send_changes(context, id, target, known..from, &mut sent).await?,
    };
    Ok(ReplayProgress { through, sent })
}

/// The messages after the first number up to the last one.
async fn send_newest(
    context: &ConversationContext,
    id: ConversationId,
    target: &ReplayTarget,
    numbers: std::ops::Range<Seq>,
    sent: &mut ReplayTotals,
) -> Result<(), ReplayError> {
    let mut after = numbers.start;
    while after < numbers.end {
        let turn = target.turn().await?;
        let page = {
            let permit = context.replays.acquire(target.reader).await;
            let _permit = permit.map_err(ReplayError::Beyond)?;
            store::load_messages(&context.database, id, after, numbers.end).await?
        };
        // Messages are never removed; a conversation of which there are none is being deleted.
        let Some(last) = page.last().map(|message| message.seq) else {
            break;
        };
        let page: Vec<_> = page.into_iter().map(Arc::new).map(Change::Message).collect();
        let mut rest = page.as_slice();
        while !rest.is_empty() {
            rest = target.send(context, &turn, rest, Rev::ZERO, sent).await?;
        }
        after = last;
    }
    Ok(())
}

/// What has changed, for one who has everything up to the first revision and was sent what follows
/// up to the second. Returns up to which revision the subscriber has everything now.
async fn send_changes(
    context: &ConversationContext,
    id: ConversationId,
    target: &ReplayTarget,
    had: std::ops::Range<Rev>,
    sent: &mut ReplayTotals,
) -> Result<Rev, ReplayError> {
    let mut from = had.end;
    let latest = store::load_rev(&context.database, id).await?;
    if from > latest {
        return Err(ReplayError::Ahead);
    }
    while from < latest {
        let turn = target.turn().await?;
        let page = {
            let permit = context.replays.acquire(target.reader).await;
            let _permit = permit.map_err(ReplayError::Beyond)?;
            store::load_changes(&context.database, id, from, latest).await?
        };
        let mut rest = page.changes.as_slice();
        while !rest.is_empty() {
            rest = target.send(context, &turn, rest, had.start, sent).await?;
        }
        from = page.through;
    }
    Ok(from)
}
