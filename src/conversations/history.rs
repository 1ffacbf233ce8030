//! What REST reads inside a conversation: pages of its history, a message, its members.
//!
//! Reads go to PostgreSQL and not to the actor. Each is one statement, so one snapshot: the `rev`
//! beside a page of history is the one that the page was read at, and a socket can resume from it.
//! Membership is part of every statement; who is not a member gets `not_found`. Bounds: the
//! caller's limit, at most a hundred and one rows, and [`PAGE_BYTES_MAX`]: a hundred messages of
//! control characters would have ten megabytes.

use super::error::Error;
use super::handle::ConversationsHandle;
use crate::auth::Access;
use crate::commit::{mark_own, member_from_row, message_columns, message_from_row};
use crate::database::Statement;
use crate::error::Code;
use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId};
use crate::wire::frames::{MemberUser, Message};
use std::ops::Range;
use tokio_postgres::Row;

/// Bytes of the JSON of a page of history. One message at least is on it.
pub const PAGE_BYTES_MAX: usize = 1_024 * 1_024;

const NOT_FOUND: Error = Error::Refused(Code::NotFound, Code::NotFound.text());

/// Which part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    /// The messages just before this one, without it.
    Before(Seq),
    /// The messages just after this one, without it.
    After(Seq),
    /// This message and those on both sides.
    Around(Seq),
}

/// A page of the history.
#[derive(Clone, Debug)]
pub struct History {
    /// The messages, ascending.
    pub items: Vec<Message>,
    /// The revision of the conversation that the page shows.
    pub rev: Rev,
    /// Whether there are more in the direction of the range; around a message, in any.
    pub more: bool,
}

/// The conversation of `$2` with its revision, if the caller `$3` is a member; no row otherwise.
macro_rules! place {
    () => {
        "WITH place AS (
             SELECT c.id, c.rev FROM conversations c JOIN conversation_members p ON p.conversation_id = c.id
             WHERE c.tenant_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND p.user_id = $3 AND p.removed_at IS NULL)
         "
    };
}

/// A page of history; `$part` selects it from `messages`.
macro_rules! history {
    ($part:literal) => {
        concat!(
            place!(),
            "SELECT place.rev AS place_rev, ",
            message_columns!(),
            " FROM place LEFT JOIN LATERAL (",
            $part,
            ") m ON true ORDER BY m.seq"
        )
    };
}

const BEFORE: Statement = Statement::new(
    "messages.list_before",
    history!("SELECT * FROM messages x WHERE x.conversation_id = place.id AND x.seq < $4 ORDER BY x.seq DESC LIMIT $5"),
);
const AFTER: Statement = Statement::new(
    "messages.list_after",
    history!("SELECT * FROM messages x WHERE x.conversation_id = place.id AND x.seq > $4 ORDER BY x.seq LIMIT $5"),
);
const AROUND: Statement = Statement::new(
    "messages.list_around",
    history!(
        "(SELECT * FROM messages x WHERE x.conversation_id = place.id AND x.seq >= $4 ORDER BY x.seq LIMIT $5)
         UNION ALL
         (SELECT * FROM messages x WHERE x.conversation_id = place.id AND x.seq < $4 ORDER BY x.seq DESC LIMIT $6)"
    ),
);

