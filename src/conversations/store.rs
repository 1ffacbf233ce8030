//! The SQL by which a conversation starts, catches up and replays. Only reads; what changes goes
//! through `commit`.

use super::change_log::RECENT_BYTES_MAX;
use super::member::Member;
use super::state::LoadedConversation;
use crate::commit::{member_from_row, message_columns, message_from_row};
use crate::database::{Client, Database, Error, Statement, Transaction};
use crate::ids::{ConversationId, MemberRole, Rev, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::{ConversationChanged, Message};
use crate::wire::{Change, limits};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// People that one user adds to conversations in a day.
pub const ADDITIONS_PER_DAY: i32 = 1_000;
/// Conversations that one user has made, and that are there.
pub const USER_CONVERSATIONS_MAX: i64 = 10_000;
/// Rows of each kind in one page of a replay.
pub(super) const PAGE_ROWS: i64 = 200;
/// Bytes of bodies in one page of a replay, unless its first message alone is longer.
const PAGE_BYTES: i64 = 192 * 1024;

/// Everything a conversation's actor starts with; `None` when there is no such conversation. A
/// deleted one is found, so that its readers are told.
pub(super) async fn load(database: &Database, id: ConversationId) -> Result<Option<LoadedConversation>, Error> {
    const CONVERSATION: Statement = Statement::new(
        "conversations.load",
        "SELECT tenant_id, title, rev, last_seq, deleted_at FROM conversations WHERE id = $1",
    );
    const MEMBERS: Statement = Statement::new(
        "conversation_members.load",
        "SELECT m.user_id, m.role, m.read_seq, u.name, u.kind
         FROM conversation_members m JOIN users u ON u.id = m.user_id
         WHERE m.conversation_id = $1 AND m.removed_at IS NULL",
    );
    const RECENT: Statement = Statement::new(
        "messages.load_recent",
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM (SELECT *, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY seq DESC) AS bytes,
                           row_number() OVER (ORDER BY seq DESC) AS n
                    FROM (SELECT * FROM messages WHERE conversation_id = $1 ORDER BY seq DESC LIMIT $2) newest) m
              WHERE m.n = 1 OR m.bytes <= $3 ORDER BY m.seq DESC"
        ),
    );
    let mut client = database.client().await?;
    // One snapshot for the three reads: what is committed in between must not be half seen.
    let tx = client.read_snapshot().await?;
    let Some(row) = tx.query_opt(&CONVERSATION, &[&id.0]).await? else {
        return Ok(None);
    };
    let member_rows = tx.query(&MEMBERS, &[&id.0]).await?;
    let limit = i64::try_from(limits::SUBSCRIBE_MESSAGES).unwrap_or(i64::MAX);
    let bytes = i64::try_from(RECENT_BYTES_MAX).unwrap_or(i64::MAX);
    let message_rows = tx.query(&RECENT, &[&id.0, &limit, &bytes]).await?;
    tx.commit().await?;
    let members: HashMap<_, _> = member_rows.iter().map(member_of).collect();
    let mut recent: Vec<Message> = message_rows.iter().map(message_from_row).collect();
    recent.reverse();
    Ok(Some(LoadedConversation {
        id,
        tenant_id: TenantId(row.get("tenant_id")),
        title: row.get::<_, String>("title").into(),
        rev: Rev(row.get("rev")),
        last_seq: Seq(row.get("last_seq")),
        deleted_at: row.get("deleted_at"),
        members,
        recent,
    }))
}

fn member_of(row: &tokio_postgres::Row) -> (UserId, Member) {
    let member = Member {
        name: row.get::<_, String>("name").into(),
        kind: UserKind::parse(row.get("kind")).unwrap_or(UserKind::Person),
        role: MemberRole::parse(row.get("role")).unwrap_or(MemberRole::Member),
        read_seq: Seq(row.get("read_seq")),
        online: false,
    };
    (UserId(row.get("user_id")), member)
}

