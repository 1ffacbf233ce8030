//! The statements of invitations as sign-up sees them.
//!
//! An invitation counts while its maker may invite, and lets outsiders in only as its tenant allows.
//! Both are asked in the statement that makes the user, so nothing can change in between.

use super::accounts::NewUser;
use crate::auth::account::User;
use crate::auth::error::Error;
use crate::database::{Client, Statement, Transaction};
use crate::ids::{ConversationId, Role, TenantId, UserId};

/// Guests that one link lets in.
const LINK_GUESTS_MAX: i32 = 1_000;

/// Where an invitation leads to.
pub(in crate::auth) struct OpenInvite {
    pub(in crate::auth) tenant_id: TenantId,
    pub(in crate::auth) conversation_id: ConversationId,
    /// Whether the tenant lets its maker admit outsiders with the role that was asked about.
    pub(in crate::auth) admits: bool,
    /// Whether it has let in as many guests as it can.
    pub(in crate::auth) is_full: bool,
}

/// An invitation that can still be used, for an outsider who would get this role.
pub(in crate::auth) async fn find_invite(client: &Client, code: &str, role: Role) -> Result<Option<OpenInvite>, Error> {
    const FIND: Statement = Statement::new(
        "invites.find_open",
        // The invitation first, whatever the plan expects of tables that were empty when it was made.
        "WITH invite AS MATERIALIZED ( \
             SELECT i.tenant_id, i.conversation_id, i.created_by, i.guests FROM invites i \
             WHERE i.code = $1 AND i.revoked_at IS NULL AND (i.expires_at IS NULL OR i.expires_at > now()) \
               AND (i.max_uses IS NULL OR i.uses < i.max_uses)) \
         SELECT i.tenant_id, i.conversation_id, \
                CASE $2::text WHEN 'guest' THEN n.admits_guests ELSE n.admits_members END AS admits, \
                $2::text = 'guest' AND i.guests >= $3 AS is_full \
         FROM invite i CROSS JOIN LATERAL ( \
             SELECT n.admits_guests, n.admits_members FROM inviters n \
             WHERE n.tenant_id = i.tenant_id AND n.conversation_id = i.conversation_id AND n.user_id = i.created_by \
             LIMIT 1) n",
    );
    let Some(row) = client
        .query_opt(&FIND, &[&code, &role.as_str(), &LINK_GUESTS_MAX])
        .await?
    else {
        return Ok(None);
    };
    Ok(Some(OpenInvite {
        tenant_id: TenantId(row.try_get("tenant_id")?),
        conversation_id: ConversationId(row.try_get("conversation_id")?),
        admits: row.try_get("admits")?,
        is_full: row.try_get("is_full")?,
    }))
}

/// Makes a user of an invitation's tenant; `None` if it lets nobody in any more. A guest is counted in
/// the row of the invitation, which takes only so many.
pub(in crate::auth) async fn insert_invited_user(
    tx: &Transaction<'_>,
    new: &NewUser<'_>,
    code: &str,
) -> Result<Option<User>, Error> {
    const INSERT: Statement = Statement::new(
        "users.insert_invited",
        "WITH invite AS ( \
             UPDATE invites i SET guests = i.guests + CASE $6::text WHEN 'guest' THEN 1 ELSE 0 END FROM inviters n \
             WHERE n.tenant_id = i.tenant_id AND n.conversation_id = i.conversation_id AND n.user_id = i.created_by \
               AND i.tenant_id = $1 AND i.code = $2 AND i.revoked_at IS NULL \
               AND (i.expires_at IS NULL OR i.expires_at > now()) AND (i.max_uses IS NULL OR i.uses < i.max_uses) \
               AND CASE $6::text WHEN 'guest' THEN n.admits_guests AND i.guests < $9 ELSE n.admits_members END \
             RETURNING i.tenant_id) \
         INSERT INTO users AS u (tenant_id, id, email, name, role, tier, password_hash) \
         SELECT tenant_id, $3, $4, $5, $6::text, $7, $8 FROM invite \
         RETURNING u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                   u.created_at AS user_created_at, u.updated_at",
    );
    let row = tx
        .query_opt(
            &INSERT,
            &[
                &new.tenant_id.0,
                &code,
                &UserId::new().0,
                &new.email,
                &new.name,
                &new.role.as_str(),
                &new.tier.as_str(),
                &new.password_hash,
                &LINK_GUESTS_MAX,
            ],
        )
        .await
        .map_err(Error::of_new_user)?;
    row.as_ref().map(User::from_row).transpose()
}

/// The conversation a guest was let in to.
pub(in crate::auth) async fn find_guest_conversation(
    tx: &Transaction<'_>,
    user_id: UserId,
) -> Result<Option<ConversationId>, Error> {
    const FIND: Statement = Statement::new(
        "invite_uses.find_guest_conversation",
        "SELECT i.conversation_id FROM conversation_members m \
         JOIN invites i ON i.conversation_id = m.conversation_id \
         JOIN invite_uses n ON n.invite_id = i.id AND n.user_id = m.user_id \
         WHERE m.user_id = $1 AND m.removed_at IS NULL ORDER BY n.used_at LIMIT 1",
    );
    let row = tx.query_opt(&FIND, &[&user_id.0]).await?;
    Ok(row
        .map(|row| row.try_get("conversation_id"))
        .transpose()?
        .map(ConversationId))
}
