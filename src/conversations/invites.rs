//! Invitations: links by which people of the tenant, newcomers and guests join a conversation.
//!
//! Who may see, make and withdraw them is asked in the statement that does it, of the rows as they
//! are then (the view `inviters`): what an actor remembers of a member may be some seconds old.
//! Joining is a durable change like any other, and its use is counted in the same transaction.
//!
//! An invitation counts while its maker may invite. Whoever is suspended, removed or demoted leaves
//! none behind that could bring them back. A code is 128 random bits. Anyone who has it may join, so
//! it is never logged.
//!
//! Bounds: [`INVITES_MAX`] open ones a conversation, and [`USER_INVITES_MAX`] of a user, counted under
//! locks of their own.

use super::error::Error;
use super::handle::ConversationsHandle;
use crate::auth::Access;
use crate::commit::Request;
use crate::database::Statement;
use crate::error::Code;
use crate::ids::{ConversationId, InviteId, UserId};
use crate::wire::frames::{Timestamp, optional_timestamp, timestamp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use utoipa::ToSchema;
use uuid::Uuid;

/// Open invitations of one conversation.
pub const INVITES_MAX: i64 = 100;
/// Open invitations that one user has made.
pub const USER_INVITES_MAX: i64 = 500;
/// Longest code that is looked up, in bytes; ours have 22.
const CODE_BYTES_MAX: usize = 128;

/// An invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Invite {
    /// Its id, to withdraw it.
    pub id: InviteId,
    /// What the link ends with: `/i/<code>`.
    pub code: String,
    /// When it runs out, if it does.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Timestamp>,
    /// How many may join by it, if that is limited.
    pub max_uses: Option<i32>,
    /// How many have.
    pub uses: i32,
    /// Who made it. It counts while they may invite.
    pub created_by: UserId,
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// Whether somebody can join by it now: it is not spent or expired, and its maker may invite.
    pub usable: bool,
}

const NOT_FOUND: Error = Error::Refused(
    Code::NotFound,
    "There is no such invite, or it cannot be used any more.",
);
const NO_MEMBER: Error = Error::Refused(Code::NotFound, Code::NotFound.text());
const FORBIDDEN: Error = Error::Refused(Code::Forbidden, "Your role in this conversation does not allow it.");

/// The membership of the caller `$3` in the conversation `$2` and whether they may invite; no row for
/// who is no member.
macro_rules! caller {
    () => {
        "WITH caller AS (
             SELECT EXISTS (SELECT FROM inviters n
                            WHERE n.tenant_id = $1 AND n.conversation_id = $2 AND n.user_id = $3) AS may_invite
             FROM conversation_members p JOIN conversations c ON c.id = p.conversation_id
             WHERE p.tenant_id = $1 AND p.conversation_id = $2 AND p.user_id = $3 AND p.removed_at IS NULL
               AND c.tenant_id = $1 AND c.deleted_at IS NULL)
        "
    };
}

/// What is shown of an invitation.
macro_rules! invite_columns {
    () => {
        "id, code, expires_at, max_uses, uses, created_by, created_at,
         (expires_at IS NULL OR expires_at > now()) AND (max_uses IS NULL OR uses < max_uses)
         AND EXISTS (SELECT FROM inviters n WHERE n.tenant_id = $1 AND n.conversation_id = $2
                       AND n.user_id = created_by) AS usable"
    };
}

const LIST: Statement = Statement::new(
    "invites.list",
    concat!(
        caller!(),
        "SELECT caller.may_invite, i.* FROM caller LEFT JOIN LATERAL (
             SELECT ",
        invite_columns!(),
        " FROM invites
             WHERE caller.may_invite AND tenant_id = $1 AND conversation_id = $2 AND revoked_at IS NULL
               AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid))
             ORDER BY created_at DESC, id DESC LIMIT $4) i ON true
         ORDER BY i.created_at DESC, i.id DESC"
    ),
);
/// Those who make invitations of a conversation, and those of a user, wait here for each other, so that
/// the counts hold. Always in this order.
const LOCK: Statement = Statement::new(
    "invites.lock",
    "SELECT pg_advisory_xact_lock(hashtextextended('invites of ' || id::text, 0))
     FROM unnest(ARRAY[$1::uuid, $2]) WITH ORDINALITY AS i (id, n) ORDER BY n",
);
const INSERT: Statement = Statement::new(
    "invites.insert",
    concat!(
        caller!(),
        ", open AS (
             SELECT id, conversation_id, created_by FROM invites
             WHERE tenant_id = $1 AND (conversation_id = $2 OR created_by = $3) AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > now()) AND (max_uses IS NULL OR uses < max_uses)),
         counts AS (
             SELECT count(*) FILTER (WHERE conversation_id = $2) AS of_conversation,
                    count(*) FILTER (WHERE created_by = $3) AS of_user FROM open),
         made AS (
             INSERT INTO invites (tenant_id, conversation_id, created_by, id, code, expires_at, max_uses)
             SELECT $1, $2, $3, $4, $5, $6, $7 FROM caller, counts
             WHERE may_invite AND of_conversation < $8 AND of_user < $9
             RETURNING ",
        invite_columns!(),
        ")
         SELECT caller.may_invite, counts.of_user >= $9 AS user_is_full, made.*
         FROM caller CROSS JOIN counts LEFT JOIN made ON true"
    ),
);
const WITHDRAW: Statement = Statement::new(
    "invites.withdraw",
    concat!(
        caller!(),
        ", withdrawn AS (
             UPDATE invites SET revoked_at = now() FROM caller
             WHERE caller.may_invite AND tenant_id = $1 AND conversation_id = $2 AND id = $4 AND revoked_at IS NULL
             RETURNING id)
         SELECT may_invite, (SELECT id FROM withdrawn) AS id FROM caller"
    ),
);

