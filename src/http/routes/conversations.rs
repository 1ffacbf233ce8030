//! Conversations over REST: the caller's list, making, renaming, deleting.

use crate::auth::check_name;
use crate::conversations::{self, LEAVES_MAX, Left, Request, Return, Summary};
use crate::error::Code;
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{PageQuery, page_limit};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::{ConversationId, UserId};
use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of conversations.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationPage {
    /// The conversations, newest activity first.
    items: Vec<Summary>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// A new conversation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConversationInput {
    /// 1–200 bytes.
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    /// Who else is in it from the start.
    members: Option<Vec<UserId>>,
}

/// What changes about a conversation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConversationPatch {
    /// 1–200 bytes.
    #[schema(min_length = 1, max_length = 200)]
    title: Option<String>,
}

/// Which conversations are left.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaveInput {
    /// 1–100 of the caller's conversations.
    #[schema(min_items = 1, max_items = 100)]
    conversations: Vec<ConversationId>,
    /// Whether nobody may add the caller to them again; default false. An invitation still brings them back.
    decline: Option<bool>,
}

/// What became of each.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaveResponse {
    /// In the order of the request.
    items: Vec<LeftItem>,
}

/// What became of a conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeftItem {
    /// The conversation.
    conversation: ConversationId,
    /// Why it was not left; missing where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<LeaveError>,
}

/// Why a conversation was not left.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaveError {
    /// As in problem documents.
    code: Code,
    /// For people.
    message: &'static str,
}

/// The caller's conversations, newest activity first.
#[utoipa::path(get, path = "/api/conversations", tag = "conversations", params(PageQuery),
    responses((status = 200, body = ConversationPage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<PageQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let caller = caller.access();
    let body = match query.0.cursor.as_deref().map(cursor::parse).transpose()? {
        None => {
            let encode = move |items| encode(items, limit);
            state.conversations.first_page(caller, limit, encode).await?
        }
        Some((at, id)) => {
            let from = Some((at, ConversationId(id)));
            let items = state.conversations.list(caller, limit, from).await?;
            encode(items, limit).map_err(conversations::Error::from)?.into()
        }
    };
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}

/// A page as JSON.
fn encode(items: Vec<Summary>, limit: i64) -> serde_json::Result<Vec<u8>> {
    let (items, next) = cut_page(items, limit, |last| cursor::after(last.active_at(), last.id.0));
    serde_json::to_vec(&ConversationPage { items, next })
}

/// Make a conversation; the caller is its owner. Not for guests.
#[utoipa::path(post, path = "/api/conversations", tag = "conversations", request_body = ConversationInput,
    responses((status = 201, body = Summary)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<ConversationInput>,
) -> Result<HttpResponse, Error> {
    let title = check_name("title", &input.0.title)?;
    let members = input.0.members.unwrap_or_default();
    let id = state.conversations.create(caller.access(), title, &members).await?;
    Ok(HttpResponse::Created().json(state.conversations.summary(caller.access(), id).await?))
}

/// One conversation.
#[utoipa::path(get, path = "/api/conversations/{id}", tag = "conversations",
    params(("id" = ConversationId, Path, description = "The conversation")),
    responses((status = 200, body = Summary)))]
pub(crate) async fn show(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(state.conversations.summary(caller.access(), id.0).await?))
}

/// Rename a conversation; for moderators and owners.
#[utoipa::path(patch, path = "/api/conversations/{id}", tag = "conversations",
    params(("id" = ConversationId, Path, description = "The conversation")),
    request_body = ConversationPatch, responses((status = 200, body = Summary)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
    input: JsonBody<ConversationPatch>,
) -> Result<HttpResponse, Error> {
    if let Some(title) = &input.0.title {
        let title = check_name("title", title)?.into();
        state
            .conversations
            .change(caller.access(), id.0, Request::Rename { title })
            .await?;
    }
    show(state, caller, id).await
}

/// Delete a conversation for everyone; for owners.
#[utoipa::path(delete, path = "/api/conversations/{id}", tag = "conversations",
    params(("id" = ConversationId, Path, description = "The conversation")), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ConversationId>,
) -> Result<HttpResponse, Error> {
    state
        .conversations
        .change(caller.access(), id.0, Request::DeleteConversation)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Leave conversations, up to a hundred with one request. Each by itself: what one refuses does not concern the others.
#[utoipa::path(post, path = "/api/conversations/leave", tag = "conversations", request_body = LeaveInput,
    responses((status = 200, body = LeaveResponse)))]
pub(crate) async fn leave(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<LeaveInput>,
) -> Result<HttpResponse, Error> {
    let LeaveInput { conversations, decline } = input.0;
    if !(1..=LEAVES_MAX).contains(&conversations.len()) {
        return Err(Error::field("conversations", format!("1 to {LEAVES_MAX}.")));
    }
    let way_back = match decline {
        Some(true) => Return::Declined,
        Some(false) | None => Return::Allowed,
    };
    let left = state
        .conversations
        .leave(caller.access(), &conversations, way_back)
        .await?;
    let items = left.into_iter().map(left_item).collect();
    Ok(HttpResponse::Ok().json(LeaveResponse { items }))
}

fn left_item(Left { conversation, result }: Left) -> LeftItem {
    let error = result.err().map(|error| LeaveError {
        code: error.code(),
        message: error.message(),
    });
    LeftItem { conversation, error }
}
