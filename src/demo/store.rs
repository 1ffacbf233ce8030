//! The SQL of a demo year: rows by COPY in its binary form, some thousand at a time.

use super::cast::Person;
use super::timeline::{MemberRow, MessageRow, ReactionRow, Timeline};
use crate::database::{Client, CopyRows, Error, Statement, Transaction};
use crate::ids::{ConversationId, TenantId, Tier, UserStatus};
use crate::wire::frames::Timestamp;
use tokio_postgres::types::Type;

/// Rows of one COPY: each ends before the time that a statement may take.
pub(super) const ROWS: usize = 8_192;

/// Which workspaces are there.
pub(super) struct Present {
    pub(super) has_demo: bool,
    pub(super) others: i64,
}

pub(super) async fn look(client: &Client, email: &str) -> Result<Present, Error> {
    const SQL: Statement = Statement::new(
        "demo.look",
        "SELECT EXISTS (SELECT FROM users WHERE lower(email) = lower($1) AND email IS NOT NULL) AS has_demo,
                (SELECT count(*) FROM (SELECT FROM tenants LIMIT 2) t) AS tenants",
    );
    let row = client.query_one(&SQL, &[&email]).await?;
    let (has_demo, tenants): (bool, i64) = (row.get("has_demo"), row.get("tenants"));
    Ok(Present {
        has_demo,
        others: tenants - i64::from(has_demo),
    })
}

pub(super) async fn insert_tenant(
    tx: &Transaction<'_>,
    tenant: TenantId,
    name: &str,
    created_at: Timestamp,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.insert_tenant",
        "INSERT INTO tenants (id, name, plan, created_at) VALUES ($1, $2, 'premium', $3)",
    );
    tx.execute(&SQL, &[&tenant.0, &name, &created_at]).await.map(drop)
}

pub(super) async fn copy_people(
    tx: &Transaction<'_>,
    tenant: TenantId,
    people: &[Person],
    password_hash: &str,
    is_suspended: impl Fn(&Person) -> bool,
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.copy_people",
        "COPY users (tenant_id, id, email, name, kind, role, tier, status, password_hash, created_at, updated_at)
         FROM STDIN BINARY",
    );
    const TYPES: [Type; 11] = [
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
    ];
    let mut rows = CopyRows::begin(tx, &SQL, &TYPES).await?;
    for person in people {
        let since = chrono::DateTime::from_timestamp_millis(person.since_ms).unwrap_or_default();
        let status = match is_suspended(person) {
            true => UserStatus::Suspended,
            false => UserStatus::Active,
        };
        let hash = person.email.as_ref().map(|_| password_hash);
        rows.write(&[
            &tenant.0,
            &person.id.0,
            &person.email,
            &person.name,
            &person.kind.as_str(),
            &person.role.as_str(),
            &Tier::Regular.as_str(),
            &status.as_str(),
            &hash,
            &since,
            &since,
        ])
        .await?;
    }
    rows.finish().await.map(drop)
}

pub(super) async fn insert_conversation(tx: &Transaction<'_>, tenant: TenantId, one: &Timeline) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.insert_conversation",
        "INSERT INTO conversations (tenant_id, id, user_id, title, last_seq, rev, properties_rev, member_count, created_at,
                                    last_message_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    let members = i32::try_from(one.members.len()).unwrap_or(i32::MAX);
    tx.execute(
        &SQL,
        &[
            &tenant.0,
            &one.id.0,
            &one.founder.0,
            &one.title,
            &one.last_seq.0,
            &one.rev.0,
            &one.properties_rev.0,
            &members,
            &one.created_at,
            &one.last_message_at,
        ],
    )
    .await
    .map(drop)
}

pub(super) async fn copy_members(
    tx: &Transaction<'_>,
    tenant: TenantId,
    conversation: ConversationId,
    members: &[MemberRow],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.copy_members",
        "COPY conversation_members (tenant_id, conversation_id, user_id, role, read_seq, joined_rev, rev, joined_at)
         FROM STDIN BINARY",
    );
    const TYPES: [Type; 8] = [
        Type::UUID,
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::TIMESTAMPTZ,
    ];
    let mut rows = CopyRows::begin(tx, &SQL, &TYPES).await?;
    for member in members {
        rows.write(&[
            &tenant.0,
            &conversation.0,
            &member.user.0,
            &member.role,
            &member.read_seq.0,
            &member.joined_rev.0,
            &member.joined_rev.0,
            &member.joined_at,
        ])
        .await?;
    }
    rows.finish().await.map(drop)
}

/// At most [`ROWS`] of them.
pub(super) async fn copy_messages(
    tx: &Transaction<'_>,
    tenant: TenantId,
    conversation: ConversationId,
    messages: &[MessageRow],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.copy_messages",
        "COPY messages (tenant_id, conversation_id, seq, id, author_id, kind, body, reply_to, posted_rev, rev, digest,
                        created_at, edited_at, deleted_at, text_rev)
         FROM STDIN BINARY",
    );
    const TYPES: [Type; 15] = [
        Type::UUID,
        Type::UUID,
        Type::INT8,
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::UUID,
        Type::INT8,
        Type::INT8,
        Type::BYTEA,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT8,
    ];
    let mut rows = CopyRows::begin(tx, &SQL, &TYPES).await?;
    for message in messages {
        rows.write(&[
            &tenant.0,
            &conversation.0,
            &message.seq.0,
            &message.id.0,
            &message.author.0,
            &message.kind.as_str(),
            &message.body,
            &message.reply_to.map(|id| id.0),
            &message.posted_rev.0,
            &message.rev.0,
            &&message.digest[..],
            &message.created_at,
            &message.edited_at,
            &message.deleted_at,
            &message.text_rev.map(|rev| rev.0),
        ])
        .await?;
    }
    rows.finish().await.map(drop)
}

/// At most [`ROWS`] of them, of messages that are there.
pub(super) async fn copy_reactions(
    tx: &Transaction<'_>,
    conversation: ConversationId,
    reactions: &[&ReactionRow],
) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.copy_reactions",
        "COPY reactions (conversation_id, seq, emoji, user_id, created_at) FROM STDIN BINARY",
    );
    const TYPES: [Type; 5] = [Type::UUID, Type::INT8, Type::TEXT, Type::UUID, Type::TIMESTAMPTZ];
    let mut rows = CopyRows::begin(tx, &SQL, &TYPES).await?;
    for reaction in reactions {
        rows.write(&[
            &conversation.0,
            &reaction.seq.0,
            &reaction.emoji,
            &reaction.user.0,
            &reaction.created_at,
        ])
        .await?;
    }
    rows.finish().await.map(drop)
}

/// Tells the planner what is there, which it would find out by itself a minute later.
pub(super) async fn analyze(client: &Client) -> Result<(), Error> {
    const SQL: Statement = Statement::new(
        "demo.analyze",
        "ANALYZE tenants, users, conversations, conversation_members, messages, reactions",
    );
    client.execute(&SQL, &[]).await.map(drop)
}
