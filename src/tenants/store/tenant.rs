//! The SQL of the tenant itself: its name, and whom it admits.

use crate::auth::{Error as AuthError, Tenant};
use crate::database::{Client, Statement};
use crate::ids::{Admission, TenantId, UserId};
use crate::tenants::error::Error;
use crate::tenants::tenant_view::{TenantPatch, TenantView};
use tokio_postgres::Row;

/// What is shown of a tenant.
macro_rules! tenant_columns {
    () => {
        "t.id AS tenant_id, t.name AS tenant_name, t.created_at AS tenant_created_at, t.admits_members, t.admits_guests"
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