/// Makes a conversation with its first members; each takes a revision, the owner the first.
pub(super) async fn insert(
    database: &Database,
    tenant_id: TenantId,
    owner: UserId,
    title: &str,
    members: &[UserId],
) -> Result<Result<ConversationId, NotMade>, Error> {
    const CONVERSATION: Statement = Statement::new(
        "conversations.insert",
        "INSERT INTO conversations (tenant_id, id, user_id, title, rev, member_count) VALUES ($1, $2, $3, $4, $5, $6)",
    );
    // Those who make conversations as one user wait here for each other, so that the count holds.
    const LOCK: Statement = Statement::new(
        "conversations.lock_count",
        "SELECT pg_advisory_xact_lock(hashtextextended('conversations of ' || $1::uuid::text, 0))",
    );
    const COUNT: Statement = Statement::new(
        "conversations.count_of_user",
        "SELECT count(*) AS n FROM (SELECT FROM conversations
                                    WHERE tenant_id = $1 AND user_id = $2 AND deleted_at IS NULL LIMIT $3) made",
    );
    const MEMBERS: Statement = Statement::new(
        "conversation_members.insert_first",
        "INSERT INTO conversation_members (tenant_id, conversation_id, user_id, role, joined_rev, rev)
         SELECT $1, $2, i.user_id, CASE WHEN i.n = 1 THEN 'owner' ELSE 'member' END, i.n, i.n
         FROM unnest($3::uuid[]) WITH ORDINALITY AS i (user_id, n)
         JOIN users u ON u.id = i.user_id AND u.tenant_id = $1 AND u.status = 'active' AND u.role <> 'guest'
         WHERE NOT EXISTS (SELECT FROM user_blocks b
                           WHERE b.tenant_id = $1 AND b.user_id = i.user_id AND b.blocked_id = ($3::uuid[])[1])
         RETURNING user_id",
    );
    let id = ConversationId::new();
    let users: Vec<Uuid> = std::iter::once(owner)
        .chain(members.iter().copied())
        .map(|user| user.0)
        .collect();
    let count = i32::try_from(users.len()).unwrap_or(i32::MAX);
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    tx.query(&LOCK, &[&owner.0]).await?;
    let made = tx
        .query_one(&COUNT, &[&tenant_id.0, &owner.0, &USER_CONVERSATIONS_MAX])
        .await?;
    if made.get::<_, i64>("n") >= USER_CONVERSATIONS_MAX {
        tx.rollback().await?;
        return Ok(Err(NotMade::TooMany));
    }
    let rev = i64::from(count);
    tx.execute(&CONVERSATION, &[&tenant_id.0, &id.0, &owner.0, &title, &rev, &count])
        .await?;
    if charge_additions(&tx, tenant_id, owner, None, members).await? == Additions::Beyond {
        tx.rollback().await?;
        return Ok(Err(NotMade::TooManyAdded));
    }
    let inserted = tx.query(&MEMBERS, &[&tenant_id.0, &id.0, &users]).await?;
    if inserted.len() != users.len() {
        tx.rollback().await?;
        let has_owner = inserted.iter().any(|row| row.get::<_, Uuid>("user_id") == owner.0);
        return Ok(Err(match has_owner {
            true => NotMade::UnknownMember,
            false => NotMade::OwnerMayNot,
        }));
    }
    tx.commit().await?;
    Ok(Ok(id))
}

/// Why a conversation was not made.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotMade {
    /// One of the first members is not an active user of the tenant who may be added, or does not
    /// want to be by the one who makes it.
    UnknownMember,
    /// The one who makes it is not one of those any more.
    OwnerMayNot,
    /// The one who makes it has made as many as one user can.
    TooMany,
    /// The one who makes it has added as many people today as one user can.
    TooManyAdded,
}

/// Whether additions were within the bound of the day, and are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Additions {
    Within,
    Beyond,
}

/// Counts those of the users who are not in the conversation yet, if the one who adds them may; all,
/// for one that is being made.
pub(super) async fn charge_additions(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    by: UserId,
    conversation: Option<ConversationId>,
    users: &[UserId],
) -> Result<Additions, Error> {
    const CHARGE: Statement = Statement::new(
        "member_additions.charge",
        "WITH newcomers AS (
             SELECT count(*)::integer AS n FROM unnest($3::uuid[]) AS i (user_id)
             JOIN users u ON u.tenant_id = $1 AND u.id = i.user_id AND u.status = 'active' AND u.role <> 'guest'
             WHERE NOT EXISTS (SELECT FROM conversation_members m WHERE m.tenant_id = $1 AND m.conversation_id = $4
                                 AND m.user_id = i.user_id AND m.removed_at IS NULL)
               AND ($4 IS NULL OR EXISTS (SELECT FROM inviters a WHERE a.tenant_id = $1 AND a.conversation_id = $4
                                            AND a.user_id = $2))),
         charged AS (
             INSERT INTO member_additions AS a (tenant_id, user_id, day, n)
             SELECT $1, $2, (now() AT TIME ZONE 'UTC')::date, n FROM newcomers WHERE n > 0
             ON CONFLICT (user_id) DO UPDATE
             SET n = excluded.n + CASE WHEN a.day = excluded.day THEN a.n ELSE 0 END, day = excluded.day
             WHERE excluded.n + CASE WHEN a.day = excluded.day THEN a.n ELSE 0 END <= $5
             RETURNING a.n)
         SELECT (SELECT n FROM newcomers) = 0 OR EXISTS (SELECT FROM charged) AS is_within",
    );
    if users.is_empty() {
        return Ok(Additions::Within);
    }
    let users: Vec<Uuid> = users.iter().map(|user| user.0).collect();
    let conversation = conversation.map(|id| id.0);
    let row = tx
        .query_one(
            &CHARGE,
            &[&tenant_id.0, &by.0, &users, &conversation, &ADDITIONS_PER_DAY],
        )
        .await?;
    Ok(match row.get("is_within") {
        true => Additions::Within,
        false => Additions::Beyond,
    })
}

