//! The SQL of a tenant's invitations as its admins see them: never their codes, and titles only of
//! conversations that the caller is a member of. That the caller is an admin is asked in the same
//! statement.

use crate::database::{Client, Statement};
use crate::ids::{ConversationId, InviteId, TenantId, UserId};
use crate::tenants::error::Error;
use crate::tenants::tenant_invite::{InviteFilter, InviteMaker, InvitedTo, TenantInvite};
use crate::wire::frames::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// Whether the caller `$2` is an admin of the tenant `$1`; always one row.
macro_rules! caller {
    () => {
        "WITH caller AS (SELECT EXISTS (SELECT FROM users u WHERE u.tenant_id = $1 AND u.id = $2 AND u.status = 'active' \
                                          AND u.role IN ('owner', 'admin')) AS is_admin) "
    };
}

/// Which part of the list is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::tenants) struct InvitesPart {
    pub(in crate::tenants) limit: i64,
    /// The last one of the page before.
    pub(in crate::tenants) from: Option<(Timestamp, InviteId)>,
}

fn invite_of(row: &Row) -> TenantInvite {
    TenantInvite {
        id: InviteId(row.get("id")),
        conversation: InvitedTo {
            id: ConversationId(row.get("conversation_id")),
            title: row.get("title"),
        },
        created_by: InviteMaker {
            id: UserId(row.get("created_by")),
            name: row.get("maker_name"),
        },
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        max_uses: row.get("max_uses"),
        uses: row.get("uses"),
        usable: row.get("usable"),
    }
}

/// The open invitations, newest first; `None` unless the caller is an admin.
pub(in crate::tenants) async fn list_invites(
    client: &Client,
    tenant_id: TenantId,
    caller: UserId,
    filter: InviteFilter,
    part: InvitesPart,
) -> Result<Option<Vec<TenantInvite>>, Error> {
    const LIST: Statement = Statement::new(
        "invites.list_of_tenant",
        concat!(
            caller!(),
            "SELECT caller.is_admin, i.*, m.name AS maker_name, \
                    CASE WHEN EXISTS (SELECT FROM conversation_members p WHERE p.tenant_id = $1 AND p.user_id = $2 \
                                        AND p.conversation_id = i.conversation_id AND p.removed_at IS NULL) \
                         THEN c.title END AS title, \
                    (i.expires_at IS NULL OR i.expires_at > now()) AND (i.max_uses IS NULL OR i.uses < i.max_uses) \
                    AND EXISTS (SELECT FROM inviters n WHERE n.tenant_id = $1 AND n.user_id = i.created_by \
                                  AND n.conversation_id = i.conversation_id) AS usable \
             FROM caller LEFT JOIN LATERAL ( \
                 SELECT id, conversation_id, created_by, created_at, expires_at, max_uses, uses FROM invites \
                 WHERE caller.is_admin AND tenant_id = $1 AND revoked_at IS NULL \
                   AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5::uuid)) \
                   AND ($6::uuid IS NULL OR created_by = $6) AND ($7::uuid IS NULL OR conversation_id = $7) \
                 ORDER BY created_at DESC, id DESC LIMIT $3) i ON true \
             LEFT JOIN conversations c ON c.tenant_id = $1 AND c.id = i.conversation_id \
             LEFT JOIN users m ON m.tenant_id = $1 AND m.id = i.created_by \
             ORDER BY i.created_at DESC, i.id DESC"
        ),
    );
    let (made_at, last) = part.from.map(|(at, id)| (at, id.0)).unzip();
    let (created_by, conversation) = filter.ids();
    let rows = client
        .query(
            &LIST,
            &[
                &tenant_id.0,
                &caller.0,
                &part.limit,
                &made_at,
                &last,
                &created_by,
                &conversation,
            ],
        )
        .await?;
    if !rows.first().is_some_and(|row| row.get("is_admin")) {
        return Ok(None);
    }
    let has_invite = |row: &&Row| row.get::<_, Option<Uuid>>("id").is_some();
    Ok(Some(rows.iter().filter(has_invite).map(invite_of).collect()))
}

/// Withdraws an invitation. Whether it was open; `None` unless the caller is an admin.
pub(in crate::tenants) async fn withdraw_invite(
    client: &Client,
    tenant_id: TenantId,
    caller: UserId,
    id: InviteId,
) -> Result<Option<bool>, Error> {
    const WITHDRAW: Statement = Statement::new(
        "invites.withdraw_of_tenant",
        concat!(
            caller!(),
            ", withdrawn AS (UPDATE invites SET revoked_at = now() FROM caller \
                             WHERE caller.is_admin AND tenant_id = $1 AND id = $3 AND revoked_at IS NULL RETURNING id) \
             SELECT is_admin, EXISTS (SELECT FROM withdrawn) AS was_open FROM caller"
        ),
    );
    let row = client.query_one(&WITHDRAW, &[&tenant_id.0, &caller.0, &id.0]).await?;
    Ok(row.get::<_, bool>("is_admin").then(|| row.get("was_open")))
}

/// Withdraws the open invitations that a filter leaves. How many; `None` unless the caller is an
/// admin.
pub(in crate::tenants) async fn withdraw_invites(
    client: &Client,
    tenant_id: TenantId,
    caller: UserId,
    filter: InviteFilter,
) -> Result<Option<i64>, Error> {
    const WITHDRAW: Statement = Statement::new(
        "invites.withdraw_all_of_tenant",
        concat!(
            caller!(),
            ", withdrawn AS (UPDATE invites SET revoked_at = now() FROM caller \
                             WHERE caller.is_admin AND tenant_id = $1 AND revoked_at IS NULL \
                               AND ($3::uuid IS NULL OR created_by = $3) AND ($4::uuid IS NULL OR conversation_id = $4) \
                             RETURNING id) \
             SELECT is_admin, (SELECT count(*) FROM withdrawn) AS withdrawn FROM caller"
        ),
    );
    let (created_by, conversation) = filter.ids();
    let row = client
        .query_one(&WITHDRAW, &[&tenant_id.0, &caller.0, &created_by, &conversation])
        .await?;
    Ok(row.get::<_, bool>("is_admin").then(|| row.get("withdrawn")))
}
