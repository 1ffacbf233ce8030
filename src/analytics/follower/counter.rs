//! Counts what is new in some conversations: reads beyond their positions, writes blocks and moves
//! the positions, in one transaction. So every message is counted exactly once, whatever dies.
//!
//! Used by the task of the follower, and by a rebuild for the generation that it makes. Bounds:
//! [`MESSAGES_MAX`] messages of a transaction, divided evenly between its conversations.

use crate::analytics::block::{CellKey, Counts, QUARTER_MS, QUARTERS_OF_DAY};
use crate::analytics::error::Error;
use crate::analytics::replies::Position;
use crate::analytics::store::{self, Counted, Uncounted, WrittenBlocks};
use crate::database::Transaction;
use crate::ids::{ConversationId, TenantId, UserId, UserKind};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Most messages of a transaction.
const MESSAGES_MAX: usize = 32_768;
/// Most messages of one conversation in a transaction.
const EACH_MAX: usize = 8_192;

/// What was counted, before it is written. Pure.
#[derive(Default)]
pub(in crate::analytics) struct Tallied {
    pub(in crate::analytics) days: BTreeMap<Counted, Counts>,
    /// When people posted first, of what was counted here.
    people: HashMap<(TenantId, i32, UserId), i64>,
    pub(in crate::analytics) messages: usize,
}

/// What one transaction has done.
#[derive(Debug, Default)]
pub(in crate::analytics) struct CountedBatch {
    pub(in crate::analytics) messages: usize,
    pub(in crate::analytics) days: Vec<Counted>,
    /// Conversations with more to count.
    pub(in crate::analytics) unfinished: Vec<Uuid>,
}

impl Tallied {
    /// Counts the next message of a conversation.
    pub(in crate::analytics) fn add(&mut self, position: &mut Position, message: &Uncounted) {
        let quarter = message.at.div_euclid(QUARTER_MS);
        let day = Counted {
            tenant: position.tenant,
            generation: position.generation,
            day: i32::try_from(quarter.div_euclid(QUARTERS_OF_DAY)).unwrap_or(i32::MAX),
        };
        let key = CellKey {
            quarter,
            conversation: message.conversation,
            user: message.author,
            kind: message.kind,
        };
        let delay = position.replies.next(message.author, message.kind, message.at);
        self.days.entry(day).or_default().add(key, message.at, delay);
        if message.kind == UserKind::Person {
            let person = (position.tenant, position.generation, message.author);
            let first = self.people.entry(person).or_insert(message.at);
            *first = (*first).min(message.at);
        }
        position.through = message.seq;
        self.messages += 1;
    }

    /// Writes the blocks, and the people.
    pub(in crate::analytics) async fn write(self, tx: &Transaction<'_>) -> Result<Vec<Counted>, Error> {
        let days: Vec<Counted> = self.days.keys().copied().collect();
        let blocks = self.days.into_iter().map(|(day, mut counts)| (day, counts.pack()));
        let written = WrittenBlocks {
            level: 0,
            blocks: blocks.collect(),
        };
        if !days.is_empty() {
            store::insert_blocks(tx, &written).await?;
        }
        let mut people: Vec<_> = self
            .people
            .into_iter()
            .map(|((tenant, generation, user), at)| (tenant, generation, user, at))
            .collect();
        // In the same order as everybody who writes some.
        people.sort_unstable();
        if !people.is_empty() {
            store::upsert_people(tx, &people).await?;
        }
        Ok(days)
    }
}

/// Counts what some conversations have from before `through`, in one transaction that the caller
/// commits. With `building`, in that generation.
pub(in crate::analytics) async fn count(
    tx: &Transaction<'_>,
    conversations: &[Uuid],
    through: i64,
    building: Option<i32>,
) -> Result<CountedBatch, Error> {
    store::make_positions(tx, conversations, building).await?;
    let mut positions = store::claim_positions(tx, conversations, building).await?;
    if positions.is_empty() {
        return Ok(CountedBatch::default());
    }
    let each = (MESSAGES_MAX / positions.len()).clamp(1, EACH_MAX);
    let uncounted = store::list_uncounted(tx, &positions, i64::try_from(each).unwrap_or(1)).await?;
    let (mut tallied, mut unfinished) = (Tallied::default(), Vec::new());
    let mut of: HashMap<ConversationId, Vec<Uncounted>> = HashMap::new();
    for message in uncounted {
        of.entry(message.conversation).or_default().push(message);
    }
    positions.retain_mut(|position| {
        let messages = of.remove(&position.conversation).unwrap_or_default();
        let is_full = messages.len() >= each;
        let before = position.through;
        let mut is_whole = true;
        for message in &messages {
            if message.at >= through {
                is_whole = false;
                break;
            }
            tallied.add(position, message);
        }
        if is_full && is_whole {
            unfinished.push(position.conversation.0);
        }
        position.through != before
    });
    let messages = tallied.messages;
    let days = tallied.write(tx).await?;
    if !positions.is_empty() {
        store::move_positions(tx, &positions).await?;
    }
    Ok(CountedBatch {
        messages,
        days,
        unfinished,
    })
}
