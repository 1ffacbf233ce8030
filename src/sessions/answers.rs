//! What a socket is answered when a change it asked for is durable, or is not.

use crate::ids::{ConversationId, MessageId};
use crate::persistence::Completion;
use crate::rate_limit::Decision;
use crate::wire::Reply;
use crate::wire::frames::Budget;

/// What is left of a budget, when that is less than a fifth.
pub(super) fn budget(decision: Decision) -> Option<Budget> {
    let Decision { limit, remaining, .. } = decision;
    (u64::from(remaining) * 5 < u64::from(limit)).then_some(Budget {
        limit,
        remaining,
        reset_ms: decision.reset_ms,
    })
}

/// Answers a `send` when its message is durable, or why it is not.
pub(super) fn acknowledge(
    reply: Reply,
    conversation: ConversationId,
    id: MessageId,
    budget: Option<Budget>,
) -> Completion {
    Completion::new(move |result| match result {
        Ok(receipt) => {
            let numbers = (receipt.seq.unwrap_or_default(), receipt.rev);
            reply.ack(
                conversation,
                id,
                numbers,
                receipt.created_at.unwrap_or_default(),
                (receipt.duplicate, budget),
            );
        }
        Err(error) => reply.error(error.code(), error.message()),
    })
}

/// Answers any other change when it is durable, or why it is not.
pub(super) fn confirm(reply: Reply) -> Completion {
    Completion::new(move |result| match result {
        Ok(receipt) => reply.ok(Some(receipt.rev)),
        Err(error) => reply.error(error.code(), error.message()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_told_below_a_fifth() {
        let with = |remaining| Decision {
            limit: 100,
            remaining,
            reset_ms: 7,
            retry_after_ms: None,
        };
        assert_eq!(budget(with(20)), None);
        let told = budget(with(19)).unwrap();
        assert_eq!((told.limit, told.remaining, told.reset_ms), (100, 19, 7));
    }
}
