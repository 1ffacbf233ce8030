//! Whom the caller has blocked: who does not add them to conversations.

use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{PageQuery, page_limit};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::UserId;
use crate::tenants::BlockedUser;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of blocked users.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlockPage {
    /// The users, blocked last first.
    items: Vec<BlockedUser>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// Who is blocked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockInput {
    /// A user of the tenant.
    user_id: UserId,
}

/// Whom the caller has blocked.
#[utoipa::path(get, path = "/api/me/blocks", tag = "people", params(PageQuery),
    responses((status = 200, body = BlockPage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<PageQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let from = query.0.cursor.as_deref().map(cursor::parse).transpose()?;
    let from = from.map(|(at, id)| (at, UserId(id)));
    let items = state.tenants.list_blocks(&caller, limit, from).await?;
    let (items, next) = cut_page(items, limit, |last| cursor::after(last.blocked_at, last.id.0));
    Ok(HttpResponse::Ok().json(BlockPage { items, next }))
}

/// Block a user: they do not add the caller to conversations. They are not told. Again is fine.
#[utoipa::path(post, path = "/api/me/blocks", tag = "people", request_body = BlockInput,
    responses((status = 201, body = BlockedUser)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<BlockInput>,
) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Created().json(state.tenants.block(&caller, input.0.user_id).await?))
}

/// Block a user no longer; again is fine.
#[utoipa::path(delete, path = "/api/me/blocks/{user_id}", tag = "people",
    params(("user_id" = UserId, Path, description = "The user")), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    user: PathParams<UserId>,
) -> Result<HttpResponse, Error> {
    state.tenants.unblock(&caller, user.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