/// The present revision of a conversation.
pub(super) async fn load_rev(database: &Database, id: ConversationId) -> Result<Rev, Error> {
    const SQL: Statement = Statement::new("conversations.load_rev", "SELECT rev FROM conversations WHERE id = $1");
    Ok(Rev(database
        .client()
        .await?
        .query_one(&SQL, &[&id.0])
        .await?
        .get("rev")))
}

/// Of many conversations with the revision that is known of each, those that have gone further, and
/// how far.
pub(super) async fn list_newer(
    database: &Database,
    known: &[(ConversationId, Rev)],
) -> Result<Vec<(ConversationId, Rev)>, Error> {
    // By the primary key, row for row: the planner takes an array for ten rows, however many it
    // has.
    const SQL: Statement = Statement::new(
        "conversations.list_newer",
        "SELECT c.id, c.rev FROM unnest($1::uuid[], $2::bigint[]) AS known (id, rev)
         JOIN conversations c ON c.id = known.id WHERE c.rev > known.rev",
    );
    let (ids, revs): (Vec<Uuid>, Vec<i64>) = known.iter().map(|(id, rev)| (id.0, rev.0)).unzip();
    let rows = database.client().await?.query(&SQL, &[&ids, &revs]).await?;
    Ok(rows
        .iter()
        .map(|row| (ConversationId(row.get("id")), Rev(row.get("rev"))))
        .collect())
}

/// The conversations a user is a member of, in no order; `limit` of them at most.
pub(super) async fn list_memberships(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    limit: i64,
) -> Result<Vec<ConversationId>, Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.list_of_user",
        "SELECT conversation_id FROM conversation_members
         WHERE tenant_id = $1 AND user_id = $2 AND removed_at IS NULL LIMIT $3",
    );
    let rows = client.query(&SQL, &[&tenant_id.0, &user_id.0, &limit]).await?;
    Ok(rows
        .iter()
        .map(|row| ConversationId(row.get("conversation_id")))
        .collect())
}

/// A conversation that a user is a member of.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) id: ConversationId,
    pub(super) title: String,
    pub(super) last_seq: Seq,
}

/// Of these conversations those that a user is a member of, in no order.
pub(super) async fn list_memberships_among(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    ids: &[ConversationId],
) -> Result<Vec<Membership>, Error> {
    const SQL: Statement = Statement::new(
        "conversation_members.list_among",
        "SELECT c.id, c.title, c.last_seq FROM unnest($3::uuid[]) AS i (id)
         JOIN conversation_members m ON m.conversation_id = i.id AND m.user_id = $2
         JOIN conversations c ON c.id = i.id
         WHERE m.tenant_id = $1 AND c.tenant_id = $1 AND m.removed_at IS NULL AND c.deleted_at IS NULL",
    );
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = client.query(&SQL, &[&tenant_id.0, &user_id.0, &ids]).await?;
    let membership = |row: &tokio_postgres::Row| Membership {
        id: ConversationId(row.get("id")),
        title: row.get("title"),
        last_seq: Seq(row.get("last_seq")),
    };
    Ok(rows.iter().map(membership).collect())
}

/// Notes that a user is not to be added to these conversations again; again is fine.
pub(super) async fn decline(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
    ids: &[ConversationId],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "declined_conversations.insert",
        "INSERT INTO declined_conversations (tenant_id, user_id, conversation_id)
         SELECT $1, $2, i.id FROM unnest($3::uuid[]) AS i (id) ON CONFLICT DO NOTHING",
    );
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    client.execute(&SQL, &[&tenant_id.0, &user_id.0, &ids]).await.map(drop)
}

