//! From rows of the database to what goes over the wire: messages and memberships.
//!
//! Used by all that read them: this folder, `conversations/` and `search/`.

use crate::ids::{ConversationId, MemberRole, MessageId, Rev, Seq, UserId, UserKind};
use crate::wire::frames::{MemberChange, MemberChanged, MemberUser, Message, Reaction, Timestamp};
use bytestring::ByteString;
use tokio_postgres::Row;
use uuid::Uuid;

/// The columns of [`message_from_row`], for a `messages` table named `m`; a macro, so that
/// `concat!` takes it.
macro_rules! message_columns {
    () => {
        "m.conversation_id, m.seq, m.id, m.author_id, m.kind, m.body, m.reply_to, m.posted_rev, m.rev, m.created_at,
         m.edited_at, m.deleted_at,
         (SELECT json_agg(json_build_object('emoji', r.emoji, 'count', r.count, 'users', r.users)
                          ORDER BY r.first, r.emoji)
          FROM (SELECT emoji, count(*) AS count, min(created_at) AS first,
                       (array_agg(user_id ORDER BY created_at, user_id))[1:20] AS users
                FROM reactions WHERE conversation_id = m.conversation_id AND seq = m.seq GROUP BY emoji) r) AS reactions"
    };
}
pub(crate) use message_columns;

/// A message as it stands now.
#[must_use]
pub fn message_from_row(row: &Row) -> Message {
    let reactions: Option<tokio_postgres::types::Json<Vec<Reaction>>> = row.get("reactions");
    Message {
        conversation: ConversationId(row.get("conversation_id")),
        rev: Rev(row.get("rev")),
        seq: Seq(row.get("seq")),
        id: MessageId(row.get("id")),
        author: UserId(row.get("author_id")),
        kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
        body: row.get::<_, Option<String>>("body").map(ByteString::from),
        reply_to: row.get::<_, Option<Uuid>>("reply_to").map(MessageId),
        created_at: row.get("created_at"),
        edited_at: row.get("edited_at"),
        deleted_at: row.get("deleted_at"),
        reactions: reactions.map(|json| json.0).unwrap_or_default(),
        mine: None,
        cause: None,
        posted_rev: Rev(row.get("posted_rev")),
    }
}

/// A membership as it stands now; a removed one as `removed`. Columns: `conversation_id`,
/// `user_id`, `name`, `kind`, `role`, `rev`, `joined_rev`, `removed_at`.
#[must_use]
pub fn member_from_row(row: &Row) -> MemberChanged {
    let removed: Option<Timestamp> = row.get("removed_at");
    let (rev, joined_rev) = (Rev(row.get("rev")), Rev(row.get("joined_rev")));
    let change = match removed {
        Some(_) => MemberChange::Removed,
        None if rev == joined_rev => MemberChange::Added,
        None => MemberChange::Changed,
    };
    MemberChanged {
        conversation: ConversationId(row.get("conversation_id")),
        rev,
        user: MemberUser {
            id: UserId(row.get("user_id")),
            name: row.get::<_, String>("name").into(),
            kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
            role: MemberRole::parse(row.get("role")).unwrap_or(MemberRole::Member),
        },
        change,
        joined_rev,
    }
}
