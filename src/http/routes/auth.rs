//! Signing up, in and out over HTTP: thin routes over [`crate::auth::Auth`], and the cookies of
//! browsers.
//!
//! Joining by invite happens between making the user and signing them in, because the conversation
//! decides; a user who could not join is taken back, so that the address can be used again.

use crate::auth::{Account, IssuedLogin, LoginAttempt, Principal, Registration, Tenant, User};
use crate::error::Code;
use crate::http::request::caller::Caller;
use crate::http::request::cookies;
use crate::http::request::json_body::JsonBody;
use crate::http::request::{caller, origin};
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::wire::frames::{Timestamp, timestamp};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Signing up: into a tenant of one's own, or by invite into somebody else's.
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

/// Who is signed in, and the access token; the refresh token is only in its cookie.
#[derive(Serialize, ToSchema)]
pub(crate) struct SignedInAnswer {
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
pub(crate) struct TicketAnswer {
    /// For `GET /ws?ticket=`.
    ticket: String,
    /// How long it can be redeemed, in seconds.
    expires_in: u64,
}

fn signed_in(state: &AppState, status: StatusCode, signed_in: IssuedLogin) -> HttpResponse {
    let mut answer = HttpResponse::build(status).finish();
    cookies::set(&mut answer, &signed_in, state.config.http.secure_cookies);
    let IssuedLogin {
        user,
        tenant,
        access_token,
        expires_at,
        ..
    } = signed_in;
    let headers = answer.headers().clone();
    let mut answer = HttpResponse::build(status).json(SignedInAnswer {
        user,
        tenant,
        access_token,
        expires_at,
    });
    for (name, value) in headers {
        answer.headers_mut().append(name, value);
    }
    answer
}

fn signed_out(state: &AppState) -> HttpResponse {
    let mut answer = HttpResponse::NoContent().finish();
    cookies::clear(&mut answer, state.config.http.secure_cookies);
    answer
}

fn begin_sign_up(request: &HttpRequest, state: &AppState, account: &str) -> Result<LoginAttempt, Error> {
    let address = state.client_address(request);
    state.auth.begin_sign_up(account, address).map_err(Error::too_many)
}

/// Lets a fresh user join the invite's conversation, if there is one, and signs them in.
async fn enter(
    state: &AppState,
    account: Account,
    principal: &Principal,
    invite: Option<&str>,
) -> Result<HttpResponse, Error> {
    if let Some(code) = invite
        && let Err(error) = state.conversations.accept_invite(principal.access(), code).await
    {
        state.auth.discard(&account).await;
        return Err(error.into());
    }
    let opened = state.auth.open_session(account, principal).await?;
    Ok(signed_in(state, StatusCode::CREATED, opened))
}

/// Sign up.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = RegisterInput,
    responses((status = 201, body = SignedInAnswer)), security(()))]
pub(crate) async fn register(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<RegisterInput>,
) -> Result<HttpResponse, Error> {
    let JsonBody(RegisterInput {
        email,
        password,
        name,
        workspace,
        invite,
    }) = input;
    let new = Registration {
        email,
        password,
        name,
        workspace,
        invite: invite.clone(),
    };
    let attempt = begin_sign_up(&request, &state, &new.email)?;
    let (account, principal) = attempt.finish(state.auth.register(new).await)?;
    enter(&state, account, &principal, invite.as_deref()).await
}

/// Enter a conversation as a guest.
#[utoipa::path(post, path = "/auth/guest", tag = "auth", request_body = GuestInput,
    responses((status = 201, body = SignedInAnswer)), security(()))]
pub(crate) async fn guest(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<GuestInput>,
) -> Result<HttpResponse, Error> {
    let JsonBody(GuestInput { name, invite }) = input;
    // A class that comes by one invite from one network is many guests; one name that fails on and
    // on is one.
    let attempt = begin_sign_up(&request, &state, &format!("{name}\n{invite}"))?;
    let (account, principal) = attempt.finish(state.auth.register_guest(&name, &invite).await)?;
    enter(&state, account, &principal, Some(&invite)).await
}

/// Sign in.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LoginInput,
    responses((status = 200, body = SignedInAnswer)), security(()))]
pub(crate) async fn login(
    request: HttpRequest,
    state: web::Data<AppState>,
    input: JsonBody<LoginInput>,
) -> Result<HttpResponse, Error> {
    let JsonBody(LoginInput { email, password }) = input;
    let address = state.client_address(&request);
    let attempt = state.auth.begin_login(&email, address).map_err(Error::too_many)?;
    let opened = attempt.finish(state.auth.login(&email, password).await)?;
    Ok(signed_in(&state, StatusCode::OK, opened))
}

/// Exchange the refresh cookie for new tokens. A refresh token that was used before revokes its login.
///
/// The cookie is `SameSite=Strict` and goes nowhere else, so a client that is no browser needs no `Origin` here; a foreign
/// page is refused all the same.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth",
    responses((status = 200, body = SignedInAnswer)), security(("refresh" = [])))]
pub(crate) async fn refresh(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    origin::refuse_foreign_page(&request, &state.config.http.allowed_origins)?;
    let cookie = request
        .cookie(cookies::REFRESH)
        .ok_or_else(|| Error::new(Code::Unauthenticated))?;
    let renewed = state.auth.refresh(cookie.value()).await?;
    Ok(signed_in(&state, StatusCode::OK, renewed))
}

/// Sign out: this login is over everywhere within five seconds.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204)))]
pub(crate) async fn logout(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    let (user_id, session_id) = match caller::authenticate(&request, &state).await {
        Ok(caller) => {
            let session_id = caller.session_id().ok_or(crate::auth::Error::NeedsSession)?;
            (caller.user_id, session_id)
        }
        // The access token has run out, the login has not.
        Err(error) => match request.cookie(cookies::REFRESH) {
            Some(cookie) if error.code() == Code::Unauthenticated => {
                origin::refuse_foreign_page(&request, &state.config.http.allowed_origins)?;
                state.auth.find_refresh_token(cookie.value()).await?
            }
            _ => return Err(error),
        },
    };
    state.auth.logout(user_id, session_id).await?;
    Ok(signed_out(&state))
}

/// Sign out of all logins of this user.
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", responses((status = 204)))]
pub(crate) async fn logout_all(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    state.auth.logout_all(caller.user_id).await?;
    Ok(signed_out(&state))
}

/// A ticket for the socket: single use, 30 seconds.
#[utoipa::path(post, path = "/auth/ticket", tag = "auth", responses((status = 200, body = TicketAnswer)))]
pub(crate) async fn ticket(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    let ticket = state.auth.issue_ticket(&caller).await?;
    let answer = TicketAnswer {
        ticket: ticket.ticket,
        expires_in: ticket.expires_in.as_secs(),
    };
    Ok(HttpResponse::Ok().json(answer))
}