impl ConversationsHandle {
    /// A page of the history.
    ///
    /// # Errors
    /// `not_found` unless the caller is a member; [`Error::Database`].
    pub async fn history(
        &self,
        access: Access,
        id: ConversationId,
        range: HistoryRange,
        limit: i64,
    ) -> Result<History, Error> {
        if !access.allows(id) {
            return Err(NOT_FOUND);
        }
        let (tenant, user) = (access.tenant_id.0, access.user_id.0);
        let client = self.context.database.client().await?;
        let more = limit + 1;
        let rows = match range {
            HistoryRange::Before(seq) => client.query(&BEFORE, &[&tenant, &id.0, &user, &seq.0, &more]).await?,
            HistoryRange::After(seq) => client.query(&AFTER, &[&tenant, &id.0, &user, &seq.0, &more]).await?,
            HistoryRange::Around(seq) => {
                let older = (limit - 1) / 2;
                client
                    .query(&AROUND, &[&tenant, &id.0, &user, &seq.0, &(limit - older), &older])
                    .await?
            }
        };
        let rev = Rev(rows.first().ok_or(NOT_FOUND)?.get("place_rev"));
        let has_message = |row: &&Row| row.get::<_, Option<i64>>("seq").is_some();
        let mut items: Vec<Message> = rows.iter().filter(has_message).map(message_from_row).collect();
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > size;
        if more && matches!(range, HistoryRange::Before(_)) {
            items.remove(0);
        }
        items.truncate(size);
        let fitting = fitting(&items, range);
        let more = more || fitting.len() < items.len();
        items.truncate(fitting.end);
        items.drain(..fitting.start);
        mark_own(&client, access.user_id, items.iter_mut()).await?;
        Ok(History { items, rev, more })
    }

    /// One message as it stands now.
    ///
    /// # Errors
    /// `not_found` unless it is there and the caller is a member; [`Error::Database`].
    pub async fn message(&self, access: Access, id: ConversationId, message: MessageId) -> Result<Message, Error> {
        const FIND: Statement = Statement::new(
            "messages.find_for_member",
            concat!(
                place!(),
                "SELECT ",
                message_columns!(),
                " FROM place JOIN messages m ON m.conversation_id = place.id AND m.tenant_id = $1 AND m.id = $4"
            ),
        );
        if !access.allows(id) {
            return Err(NOT_FOUND);
        }
        let client = self.context.database.client().await?;
        let row = client
            .query_opt(&FIND, &[&access.tenant_id.0, &id.0, &access.user_id.0, &message.0])
            .await?;
        let mut message = row.as_ref().map(message_from_row).ok_or(NOT_FOUND)?;
        mark_own(&client, access.user_id, std::iter::once(&mut message)).await?;
        Ok(message)
    }

    /// The members in the order of their ids, after `from`. One more than `limit` if there are
    /// more.
    ///
    /// # Errors
    /// `not_found` unless the caller is a member; [`Error::Database`].
    pub async fn members(
        &self,
        access: Access,
        id: ConversationId,
        limit: i64,
        from: Option<UserId>,
    ) -> Result<Vec<MemberUser>, Error> {
        const LIST: Statement = Statement::new(
            "conversation_members.list",
            concat!(
                place!(),
                "SELECT p.conversation_id, p.user_id, u.name, u.kind, p.role, p.rev, p.joined_rev, p.removed_at
                 FROM place JOIN conversation_members p ON p.conversation_id = place.id JOIN users u ON u.id = p.user_id
                 WHERE p.removed_at IS NULL AND ($4::uuid IS NULL OR p.user_id > $4)
                 ORDER BY p.user_id LIMIT $5"
            ),
        );
        if !access.allows(id) {
            return Err(NOT_FOUND);
        }
        let client = self.context.database.client().await?;
        let from = from.map(|id| id.0);
        let rows = client
            .query(
                &LIST,
                &[&access.tenant_id.0, &id.0, &access.user_id.0, &from, &(limit + 1)],
            )
            .await?;
        if rows.is_empty() {
            // The page after the last one, or no member: the summary knows.
            self.summary(access, id).await?;
        }
        Ok(rows.iter().map(|row| member_from_row(row).user).collect())
    }

