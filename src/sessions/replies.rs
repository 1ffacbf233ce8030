//! What a session sends by itself: `hello`, and what became of a change that its client asked for.

use super::connection::Connection;
use crate::commit::Completion;
use crate::ids::{ConversationId, MessageId, NodeId};
use crate::rate_limit::QuotaDecision;
use crate::wire::frames::{Ack, Budget, Hello, HelloLimits, HelloUser};
use crate::wire::{Reply, limits};
use chrono::Utc;
use std::time::Duration;

/// The first frame of a connection.
pub(super) fn hello(connection: &Connection, node: NodeId, heartbeat: Duration) -> Hello {
    let principal = connection.principal();
    let token_expires_at = principal.token_expires_at();
    Hello {
        protocol: 1,
        connection: connection.id,
        node,
        user: HelloUser {
            id: principal.user_id,
            name: principal.name,
            kind: principal.kind,
            tier: principal.tier,
        },
        heartbeat_ms: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
        token_expires_at,
        server_time: Utc::now(),
        limits: HelloLimits {
            frame_bytes: limits::FRAME_BYTES_MAX,
            body_bytes: limits::BODY_BYTES_MAX,
            subscriptions: limits::SUBSCRIPTIONS_MAX,
            window: limits::WINDOW,
        },
    }
}

/// What is left of a quota, when that is less than a fifth.
pub(super) fn budget(decision: QuotaDecision) -> Option<Budget> {
    let QuotaDecision { limit, remaining, .. } = decision;
    (u64::from(remaining) * 5 < u64::from(limit)).then_some(Budget {
        limit,
        remaining,
        reset_ms: decision.reset_ms,
    })
}

/// Replies to a `send`: its message is durable, or why it is not.
pub(super) fn acknowledge(
    reply: Reply,
    conversation: ConversationId,
    id: MessageId,
    budget: Option<Budget>,
) -> Completion {
    Completion::new(move |result| match result {
        Ok(receipt) => {
            let ack = Ack {
                reference: reply.reference(),
                conversation,
                id,
                seq: receipt.seq.unwrap_or_default(),
                rev: receipt.rev,
                created_at: receipt.created_at.unwrap_or_default(),
                duplicate: receipt.duplicate,
                budget,
            };
            reply.give(&ack);
        }
        Err(error) => reply.error(error.code(), error.message()),
    })
}

/// Replies to any other change: it is durable, or why it is not.
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
    fn a_budget_below_a_fifth_is_sent() {
        let with = |remaining| QuotaDecision {
            limit: 100,
            remaining,
            reset_ms: 7,
            retry_after_ms: None,
        };
        assert_eq!(budget(with(20)), None);
        let little = budget(with(19)).unwrap();
        assert_eq!((little.limit, little.remaining, little.reset_ms), (100, 19, 7));
    }
}