fn invite_of(row: &Row) -> Invite {
    Invite {
        id: InviteId(row.get("id")),
        code: row.get("code"),
        expires_at: row.get("expires_at"),
        max_uses: row.get("max_uses"),
        uses: row.get("uses"),
        created_by: UserId(row.get("created_by")),
        created_at: row.get("created_at"),
        usable: row.get("usable"),
    }
}

/// Judges what the statement says of its caller. Whether its row has an invitation besides.
fn judge(row: Option<&Row>) -> Result<bool, Error> {
    let row = row.ok_or(NO_MEMBER)?;
    if row.get("may_invite") {
        Ok(row.get::<_, Option<Uuid>>("id").is_some())
    } else {
        Err(FORBIDDEN)
    }
}

impl ConversationsHandle {
    /// The open invitations, newest first, after `from` (the last one of the page before). One more
    /// than `limit` if there are more.
    ///
    /// # Errors
    /// `forbidden` for members, `not_found` for everybody else below moderator;
    /// [`Error::Database`].
    pub async fn list_invites(
        &self,
        access: Access,
        id: ConversationId,
        limit: i64,
        from: Option<(Timestamp, InviteId)>,
    ) -> Result<Vec<Invite>, Error> {
        let (tenant, user) = may_touch(access, id)?;
        let (made_at, last) = from.map(|(at, id)| (at, id.0)).unzip();
        let client = self.context.database.client().await?;
        let rows = client
            .query(&LIST, &[&tenant, &id.0, &user, &(limit + 1), &made_at, &last])
            .await?;
        // Without an invitation it is one row, that of the caller.
        if judge(rows.first())? {
            Ok(rows.iter().map(invite_of).collect())
        } else {
            Ok(Vec::new())
        }
    }

    /// Makes an invitation.
    ///
    /// # Errors
    /// As [`ConversationsHandle::list_invites`]; `limit_reached` with too many open ones.
    pub async fn create_invite(
        &self,
        access: Access,
        id: ConversationId,
        expires_at: Option<Timestamp>,
        max_uses: Option<i32>,
    ) -> Result<Invite, Error> {
        let (tenant, user) = may_touch(access, id)?;
        let code = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let mut client = self.context.database.client().await?;
        let tx = client.transaction().await?;
        tx.query(&LOCK, &[&id.0, &user]).await?;
        let invite = InviteId::new().0;
        let params: [&(dyn ToSql + Sync); 9] = [
            &tenant,
            &id.0,
            &user,
            &invite,
            &code,
            &expires_at,
            &max_uses,
            &INVITES_MAX,
            &USER_INVITES_MAX,
        ];
        let row = tx.query_opt(&INSERT, &params).await?;
        tx.commit().await?;
        match (judge(row.as_ref())?, row) {
            (true, Some(row)) => Ok(invite_of(&row)),
            (_, Some(row)) if row.get("user_is_full") => Err(Error::Refused(
                Code::LimitReached,
                "You have as many open invites as one user can; withdraw some.",
            )),
            _ => Err(Error::Refused(
                Code::LimitReached,
                "The conversation has as many open invites as it can; withdraw some.",
            )),
        }
    }

    /// Withdraws an invitation; who joined by it stays.
    ///
    /// # Errors
    /// As [`ConversationsHandle::list_invites`]; `not_found` if it is not open.
    pub async fn withdraw_invite(&self, access: Access, id: ConversationId, invite: InviteId) -> Result<(), Error> {
        let (tenant, user) = may_touch(access, id)?;
        let client = self.context.database.client().await?;
        let row = client.query_opt(&WITHDRAW, &[&tenant, &id.0, &user, &invite.0]).await?;
        if judge(row.as_ref())? { Ok(()) } else { Err(NOT_FOUND) }
    }

    /// Makes the caller a member of the invitation's conversation; again costs nothing.
    ///
    /// # Errors
    /// `not_found` if it is spent, expired, withdrawn, another tenant's, of somebody who may not
    /// invite any more, or leads a guest elsewhere.
    pub async fn accept_invite(&self, access: Access, code: &str) -> Result<ConversationId, Error> {
        const FIND: Statement = Statement::new(
            "invites.find_by_code",
            "SELECT i.id, i.conversation_id FROM invites i
             JOIN inviters n ON n.tenant_id = $1 AND n.conversation_id = i.conversation_id AND n.user_id = i.created_by
             WHERE i.tenant_id = $1 AND i.code = $2 AND i.revoked_at IS NULL
               AND (i.expires_at IS NULL OR i.expires_at > now())",
        );
        if code.len() > CODE_BYTES_MAX || code.contains('\0') {
            return Err(NOT_FOUND);
        }
        let client = self.context.database.client().await?;
        let row = client
            .query_opt(&FIND, &[&access.tenant_id.0, &code])
            .await?
            .ok_or(NOT_FOUND)?;
        drop(client);
        let (invite_id, id) = (InviteId(row.get("id")), ConversationId(row.get("conversation_id")));
        if !access.allows(id) {
            return Err(NOT_FOUND);
        }
        match self.change(access, id, Request::Join { invite_id }).await {
            Ok(_) => Ok(id),
            Err(error) if error.code() == Code::NotFound => Err(NOT_FOUND),
            Err(error) => Err(error),
        }
    }
}

/// The caller's ids, unless a guest asks for another conversation than theirs.
fn may_touch(access: Access, id: ConversationId) -> Result<(Uuid, Uuid), Error> {
    if access.allows(id) {
        Ok((access.tenant_id.0, access.user_id.0))
    } else {
        Err(NO_MEMBER)
    }
}