    /// One member.
    ///
    /// # Errors
    /// `not_found` unless both are members; [`Error::Database`].
    pub async fn member(&self, access: Access, id: ConversationId, user: UserId) -> Result<MemberUser, Error> {
        const FIND: Statement = Statement::new(
            "conversation_members.find_for_member",
            concat!(
                place!(),
                "SELECT p.conversation_id, p.user_id, u.name, u.kind, p.role, p.rev, p.joined_rev, p.removed_at
                 FROM place JOIN conversation_members p ON p.conversation_id = place.id JOIN users u ON u.id = p.user_id
                 WHERE p.removed_at IS NULL AND p.user_id = $4"
            ),
        );
        if !access.allows(id) {
            return Err(NOT_FOUND);
        }
        let client = self.context.database.client().await?;
        let row = client
            .query_opt(&FIND, &[&access.tenant_id.0, &id.0, &access.user_id.0, &user.0])
            .await?;
        row.map(|row| member_from_row(&row).user).ok_or(NOT_FOUND)
    }
}

/// Which of these messages are a page: as many as fit, those first that are nearest to where the
/// range begins.
fn fitting(items: &[Message], range: HistoryRange) -> Range<usize> {
    let first = match range {
        HistoryRange::Before(_) => items.len().saturating_sub(1),
        HistoryRange::After(_) => 0,
        HistoryRange::Around(seq) => {
            let at = items.partition_point(|message| message.seq < seq);
            at.min(items.len().saturating_sub(1))
        }
    };
    let mut fitting = first..first;
    let mut bytes = 0;
    // By turns to both sides, until one of them does not fit or both are at their end.
    loop {
        let ahead = items.get(fitting.end);
        let behind = fitting.start.checked_sub(1).and_then(|at| items.get(at));
        let is_ahead = match (ahead, behind) {
            (None, None) => return fitting,
            (Some(_), Some(_)) => fitting.end - first <= first - fitting.start,
            (ahead, _) => ahead.is_some(),
        };
        bytes += if is_ahead { ahead } else { behind }.map_or(0, Message::encoded_bytes);
        if bytes > PAGE_BYTES_MAX && !fitting.is_empty() {
            return fitting;
        }
        if is_ahead {
            fitting.end += 1;
        } else {
            fitting.start -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserKind;
    use chrono::DateTime;

    /// With numbers from 1 on, and bodies of so many bytes.
    fn messages(bodies: &[usize]) -> Vec<Message> {
        let message = |(n, bytes): (usize, &usize)| Message {
            conversation: ConversationId::new(),
            rev: Rev(1),
            seq: Seq(n as i64 + 1),
            id: MessageId::new(),
            author: UserId::new(),
            kind: UserKind::Person,
            body: Some("x".repeat(*bytes).into()),
            reply_to: None,
            created_at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            mine: None,
            cause: None,
            posted_rev: Rev(1),
        };
        bodies.iter().enumerate().map(message).collect()
    }

    #[test]
    fn a_page_is_what_fits_from_where_its_range_begins() {
        const THIRD: usize = PAGE_BYTES_MAX / 3 - 1_000;
        let before = HistoryRange::Before(Seq(9));
        let after = HistoryRange::After(Seq(0));
        let around = |seq| HistoryRange::Around(Seq(seq));
        let small = messages(&[10; 5]);
        for range in [before, after, around(1), around(3), around(5), around(9)] {
            assert_eq!(fitting(&small, range), 0..5);
            assert_eq!(fitting(&[], range), 0..0);
            assert_eq!(fitting(&messages(&[2 * PAGE_BYTES_MAX]), range), 0..1, "one at least");
        }
        let large = messages(&[THIRD; 7]);
        assert_eq!(fitting(&large, before), 4..7);
        assert_eq!(fitting(&large, after), 0..3);
        assert_eq!(fitting(&large, around(4)), 2..5);
        assert_eq!(fitting(&large, around(1)), 0..3);
        assert_eq!(fitting(&large, around(7)), 4..7);
        let uneven = messages(&[10, THIRD, 10, 10, PAGE_BYTES_MAX, 10]);
        assert_eq!(fitting(&uneven, before), 5..6);
        assert_eq!(fitting(&uneven, after), 0..4);
        assert!(fitting(&uneven, around(3)).contains(&2));
    }
}
