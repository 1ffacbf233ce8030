//! What REST reads of conversations: the caller's list, one of them, its history and members.
//!
//! Reads go to PostgreSQL and not to the actors: a page of a list would have to start every conversation on it. Each is
//! one statement, so one snapshot: the `rev` beside a page of history is the one the page was read at, and a socket can
//! resume from it. Membership is part of every statement; who is not a member gets `not_found`. Bounds: the caller's
//! limit, at most a hundred and one rows.

use super::error::Error;
use super::handle::ConversationsHandle;
use crate::auth::Access;
use crate::commit::{member_from_row, message_columns, message_from_row};
use crate::database::{Client, Statement};
use crate::error::Code;
use crate::ids::{ConversationId, MemberRole, MessageId, Rev, Seq, UserId};
use crate::wire::frames::{MemberUser, Message, Timestamp, optional_timestamp, timestamp};
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
}

impl Summary {
    /// What the list is ordered by, newest first.
    #[must_use]
    pub fn active_at(&self) -> Timestamp {
        self.last_message_at.unwrap_or(self.created_at)
    }
}

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
    /// Whether there are more in the direction of the range.
    pub more: bool,
}

const NOT_FOUND: Error = Error::Refused(Code::NotFound, Code::NotFound.text());

/// The statement of lists and of single conversations: `$4`, `$5` where the page begins, `$6` only this one.
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
    }
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
    /// The caller's conversations, newest activity first, after `from` (the last one of the page before). One more than
    /// `limit` if there are more. Guests have one.
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
        self.summaries_on(&client, access, limit + 1, from.unzip(), None).await
    }

    /// One conversation of the caller.
    ///
    /// # Errors
    /// `not_found` unless the caller is a member; [`Error::Database`].
    pub async fn summary(&self, access: Access, id: ConversationId) -> Result<Summary, Error> {
        let client = self.context.database.client().await?;
        let mut found = self.summaries_on(&client, access, 1, (None, None), Some(id)).await?;
        found.pop().ok_or(NOT_FOUND)
    }

    pub(super) async fn summaries_on(
        &self,
        client: &Client,
        access: Access,
        limit: i64,
        (active_at, id): (Option<Timestamp>, Option<ConversationId>),
        only: Option<ConversationId>,
    ) -> Result<Vec<Summary>, Error> {
        let (id, only) = (id.map(|id| id.0), only.map(|id| id.0));
        let rows = client
            .query(
                &LIST,
                &[&access.tenant_id.0, &access.user_id.0, &limit, &active_at, &id, &only],
            )
            .await?;
        let latest = |id| self.context.commits.latest_read(id, access.user_id);
        // A guest who is a member of more than the one conversation (made so by hand) is still confined to it.
        Ok(rows
            .iter()
            .map(|row| summary_of(row, access.user_id, latest))
            .filter(|summary| access.allows(summary.id))
            .collect())
    }

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
        row.as_ref().map(message_from_row).ok_or(NOT_FOUND)
    }

    /// The members in the order of their ids, after `from`. One more than `limit` if there are more.
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
