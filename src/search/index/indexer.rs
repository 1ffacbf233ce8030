//! One batch: locks the positions of some conversations, reads what lies beyond them, writes the
//! words and moves the positions, in one transaction.
//!
//! Bounds: [`MESSAGES_MAX`] messages, divided evenly between the conversations, so that nobody's
//! flood holds up others; and [`BYTES_MAX`] of bodies, divided between tenants and then between
//! their conversations. What is left over goes back into the backlog, behind what its tenant has
//! there.
//!
//! The position moves to the revision that the conversation had when it was locked here. Messages
//! are read after that, so all that was changed up to that revision is seen, in its present form;
//! what changed since is seen too, or has a higher revision and comes next time.

use super::backlog::Waiting;
use super::store::{self, IndexRows, Move, Position, Unindexed};
use super::vector::WordVector;
use crate::database::{Database, Error};
use crate::ids::ConversationId;
use std::collections::HashMap;
use uuid::Uuid;

/// Conversations of a batch.
pub(super) const CONVERSATIONS: usize = 64;
/// Most messages of a batch.
const MESSAGES_MAX: usize = 8_192;
/// Most messages of one conversation in a batch.
const EACH_MAX: usize = 4_096;
/// Most bytes of bodies in a batch, the last body not counted.
const BYTES_MAX: i64 = 1 << 20;
/// Most entries of a deleted conversation that a batch removes.
const DELETED_MAX: u64 = 5_000;

/// What a batch has done.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Messages that were taken into the index, or out of it.
    pub(super) messages: usize,
    /// Conversations with more to index.
    pub(super) unfinished: Vec<Waiting>,
}

/// What a batch writes. Pure.
#[derive(Default)]
struct Plan {
    words: IndexRows,
    wordless: IndexRows,
    moves: Vec<Move>,
    unfinished: Vec<ConversationId>,
}

/// Indexes some of what waits in these conversations.
pub(super) async fn index(database: &Database, waiting: &[Waiting]) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    if waiting.is_empty() {
        return Ok(batch);
    }
    let conversations: Vec<Uuid> = waiting.iter().map(|waiting| waiting.conversation.0).collect();
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    store::prepare(&tx).await?;
    store::make_positions(&tx, &conversations).await?;
    let claimed = store::claim(&tx, &conversations).await?;
    let (deleted, positions): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|position| position.is_deleted);
    let each = (MESSAGES_MAX / positions.len().max(1)).min(EACH_MAX);
    let unindexed = match positions.is_empty() {
        true => Vec::new(),
        false => store::list_unindexed(&tx, &positions, i64::try_from(each).unwrap_or(1), BYTES_MAX).await?,
    };
    let mut plan = plan(&positions, unindexed, each);
    batch.messages = plan.words.seqs.len() + plan.wordless.seqs.len();
    for position in deleted {
        let most = i64::try_from(DELETED_MAX).unwrap_or(i64::MAX);
        match store::delete_conversation(&tx, &position, most).await? {
            DELETED_MAX => plan.unfinished.push(position.conversation),
            _ => plan.moves.push(Move {
                from: position,
                through: position.rev,
                has_messages: true,
            }),
        }
    }
    if !plan.words.seqs.is_empty() {
        store::upsert(&tx, &plan.words).await?;
    }
    if !plan.wordless.seqs.is_empty() {
        store::delete(&tx, &plan.wordless).await?;
    }
    store::move_positions(&tx, &plan.moves).await?;
    fail::fail_point!("search::index");
    tx.commit().await?;
    if !plan.words.seqs.is_empty() {
        store::merge_pending(&client).await?;
    }
    let is_unfinished = |one: &&Waiting| plan.unfinished.contains(&one.conversation);
    batch.unfinished = waiting.iter().filter(is_unfinished).copied().collect();
    Ok(batch)
}

/// `each` is how many messages of a conversation were asked for.
fn plan(positions: &[Position], unindexed: Vec<Unindexed>, each: usize) -> Plan {
    let mut plan = Plan::default();
    let mut of: HashMap<ConversationId, Vec<Unindexed>> = HashMap::new();
    for message in unindexed {
        of.entry(message.conversation).or_default().push(message);
    }
    for position in positions {
        let messages = of.remove(&position.conversation).unwrap_or_default();
        let is_whole = messages.len() < each && messages.iter().all(|message| message.is_within);
        let has_messages = !messages.is_empty();
        let mut through = position.through;
        for message in messages.iter().take_while(|message| message.is_within) {
            through = message.rev;
            let body = message.body.as_deref().unwrap_or_default();
            match WordVector::of(position.conversation, message.seq, body) {
                Some(words) => {
                    plan.words.push(position, message.seq);
                    plan.words.words.push(words);
                }
                None => plan.wordless.push(position, message.seq),
            }
        }
        if is_whole {
            through = through.max(position.rev);
        } else {
            plan.unfinished.push(position.conversation);
        }
        if through > position.through {
            plan.moves.push(Move {
                from: *position,
                through,
                has_messages,
            });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Rev, Seq, TenantId};

    fn position(through: i64, rev: i64) -> Position {
        Position {
            conversation: ConversationId::new(),
            tenant: TenantId::new(),
            through: Rev(through),
            rev: Rev(rev),
            is_deleted: false,
        }
    }

    fn message(position: &Position, rev: i64, body: Option<&str>) -> Unindexed {
        Unindexed {
            conversation: position.conversation,
            seq: Seq(rev),
            rev: Rev(rev),
            is_within: true,
            body: body.map(str::to_owned),
        }
    }

    fn moved(plan: &Plan) -> Vec<i64> {
        plan.moves.iter().map(|one| one.through.0).collect()
    }

    #[test]
    fn positions_move_as_far_as_everything_was_read() {
        let [one, other] = [position(3, 9), position(0, 2)];
        let messages = vec![
            message(&one, 5, Some("hello")),
            message(&one, 7, None),
            message(&other, 1, Some("?")),
            message(&other, 4, Some("later than its revision")),
        ];
        let plan = plan(&[one, other], messages, 3);
        assert_eq!((&*plan.words.seqs, &*plan.wordless.seqs), (&[5, 4][..], &[7, 1][..]));
        assert_eq!(moved(&plan), [9, 4]);
        assert_eq!(plan.unfinished, []);
    }

    #[test]
    fn what_does_not_fit_comes_next_time() {
        let [one, other, many] = [position(3, 9), position(0, 2), position(0, 10_000)];
        let mut messages = vec![
            message(&one, 5, Some("hello")),
            message(&one, 7, None),
            message(&other, 1, None),
        ];
        for beyond in &mut messages[1..] {
            beyond.is_within = false;
        }
        messages.extend((1..=EACH_MAX as i64).map(|rev| message(&many, rev, Some("x"))));
        let plan = plan(&[one, other, many], messages, EACH_MAX);
        assert_eq!(moved(&plan), [5, EACH_MAX as i64]);
        assert_eq!(
            plan.unfinished,
            [one, other, many].map(|position| position.conversation)
        );
        assert!(plan.wordless.seqs.is_empty());
    }
}
