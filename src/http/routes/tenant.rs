//! The caller's tenant.

use crate::auth::Tenant;
use crate::http::request::caller::Caller;
use crate::http::request::json_body::JsonBody;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

/// What admins change about the tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
}

/// The caller's tenant.
#[utoipa::path(get, path = "/api/tenant", tag = "people", responses((status = 200, body = Tenant)))]
pub(crate) async fn show(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(state.tenants.tenant(&caller).await?))
}

/// Give the tenant another name; for owners and admins.
#[utoipa::path(patch, path = "/api/tenant", tag = "people", request_body = TenantInput,
    responses((status = 200, body = Tenant)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<TenantInput>,
) -> Result<HttpResponse, Error> {
    let Some(name) = input.0.name else {
        return show(state, caller).await;
    };
    Ok(HttpResponse::Ok().json(state.tenants.rename_tenant(&caller, &name).await?))
}
