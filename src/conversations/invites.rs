//! Invitations: links by which people of the tenant, newcomers and guests join a conversation.
//!
//! Who may see, make and withdraw them is decided by the conversation
//! ([`ConversationsHandle::authorize_invites`]). Joining is a durable change like any other, and
//! its use is counted in the same transaction. A code is 128 random bits. Anyone who has it may join,
//! so it is never logged. Bounds: [`INVITES_MAX`] open ones a conversation.

use super::error::Error;
use super::handle::ConversationsHandle;
use crate::auth::Access;
use crate::commit::Request;
use crate::database::Statement;
use crate::error::Code;
use crate::ids::{ConversationId, InviteId};
use crate::wire::frames::{Timestamp, optional_timestamp, timestamp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

/// Open invitations of one conversation.
pub const INVITES_MAX: i64 = 100;
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
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
}

const NOT_FOUND: Error = Error::Refused(
    Code::NotFound,
    "There is no such invite, or it cannot be used any more.",
);

fn invite_of(row: &Row) -> Invite {
    Invite {
        id: InviteId(row.get("id")),
        code: row.get("code"),
        expires_at: row.get("expires_at"),
        max_uses: row.get("max_uses"),
        uses: row.get("uses"),
        created_at: row.get("created_at"),
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
        const LIST: Statement = Statement::new(
            "invites.list",
            "SELECT id, code, expires_at, max_uses, uses, created_at FROM invites
             WHERE tenant_id = $1 AND conversation_id = $2 AND revoked_at IS NULL
               AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5::uuid))
             ORDER BY created_at DESC, id DESC LIMIT $3",
        );
        self.authorize_invites(access, id).await?;
        let (made_at, last) = from.map(|(at, id)| (at, id.0)).unzip();
        let client = self.context.database.client().await?;
        let rows = client
            .query(&LIST, &[&access.tenant_id.0, &id.0, &(limit + 1), &made_at, &last])
            .await?;
        Ok(rows.iter().map(invite_of).collect())
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
        const INSERT: Statement = Statement::new(
            "invites.insert",
            "INSERT INTO invites (tenant_id, conversation_id, id, code, created_by, expires_at, max_uses)
             SELECT $1, $2, $3, $4, $5, $6, $7
             WHERE (SELECT count(*) FROM invites WHERE conversation_id = $2 AND revoked_at IS NULL
                      AND (expires_at IS NULL OR expires_at > now()) AND (max_uses IS NULL OR uses < max_uses)) < $8
             RETURNING id, code, expires_at, max_uses, uses, created_at",
        );
        self.authorize_invites(access, id).await?;
        let code = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let client = self.context.database.client().await?;
        let row = client
            .query_opt(
                &INSERT,
                &[
                    &access.tenant_id.0,
                    &id.0,
                    &InviteId::new().0,
                    &code,
                    &access.user_id.0,
                    &expires_at,
                    &max_uses,
                    &INVITES_MAX,
                ],
            )
            .await?;
        row.as_ref().map(invite_of).ok_or(Error::Refused(
            Code::LimitReached,
            "Too many open invites; withdraw some.",
        ))
    }

    /// Withdraws an invitation; who joined by it stays.
    ///
    /// # Errors
    /// As [`ConversationsHandle::list_invites`]; `not_found` if it is not open.
    pub async fn withdraw_invite(&self, access: Access, id: ConversationId, invite: InviteId) -> Result<(), Error> {
        const WITHDRAW: Statement = Statement::new(
            "invites.withdraw",
            "UPDATE invites SET revoked_at = now()
             WHERE tenant_id = $1 AND conversation_id = $2 AND id = $3 AND revoked_at IS NULL",
        );
        self.authorize_invites(access, id).await?;
        let client = self.context.database.client().await?;
        let n = client
            .execute(&WITHDRAW, &[&access.tenant_id.0, &id.0, &invite.0])
            .await?;
        if n == 0 { Err(NOT_FOUND) } else { Ok(()) }
    }

    /// Makes the caller a member of the invitation's conversation; again costs nothing.
    ///
    /// # Errors
    /// `not_found` if it is spent, expired, withdrawn, another tenant's, or leads a guest
    /// elsewhere.
    pub async fn accept_invite(&self, access: Access, code: &str) -> Result<ConversationId, Error> {
        const FIND: Statement = Statement::new(
            "invites.find_by_code",
            "SELECT id, conversation_id FROM invites
             WHERE tenant_id = $1 AND code = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
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
