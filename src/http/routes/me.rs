//! The caller's own account.

use crate::auth::{Account, Tenant, User};
use crate::http::request::caller::Caller;
use crate::http::request::json_body::JsonBody;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::tenants::UserPatch;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The caller, with their tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// The user.
    #[serde(flatten)]
    user: User,
    /// Their tenant.
    tenant: Tenant,
}

impl From<Account> for Me {
    fn from(Account { user, tenant }: Account) -> Self {
        Self { user, tenant }
    }
}

/// What people change about themselves.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordInput {
    /// The present one.
    password: String,
    /// 8–256 characters, not among the common ones.
    #[schema(min_length = 8, max_length = 256)]
    new_password: String,
}

/// Who am I?
#[utoipa::path(get, path = "/api/me", tag = "people", responses((status = 200, body = Me)))]
pub(crate) async fn show(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(Me::from(state.tenants.account(&caller).await?)))
}

/// Change the own name.
#[utoipa::path(patch, path = "/api/me", tag = "people", request_body = MeInput, responses((status = 200, body = Me)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<MeInput>,
) -> Result<HttpResponse, Error> {
    let patch = UserPatch {
        name: input.0.name,
        ..UserPatch::default()
    };
    state.tenants.update_user(&caller, caller.user_id, &patch).await?;
    show(state, caller).await
}

/// Change the own password: all other logins of this user are over everywhere within five seconds.
#[utoipa::path(post, path = "/api/me/password", tag = "people", request_body = PasswordInput,
    responses((status = 204)))]
pub(crate) async fn change_password(
    request: HttpRequest,
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<PasswordInput>,
) -> Result<HttpResponse, Error> {
    let PasswordInput { password, new_password } = input.0;
    let address = state.client_address(&request);
    state
        .auth
        .change_password(&caller, password, new_password, address)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
