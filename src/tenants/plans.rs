//! What the operator gives a tenant, as commands of `parlance tenants`.
//!
//! A plan is the quota of all people of a tenant together, and the highest tier that its admins may
//! give. Nothing over HTTP changes it: whoever can run the program with the database's address is
//! the operator.
//!
//! A lower plan takes away the tiers that it does not have, in the same transaction. Every node hears
//! of the plan and of the tiers within five seconds. The tenant's own quota follows with each token, within the life
//! of one, and with each API key within a minute.

use super::error::Error;
use super::store;
use crate::database::Database;
use crate::ids::{Plan, TenantId};

/// Tenants that are read at a time.
const PAGE: i64 = 500;

/// A tenant and its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPlan {
    pub id: TenantId,
    pub name: String,
    pub plan: Plan,
    /// Its users without guests.
    pub people: i64,
}

/// What a command has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChanged {
    pub name: String,
    /// People who had a tier that the plan does not have.
    pub lowered: u64,
}

/// Gives a tenant a plan; again is fine.
///
/// # Errors
/// [`Error::TenantNotFound`], [`Error::Database`].
pub async fn set_plan(database: &Database, id: TenantId, plan: Plan) -> Result<PlanChanged, Error> {
    let mut client = database.client().await?;
    let tx = client.transaction().await?;
    let changed = store::set_plan(&tx, id, plan).await?;
    tx.commit().await?;
    let (name, lowered) = changed.ok_or(Error::TenantNotFound)?;
    tracing::info!(tenant.id = %id, %plan, lowered, "the operator gave a tenant a plan");
    Ok(PlanChanged { name, lowered })
}

/// Calls `show` with every tenant, by pages.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_plans(database: &Database, mut show: impl FnMut(&TenantPlan)) -> Result<(), Error> {
    let mut last = None;
    loop {
        let client = database.client().await?;
        let page = store::list_plans(&client, last, PAGE).await?;
        page.iter().for_each(&mut show);
        match page.last() {
            Some(tenant) => last = Some(tenant.id),
            None => return Ok(()),
        }
    }
}
