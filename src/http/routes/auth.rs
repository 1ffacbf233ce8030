//! Signing up, in and out over HTTP, and the cookies of browsers.

use crate::auth::{self, IssuedLogin, Keys, Registration, Tenant, User};
use crate::error::Code;
use crate::http::request::caller::Caller;
use crate::http::request::json_body::{JsonBody, OptionalJsonBody};
use crate::http::request::{caller, cookies, origin};
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::ids::{SessionId, UserId};
use crate::wire::frames::{Timestamp, timestamp};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Signing up: into a tenant of one's own, or by invite into someone else's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterInput {
    /// Address; one account each.
    email: String,
    /// 8–256 characters, not among the common ones.
    #[schema(min_length = 8, max_length = 256)]
    password: String,
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Name of the new tenant.
    #[schema(min_length = 1, max_length = 200)]
    workspace: Option<String>,
    /// Code of an invite.
    invite: Option<String>,
}

/// Signing in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginInput {
    /// Address.
    email: String,
    /// Password.
    password: String,
}

/// Entering a conversation without an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuestInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Code of an invite.
    invite: String,
}

/// What ends with all logins; without a body nothing else.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogoutAllInput {
    /// Whether the API keys of this user are deleted too.
    keys: bool,
}

/// Who is signed in, and the access token; the refresh token is only in its cookie.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedInAnswer)]
pub(crate) struct SignedInResponse {
    /// The user.
    user: User,
    /// Their tenant.
    tenant: Tenant,
    /// For `Authorization: Bearer`.
    access_token: String,
    /// When the access token runs out.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    expires_at: Timestamp,
}

/// Single-use admission to the socket.
#[derive(Serialize, ToSchema)]
#[schema(as = TicketAnswer)]
pub(crate) struct TicketResponse {
    /// For `GET /ws?ticket=`.
    ticket: String,
    /// How long it can be redeemed, in seconds.
    expires_in: u64,
}

/// The response that carries a login: the cookies, and what scripts may know of it.
fn signed_in(state: &AppState, status: StatusCode, login: IssuedLogin) -> HttpResponse {
    let mut response = HttpResponse::build(status).finish();
    cookies::set(&mut response, &login, state.config.http.secure_cookies);
    let headers = response.headers().clone();
    let mut response = HttpResponse::build(status).json(SignedInResponse {
        user: login.user,
        tenant: login.tenant,
        access_token: login.access_token,
        expires_at: login.expires_at,
    });
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    response
}

fn signed_out(state: &AppState) -> HttpResponse {
    let mut response = HttpResponse::NoContent().finish();
    cookies::clear(&mut response, state.config.http.secure_cookies);
    response
}

/// Sign up.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = RegisterInput,
    responses((status = 201, body = SignedInResponse)), security(()))]
pub(crate) async fn register(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<RegisterInput>,
) -> Result<HttpResponse, Error> {
    let RegisterInput {
        email,
        password,
        name,
        workspace,
        invite,
    } = input.0;
    let new = Registration {
        email,
        password,
        name,
        workspace,
        invite,
    };
    let address = state.client_address(&request);
    let login = state.onboarding.register(new, address).await?;
    Ok(signed_in(&state, StatusCode::CREATED, login))
}

/// Enter a conversation as a guest.
#[utoipa::path(post, path = "/auth/guest", tag = "auth", request_body = GuestInput,
    responses((status = 201, body = SignedInResponse)), security(()))]
pub(crate) async fn guest(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<GuestInput>,
) -> Result<HttpResponse, Error> {
    let GuestInput { name, invite } = input.0;
    let address = state.client_address(&request);
    let login = state.onboarding.register_guest(&name, &invite, address).await?;
    Ok(signed_in(&state, StatusCode::CREATED, login))
}

/// Sign in.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LoginInput,
    responses((status = 200, body = SignedInResponse)), security(()))]
pub(crate) async fn login(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<LoginInput>,
) -> Result<HttpResponse, Error> {
    let LoginInput { email, password } = input.0;
    let address = state.client_address(&request);
    if let Some(guards) = &state.flood_guards
        && !state.auth.is_known_login(&email, address)
    {
        guards.check_login(address.into())?;
    }
    let login = state.auth.login(&email, password, address).await?;
    Ok(signed_in(&state, StatusCode::OK, login))
}

/// Exchange the refresh cookie for new tokens.
///
/// If the answer was lost, the same may be asked once more within 60 seconds, as long as the new token was not used. Any
/// other use of a refresh token that was used before revokes its login.
///
/// The cookie is `SameSite=Strict` and goes nowhere else, so a client that is no browser needs no `Origin` here; a foreign
/// page is refused all the same.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth",
    responses((status = 200, body = SignedInResponse)), security(("refresh" = [])))]
pub(crate) async fn refresh(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    origin::refuse_foreign_page(&request, &state)?;
    let tokens = cookies::refresh_tokens(request.headers(), state.config.http.secure_cookies);
    if tokens.is_empty() {
        return Err(Error::new(Code::Unauthenticated));
    }
    let renewed = state.auth.refresh(&tokens).await?;
    Ok(signed_in(&state, StatusCode::OK, renewed))
}

/// Sign out: this login is over everywhere within five seconds.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204)))]
pub(crate) async fn logout(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    let (user_id, session_id) = login_to_end(&request, &state).await?;
    state.auth.logout(user_id, session_id).await?;
    Ok(signed_out(&state))
}

/// The login of a request, also when only its refresh cookie is still good.
async fn login_to_end(request: &HttpRequest, state: &AppState) -> Result<(UserId, SessionId), Error> {
    match caller::authenticate(request, state).await {
        Ok(caller) => {
            let session_id = caller.session_id().ok_or(auth::Error::NeedsSession)?;
            Ok((caller.user_id, session_id))
        }
        // The access token has run out, the login has not.
        Err(error) => {
            let tokens = cookies::refresh_tokens(request.headers(), state.config.http.secure_cookies);
            if tokens.is_empty() || error.code() != Code::Unauthenticated {
                return Err(error);
            }
            origin::refuse_foreign_page(request, state)?;
            Ok(state.auth.find_refresh_token(&tokens).await?)
        }
    }
}

/// Sign out of all logins of this user; with `keys`, their API keys are deleted too.
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", request_body = Option<LogoutAllInput>,
    responses((status = 204)))]
pub(crate) async fn logout_all(
    state: web::Data<AppState>,
    caller: Caller,
    input: OptionalJsonBody<LogoutAllInput>,
) -> Result<HttpResponse, Error> {
    let keys = if input.0.keys { Keys::End } else { Keys::Keep };
    state.auth.logout_all(&caller, keys).await?;
    Ok(signed_out(&state))
}

/// A ticket for the socket: single use, 30 seconds.
#[utoipa::path(post, path = "/auth/ticket", tag = "auth", responses((status = 200, body = TicketResponse)))]
pub(crate) async fn ticket(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    let ticket = state.auth.issue_ticket(&caller).await?;
    let response = TicketResponse {
        ticket: ticket.ticket,
        expires_in: ticket.expires_in.as_secs(),
    };
    Ok(HttpResponse::Ok().json(response))
}
