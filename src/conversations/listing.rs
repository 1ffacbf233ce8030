//! What REST reads of conversations: the caller's list, and one of them.
//!
//! Reads go to PostgreSQL and not to the actors: a page of a list would have to start every
//! conversation on it. Membership is part of the statement; who is not a member gets `not_found`.
//! Bounds: the caller's limit, at most a hundred and one rows.

use super::error::Error;
use super::handle::ConversationsHandle;
use super::permissions::actions_of;
use crate::auth::Access;
use crate::commit::{message_columns, message_from_row};
use crate::database::{Client, Statement};
use crate::error::Code;
use crate::ids::{ConversationId, MemberAction, MemberRole, Rev, Seq, UserId};
use crate::wire::frames::{Message, Timestamp, optional_timestamp, timestamp};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

/// A conversation as its member sees it in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Summary {
    /// The conversation.
    pub id: ConversationId,
    /// Its title.
    pub title: String,
    /// The caller's role in it.
    pub role: MemberRole,
    /// The number of its latest message.
    pub last_seq: Seq,
    /// Its revision.
    pub rev: Rev,
    /// How far the caller has read.
    pub read_seq: Seq,
    /// How many messages the caller has not read.
    pub unread: i64,
    /// The latest message, if there is one.
    pub last_message: Option<Message>,
    /// When it was posted.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub last_message_at: Option<Timestamp>,
    /// How many members there are.
    pub member_count: i32,
    /// When the conversation was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// What the caller may do besides reading, posting, reacting and leaving; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub may: Option<Vec<MemberAction>>,
}

impl Summary {
    /// What the list is ordered by, newest first.
    #[must_use]
    pub fn active_at(&self) -> Timestamp {
        self.last_message_at.unwrap_or(self.created_at)
    }
}

/// Which summaries to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SummaryPage {
    pub(super) limit: i64,
    /// The last one of the page before.
    pub(super) from: Option<(Timestamp, ConversationId)>,
    /// Restricts the list to one conversation, if set.
    pub(super) only: Option<ConversationId>,
}

const NOT_FOUND: Error = Error::Refused(Code::NotFound, Code::NotFound.text());

/// The statement of lists and of single conversations: `$4`, `$5` where the page begins, `$6` only
/// this one.
macro_rules! summaries {
    () => {
        concat!(
            "WITH page AS (
                 SELECT c.id, c.title, c.last_seq, c.rev, c.member_count, c.last_message_at, c.created_at, p.role,
                        p.read_seq, coalesce(c.last_message_at, c.created_at) AS active_at
                 FROM conversation_members p JOIN conversations c ON c.id = p.conversation_id
                 WHERE p.user_id = $2 AND p.removed_at IS NULL AND c.tenant_id = $1 AND c.deleted_at IS NULL
                   AND ($4::timestamptz IS NULL
                        OR (coalesce(c.last_message_at, c.created_at), c.id) < ($4, $5::uuid))
                   AND ($6::uuid IS NULL OR c.id = $6)
                 ORDER BY active_at DESC, c.id DESC LIMIT $3)
             SELECT page.id AS page_id, page.title AS page_title, page.role AS page_role,
                    page.last_seq AS page_last_seq, page.rev AS page_rev, page.read_seq AS page_read_seq,
                    page.member_count AS page_member_count, page.last_message_at AS page_last_message_at,
                    page.created_at AS page_created_at, ",
            message_columns!(),
            " FROM page LEFT JOIN messages m ON m.conversation_id = page.id AND m.seq = page.last_seq
              ORDER BY page.active_at DESC, page.id DESC"
        )
    };
}

const LIST: Statement = Statement::new("conversations.list", summaries!());

/// `latest` is how far the caller has read where the row may not know it yet.
fn summary_of(row: &Row, access: UserId, latest: impl Fn(ConversationId) -> Option<Seq>) -> Summary {
    let has_message = row.get::<_, Option<i64>>("seq").is_some();
    let id = ConversationId(row.get("page_id"));
    let last_seq: i64 = row.get("page_last_seq");
    let last_message = has_message.then(|| message_from_row(row));
    let read_seq = if last_message.as_ref().is_some_and(|message| message.author == access) {
        // Sending moves the marker; that may be a moment behind the message.
        last_seq
    } else {
        latest(id)
            .map_or(0, |seq| seq.0.min(last_seq))
            .max(row.get("page_read_seq"))
    };
    Summary {
        id,
        title: row.get("page_title"),
        role: MemberRole::parse(row.get("page_role")).unwrap_or(MemberRole::Member),
        last_seq: Seq(last_seq),
        rev: Rev(row.get("page_rev")),
        read_seq: Seq(read_seq),
        unread: (last_seq - read_seq).max(0),
        last_message,
        last_message_at: row.get("page_last_message_at"),
        member_count: row.get("page_member_count"),
        created_at: row.get("page_created_at"),
        may: None,
    }
}

impl ConversationsHandle {
    /// The caller's conversations, newest activity first, after `from` (the last one of the page
    /// before). One more than `limit` if there are more. Guests have one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(
        &self,
        access: Access,
        limit: i64,
        from: Option<(Timestamp, ConversationId)>,
    ) -> Result<Vec<Summary>, Error> {
        let client = self.context.database.client().await?;
        let page = SummaryPage {
            limit: limit + 1,
            from,
            only: None,
        };
        self.summaries_on(&client, access, page).await
    }

    /// One conversation of the caller.
    ///
    /// # Errors
    /// `not_found` unless the caller is a member; [`Error::Database`].
    pub async fn summary(&self, access: Access, id: ConversationId) -> Result<Summary, Error> {
        let client = self.context.database.client().await?;
        let page = SummaryPage {
            limit: 1,
            from: None,
            only: Some(id),
        };
        let mut found = self.summaries_on(&client, access, page).await?;
        let summary = found.pop().ok_or(NOT_FOUND)?;
        let may = Some(actions_of(summary.role));
        Ok(Summary { may, ..summary })
    }

    pub(super) async fn summaries_on(
        &self,
        client: &Client,
        access: Access,
        page: SummaryPage,
    ) -> Result<Vec<Summary>, Error> {
        let (active_at, id) = page.from.map(|(at, id)| (at, id.0)).unzip();
        let (limit, only) = (page.limit, page.only.map(|id| id.0));
        let rows = client
            .query(
                &LIST,
                &[&access.tenant_id.0, &access.user_id.0, &limit, &active_at, &id, &only],
            )
            .await?;
        let latest = |id| self.context.commits.latest_read(id, access.user_id);
        // A guest who is a member of more than the one conversation (made so by hand) is still
        // confined to it.
        Ok(rows
            .iter()
            .map(|row| summary_of(row, access.user_id, latest))
            .filter(|summary| access.allows(summary.id))
            .collect())
    }
}
