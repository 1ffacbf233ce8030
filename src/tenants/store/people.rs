//! The SQL of the people of a tenant.

use crate::auth::{self, User};
use crate::database::{Client, Statement, Transaction};
use crate::ids::{ConversationId, Plan, TenantId, UserId, UserStatus};
use crate::tenants::error::Error;
use crate::tenants::user_filter::{Guests, UserFilter};
use uuid::Uuid;

/// Those who change a tenant's people stand in line here. The tenant's plan.
pub(in crate::tenants) async fn lock_tenant(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<Plan, Error> {
    const LOCK: Statement = Statement::new(
        "tenants.lock",
        "SELECT plan FROM tenants WHERE id = $1 FOR NO KEY UPDATE",
    );
    let row = tx.query_opt(&LOCK, &[&tenant_id.0]).await?.ok_or(Error::NotFound)?;
    let word: &str = row.try_get("plan").map_err(auth::Error::Row)?;
    Ok(Plan::parse(word).ok_or(auth::Error::Word("plan"))?)
}

/// Which part of a list is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::tenants) struct ListPart {
    pub(in crate::tenants) limit: i64,
    pub(in crate::tenants) offset: i64,
}

/// Whose addresses a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tenants) enum AddressMatch {
    /// By the beginnings of their words.
    Beginnings,
    /// Only the whole one.
    Whole,
}

/// Users that a filter leaves, oldest first. The words of a name are what blanks, points, hyphens
/// and quotes separate; those of an address what may separate them there.
pub(in crate::tenants) async fn list_users(
    client: &Client,
    tenant_id: TenantId,
    filter: &UserFilter,
    addresses: AddressMatch,
    part: ListPart,
) -> Result<Vec<User>, Error> {
    const LIST: Statement = Statement::new(
        "users.list",
        "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                u.created_at AS user_created_at, u.updated_at \
         FROM users u WHERE u.tenant_id = $1 AND ($2::uuid[] IS NULL OR u.id = ANY($2)) AND (u.role <> 'guest' OR $3) \
           AND ($4::text IS NULL OR translate(lower(' ' || normalize(u.name, NFC)), '.-_()\"''', '       ') LIKE lower($4) \
                OR lower(' ' || normalize(u.name, NFC)) LIKE lower($4) \
                OR CASE WHEN $6 THEN translate(lower(' ' || u.email), '@.-_+', '     ') LIKE lower($4) \
                          OR lower(' ' || u.email) LIKE lower($4) \
                   ELSE lower(u.email) = lower($5::text) END) \
         ORDER BY u.created_at, u.id LIMIT $7 OFFSET $8",
    );
    let ids: Option<Vec<Uuid>> = filter.ids.as_ref().map(|ids| ids.iter().map(|id| id.0).collect());
    let lists_guests = filter.guests == Guests::Listed;
    let by_beginnings = addresses == AddressMatch::Beginnings;
    let rows = client
        .query(
            &LIST,
            &[
                &tenant_id.0,
                &ids,
                &lists_guests,
                &filter.pattern(),
                &filter.q,
                &by_beginnings,
                &part.limit,
                &part.offset,
            ],
        )
        .await?;
    Ok(rows.iter().map(User::from_row).collect::<Result<_, _>>()?)
}

const FIND_USER: Statement = Statement::new(
    "users.find",
    "SELECT u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
            u.created_at AS user_created_at, u.updated_at \
     FROM users u WHERE u.tenant_id = $1 AND u.id = $2",
);

pub(in crate::tenants) async fn find_user(
    client: &Client,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<User>, Error> {
    let row = client.query_opt(&FIND_USER, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.as_ref().map(User::from_row).transpose()?)
}

pub(in crate::tenants) async fn find_user_in(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<Option<User>, Error> {
    let row = tx.query_opt(&FIND_USER, &[&tenant_id.0, &user_id.0]).await?;
    Ok(row.as_ref().map(User::from_row).transpose()?)
}

pub(in crate::tenants) async fn was_member(
    client: &Client,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    user_id: UserId,
) -> Result<bool, Error> {
    const FIND: Statement = Statement::new(
        "conversation_members.exists",
        "SELECT 1 FROM conversation_members WHERE tenant_id = $1 AND conversation_id = $2 AND user_id = $3",
    );
    Ok(client
        .query_opt(&FIND, &[&tenant_id.0, &conversation_id.0, &user_id.0])
        .await?
        .is_some())
}

pub(in crate::tenants) async fn count_active_owners(tx: &Transaction<'_>, tenant_id: TenantId) -> Result<i64, Error> {
    const COUNT: Statement = Statement::new(
        "users.count_active_owners",
        "SELECT count(*) AS n FROM users WHERE tenant_id = $1 AND role = 'owner' AND status = $2",
    );
    let row = tx
        .query_one(&COUNT, &[&tenant_id.0, &UserStatus::Active.as_str()])
        .await?;
    Ok(row.try_get("n").map_err(auth::Error::Row)?)
}

pub(in crate::tenants) async fn update_user(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user: &User,
) -> Result<User, Error> {
    const UPDATE: Statement = Statement::new(
        "users.update",
        "UPDATE users u SET name = $3, role = $4, tier = $5, status = $6, updated_at = clock_timestamp() \
         WHERE u.tenant_id = $1 AND u.id = $2 \
         RETURNING u.id AS user_id, u.name AS user_name, u.kind, u.email, u.role, u.tier, u.status, \
                   u.created_at AS user_created_at, u.updated_at",
    );
    let row = tx
        .query_one(
            &UPDATE,
            &[
                &tenant_id.0,
                &user.id.0,
                &&*user.name,
                &user.role.as_str(),
                &user.tier.as_str(),
                &user.status.as_str(),
            ],
        )
        .await?;
    Ok(User::from_row(&row)?)
}

pub(in crate::tenants) async fn insert_event(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    user_id: UserId,
) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "auth_events.insert",
        "INSERT INTO auth_events (tenant_id, user_id) VALUES ($1, $2)",
    );
    tx.execute(&INSERT, &[&tenant_id.0, &user_id.0]).await?;
    Ok(())
}
