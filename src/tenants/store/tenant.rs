//! The SQL of the tenant itself: its name, its plan, and whom it admits.

use crate::auth::{Error as AuthError, Tenant};
use crate::database::{Client, Statement, Transaction};
use crate::ids::{Admission, Plan, TenantId, UserId};
use crate::tenants::error::Error;
use crate::tenants::plans::TenantPlan;
use crate::tenants::tenant_view::{TenantPatch, TenantView};
use tokio_postgres::Row;

/// What is shown of a tenant.
macro_rules! tenant_columns {
    () => {
        "t.id AS tenant_id, t.name AS tenant_name, t.plan AS tenant_plan, t.created_at AS tenant_created_at, \
         t.admits_members, t.admits_guests"
    };
}

fn view_of(row: &Row) -> Result<TenantView, Error> {
    let admission = |column: &'static str| {
        let word: &str = row.try_get(column).map_err(AuthError::Row)?;
        Admission::parse(word).ok_or(Error::Auth(AuthError::Word(column)))
    };
    Ok(TenantView {
        tenant: Tenant::from_row(row)?,
        admits_members: admission("admits_members")?,
        admits_guests: admission("admits_guests")?,
    })
}

pub(in crate::tenants) async fn load_tenant(client: &Client, tenant_id: TenantId) -> Result<Option<TenantView>, Error> {
    const FIND: Statement = Statement::new(
        "tenants.load",
        concat!("SELECT ", tenant_columns!(), " FROM tenants t WHERE t.id = $1"),
    );
    let row = client.query_opt(&FIND, &[&tenant_id.0]).await?;
    row.as_ref().map(view_of).transpose()
}

/// Changes what a patch has, if the user is an admin of the tenant at this moment; `None` if not.
pub(in crate::tenants) async fn update_tenant(
    client: &Client,
    tenant_id: TenantId,
    by: UserId,
    patch: &TenantPatch,
) -> Result<Option<TenantView>, Error> {
    const UPDATE: Statement = Statement::new(
        "tenants.update",
        concat!(
            "UPDATE tenants t SET name = coalesce($3, t.name), admits_members = coalesce($4, t.admits_members), \
                    admits_guests = coalesce($5, t.admits_guests) \
             FROM users u WHERE t.id = $1 AND u.tenant_id = $1 AND u.id = $2 AND u.status = 'active' \
               AND u.role IN ('owner', 'admin') RETURNING ",
            tenant_columns!()
        ),
    );
    let word = |admission: Option<Admission>| admission.map(Admission::as_str);
    let row = client
        .query_opt(
            &UPDATE,
            &[
                &tenant_id.0,
                &by.0,
                &patch.name,
                &word(patch.admits_members),
                &word(patch.admits_guests),
            ],
        )
        .await?;
    row.as_ref().map(view_of).transpose()
}

/// Gives a tenant a plan, and takes from its people the tiers beyond it; every node hears of that.
/// The tenant's name and how many were taken down; `None` if there is no such tenant.
pub(in crate::tenants) async fn set_plan(
    tx: &Transaction<'_>,
    tenant_id: TenantId,
    plan: Plan,
) -> Result<Option<(String, u64)>, Error> {
    const SET: Statement = Statement::new(
        "tenants.set_plan",
        "UPDATE tenants SET plan = $2 WHERE id = $1 RETURNING name",
    );
    const LOWER: Statement = Statement::new(
        "users.lower_tiers",
        "WITH lowered AS (UPDATE users SET tier = 'regular', updated_at = clock_timestamp() \
                          WHERE tenant_id = $1 AND tier = 'premium' AND $2 <> 'premium' RETURNING id) \
         INSERT INTO auth_events (tenant_id, user_id) SELECT $1, id FROM lowered",
    );
    // There are events of users only, so its first one is said to have changed.
    const TELL: Statement = Statement::new(
        "users.touch_first",
        "WITH told AS (UPDATE users SET updated_at = clock_timestamp() \
                       WHERE tenant_id = $1 AND id = (SELECT id FROM users WHERE tenant_id = $1 \
                                                      ORDER BY created_at, id LIMIT 1) RETURNING id) \
         INSERT INTO auth_events (tenant_id, user_id) SELECT $1, id FROM told",
    );
    // The row of the tenant is locked by it: nobody gives a tier meanwhile.
    let Some(row) = tx.query_opt(&SET, &[&tenant_id.0, &plan.as_str()]).await? else {
        return Ok(None);
    };
    let lowered = tx.execute(&LOWER, &[&tenant_id.0, &plan.as_str()]).await?;
    tx.execute(&TELL, &[&tenant_id.0]).await?;
    Ok(Some((row.get("name"), lowered)))
}

/// A page of tenants by id, after `from`.
pub(in crate::tenants) async fn list_plans(
    client: &Client,
    from: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantPlan>, Error> {
    const LIST: Statement = Statement::new(
        "tenants.list_plans",
        "SELECT t.id, t.name, t.plan, (SELECT count(*) FROM users u WHERE u.tenant_id = t.id AND u.role <> 'guest') AS people \
         FROM tenants t WHERE $1::uuid IS NULL OR t.id > $1 ORDER BY t.id LIMIT $2",
    );
    let rows = client.query(&LIST, &[&from.map(|id| id.0), &limit]).await?;
    let plan_of = |row: &Row| {
        Ok(TenantPlan {
            id: TenantId(row.get("id")),
            name: row.get("name"),
            plan: Plan::parse(row.get("plan")).ok_or(AuthError::Word("plan"))?,
            people: row.get("people"),
        })
    };
    rows.iter().map(plan_of).collect()
}