/// The next page of the messages after a number up to another one, ascending.
pub(super) async fn load_messages(
    database: &Database,
    id: ConversationId,
    after: Seq,
    last: Seq,
) -> Result<Vec<Message>, Error> {
    const SQL: Statement = Statement::new(
        "messages.list_newest",
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM (SELECT *, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY seq) AS bytes,
                           row_number() OVER (ORDER BY seq) AS n
                    FROM (SELECT * FROM messages WHERE conversation_id = $1 AND seq > $2 AND seq <= $3
                          ORDER BY seq LIMIT $4) page) m
              WHERE m.n = 1 OR m.bytes <= $5 ORDER BY m.seq"
        ),
    );
    let client = database.client().await?;
    let rows = client
        .query(&SQL, &[&id.0, &after.0, &last.0, &PAGE_ROWS, &PAGE_BYTES])
        .await?;
    Ok(rows.iter().map(message_from_row).collect())
}

/// One page of what changed.
#[derive(Debug)]
pub(super) struct ChangesPage {
    /// The latest change of each thing, ascending by revision.
    pub(super) changes: Vec<Change>,
    /// Everything up to this revision is in this page or the ones before it.
    pub(super) through: Rev,
}

/// The next page of the net effect of the revisions after `after` up to `through`.
pub(super) async fn load_changes(
    database: &Database,
    id: ConversationId,
    after: Rev,
    through: Rev,
) -> Result<ChangesPage, Error> {
    const MESSAGES: Statement = Statement::new(
        "messages.list_changed",
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM (SELECT *, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY rev) AS bytes,
                           row_number() OVER (ORDER BY rev) AS n
                    FROM (SELECT * FROM messages WHERE conversation_id = $1 AND rev > $2 AND rev <= $3
                          ORDER BY rev LIMIT $4) page) m
              WHERE m.n = 1 OR m.bytes <= $5 ORDER BY m.rev"
        ),
    );
    const MEMBERS: Statement = Statement::new(
        "conversation_members.list_changed",
        "SELECT m.conversation_id, m.user_id, u.name, u.kind, m.role, m.rev, m.joined_rev, m.removed_at
         FROM conversation_members m JOIN users u ON u.id = m.user_id
         WHERE m.conversation_id = $1 AND m.rev > $2 AND m.rev <= $3 ORDER BY m.rev LIMIT $4",
    );
    const PROPERTIES: Statement = Statement::new(
        "conversations.find_changed",
        "SELECT title, properties_rev, deleted_at, rev FROM conversations WHERE id = $1",
    );
    let mut client = database.client().await?;
    let tx = client.read_snapshot().await?;
    let properties = tx.query_one(&PROPERTIES, &[&id.0]).await?;
    let through = through.min(Rev(properties.get("rev")));
    let messages = tx
        .query(&MESSAGES, &[&id.0, &after.0, &through.0, &PAGE_ROWS, &PAGE_BYTES])
        .await?;
    let members = tx.query(&MEMBERS, &[&id.0, &after.0, &through.0, &PAGE_ROWS]).await?;
    tx.commit().await?;

    let messages: Vec<_> = messages
        .iter()
        .map(|row| Change::Message(Arc::new(message_from_row(row))))
        .collect();
    let members: Vec<_> = members
        .iter()
        .map(|row| Change::Member(Arc::new(member_from_row(row))))
        .collect();
    // A list that may go on vouches only for what it has reached. Rows beyond the byte limit make
    // it so, too.
    let reach = |list: &[Change], full: bool| {
        if full {
            list.last().map_or(through, Change::rev)
        } else {
            through
        }
    };
    let messages_full = is_cut(&messages);
    let through = reach(&messages, messages_full).min(reach(&members, members.len() as i64 >= PAGE_ROWS));
    let mut changes: Vec<_> = messages
        .into_iter()
        .chain(members)
        .filter(|change| change.rev() <= through)
        .collect();
    let properties_rev = Rev(properties.get("properties_rev"));
    if properties_rev > after && properties_rev <= through {
        changes.push(Change::Properties(Arc::new(ConversationChanged {
            conversation: id,
            rev: properties_rev,
            title: properties.get::<_, String>("title").into(),
            deleted_at: properties.get("deleted_at"),
        })));
    }
    changes.sort_unstable_by_key(Change::rev);
    Ok(ChangesPage { changes, through })
}

/// Whether a page of messages may have been cut by its limits. Cheaper than asking, and wrong only
/// towards one more page.
fn is_cut(messages: &[Change]) -> bool {
    let bytes: usize = messages.iter().map(|change| change.weight()).sum();
    messages.len() as i64 >= PAGE_ROWS || bytes + limits::BODY_BYTES_MAX > PAGE_BYTES as usize
}
