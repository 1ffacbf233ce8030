//! A tenant as its people see it, and what can be changed of it.

use crate::auth::Tenant;
use crate::ids::Admission;
use serde::Serialize;
use utoipa::ToSchema;

/// A tenant, and whom it admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TenantView {
    /// The tenant.
    #[serde(flatten)]
    pub tenant: Tenant,
    /// Whose invitations let people from outside sign up as members of the tenant.
    pub admits_members: Admission,
    /// Whose invitations let people from outside in as guests.
    pub admits_guests: Admission,
}

/// What is to become of a tenant; `None` leaves a property as it is.
#[derive(Clone, Debug, Default)]
pub struct TenantPatch {
    pub name: Option<String>,
    pub admits_members: Option<Admission>,
    pub admits_guests: Option<Admission>,
}
