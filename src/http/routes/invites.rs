//! Invitations over REST.

use crate::conversations::{Invite, Summary};
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{PageQuery, page_limit};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::{ConversationId, InviteId};
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most uses an invitation can be limited to.
const USES_MAX: i32 = 1_000_000;

/// The last year that RFC 3339 can write.
const YEAR_MAX: i32 = 9999;

/// A page of invitations.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitePage {
    /// The invitations that were not withdrawn, newest first.
    items: Vec<Invite>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// A new invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteInput {
    /// When it runs out; never, unless said.
    expires_at: Option<DateTime<Utc>>,
    /// How many may join by it; any number, unless said.
    #[schema(minimum = 1)]
    max_uses: Option<i32>,
}

/// The invitations of a conversation; for moderators and owners.
#[utoipa::path(get, path = "/api/conversations/{id}/invites", tag = "invites",
    params(("id" = ConversationId, Path, description = "The conversation"), PageQuery),
    responses((status = 200, body = InvitePage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    query: QueryString<PageQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let from = query.0.cursor.as_deref().map(cursor::parse).transpose()?;
    let from = from.map(|(at, id)| (at, InviteId(id)));
    let items = state
        .conversations
        .list_invites(caller.access(), id.0, limit, from)
        .await?;
    let (items, next) = cut_page(items, limit, |last| cursor::after(last.created_at, last.id.0));
    Ok(HttpResponse::Ok().json(InvitePage { items, next }))
}

/// Make an invitation; for moderators and owners.
#[utoipa::path(post, path = "/api/conversations/{id}/invites", tag = "invites",
    params(("id" = ConversationId, Path, description = "The conversation")),
    request_body = InviteInput, responses((status = 201, body = Invite)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    input: JsonBody<InviteInput>,
) -> Result<HttpResponse, Error> {
    let InviteInput { expires_at, max_uses } = input.0;
    if expires_at.is_some_and(|at| at <= Utc::now()) {
        return Err(Error::field("expires_at", "Not in the past."));
    }
    if expires_at.is_some_and(|at| at.year() > YEAR_MAX) {
        return Err(Error::field("expires_at", "Too far away."));
    }
    if max_uses.is_some_and(|uses| !(1..=USES_MAX).contains(&uses)) {
        return Err(Error::field("max_uses", format!("1 to {USES_MAX}.")));
    }
    let invite = state
        .conversations
        .create_invite(caller.access(), id.0, expires_at, max_uses)
        .await?;
    Ok(HttpResponse::Created().json(invite))
}

/// Withdraw an invitation; who joined by it stays.
#[utoipa::path(delete, path = "/api/conversations/{id}/invites/{invite_id}", tag = "invites",
    params(("id" = ConversationId, Path, description = "The conversation"),
           ("invite_id" = InviteId, Path, description = "The invitation")), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    path: PathParams<(ConversationId, InviteId)>,
) -> Result<HttpResponse, Error> {
    let (id, invite) = path.0;
    state.conversations.withdraw_invite(caller.access(), id, invite).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Join the conversation of an invitation; again costs nothing.
#[utoipa::path(post, path = "/api/invites/{code}/accept", tag = "invites",
    params(("code" = String, Path, description = "The code of the link")), responses((status = 200, body = Summary)))]
pub(crate) async fn accept(
    state: web::Data<AppState>,
    caller: Caller,
    code: PathParams<String>,
) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(state.onboarding.accept_invite(caller.access(), &code.0).await?))
}
