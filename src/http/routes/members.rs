//! Members of a conversation over REST.

use crate::conversations::Request;
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{PageQuery, page_limit};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::{ConversationId, MemberRole, UserId};
use crate::wire::frames::MemberUser;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of members.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberPage {
    /// The members, in the order of their ids.
    items: Vec<MemberUser>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// Who is added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberInput {
    /// A user of the tenant.
    user_id: UserId,
    /// `member` unless said otherwise; only owners give other roles.
    role: Option<MemberRole>,
}

/// What changes about a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberPatch {
    /// The new role.
    role: MemberRole,
}

/// The members.
#[utoipa::path(get, path = "/api/conversations/{id}/members", tag = "members",
    params(("id" = ConversationId, Path, description = "The conversation"), PageQuery),
    responses((status = 200, body = MemberPage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    query: QueryString<PageQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let from = query.0.cursor.as_deref().map(cursor::parse_id).transpose()?.map(UserId);
    let items = state.conversations.members(caller.access(), id.0, limit, from).await?;
    let (items, next) = cut_page(items, limit, |last| last.id.to_string());
    Ok(HttpResponse::Ok().json(MemberPage { items, next }))
}

/// Add a member; for moderators and owners.
#[utoipa::path(post, path = "/api/conversations/{id}/members", tag = "members",
    params(("id" = ConversationId, Path, description = "The conversation")),
    request_body = MemberInput, responses((status = 201, body = MemberUser)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    input: JsonBody<MemberInput>,
) -> Result<HttpResponse, Error> {
    let MemberInput { user_id, role } = input.0;
    state
        .conversations
        .add_member(caller.access(), id.0, user_id, role)
        .await?;
    Ok(HttpResponse::Created().json(state.conversations.member(caller.access(), id.0, user_id).await?))
}

/// Give a member another role; for owners.
#[utoipa::path(patch, path = "/api/conversations/{id}/members/{user_id}", tag = "members",
    params(("id" = ConversationId, Path, description = "The conversation"),
           ("user_id" = UserId, Path, description = "The member")),
    request_body = MemberPatch, responses((status = 200, body = MemberUser)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    path: PathParams<(ConversationId, UserId)>,
    input: JsonBody<MemberPatch>,
) -> Result<HttpResponse, Error> {
    let (id, user_id) = path.0;
    let request = Request::ChangeMember {
        user_id,
        role: input.0.role,
    };
    state.conversations.change(caller.access(), id, request).await?;
    Ok(HttpResponse::Ok().json(state.conversations.member(caller.access(), id, user_id).await?))
}

/// Remove a member, or leave.
#[utoipa::path(delete, path = "/api/conversations/{id}/members/{user_id}", tag = "members",
    params(("id" = ConversationId, Path, description = "The conversation"),
           ("user_id" = UserId, Path, description = "The member")), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    path: PathParams<(ConversationId, UserId)>,
) -> Result<HttpResponse, Error> {
    let (id, user_id) = path.0;
    state
        .conversations
        .change(caller.access(), id, Request::RemoveMember { user_id })
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
