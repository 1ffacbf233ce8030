//! API keys over REST: made, listed and deleted by people who are signed in.

use crate::auth::{ApiKey, NewApiKey, Scope};
use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{PageQuery, page_limit};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::request::payer::Expensive;
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::ApiKeyId;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyPage {
    /// The caller's keys, newest first; also those that ran out within the last 30 days.
    items: Vec<ApiKey>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyInput {
    /// What it is called in the list.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What it is for, at least one; not more than the caller's role gives.
    scopes: Vec<Scope>,
    /// When it runs out, at most ten years from now; never, unless said.
    expires_at: Option<DateTime<Utc>>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedKeyAnswer)]
pub(crate) struct IssuedKeyResponse {
    /// The key, as it is listed.
    #[serde(flatten)]
    key: ApiKey,
    /// For `Authorization: Bearer`. It is shown here and never again.
    secret: String,
}

/// The caller's API keys; not with an API key.
#[utoipa::path(get, path = "/api/keys", tag = "keys", params(PageQuery), responses((status = 200, body = KeyPage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<PageQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let from = query.0.cursor.as_deref().map(cursor::parse).transpose()?;
    let from = from.map(|(at, id)| (at, ApiKeyId(id)));
    let items = state.auth.list_api_keys(&caller, limit, from).await?;
    let (items, next) = cut_page(items, limit, |last| cursor::after(last.created_at, last.id.0));
    Ok(HttpResponse::Ok().json(KeyPage { items, next }))
}

/// Make an API key; not for guests, and not with an API key.
#[utoipa::path(post, path = "/api/keys", tag = "keys", request_body = KeyInput,
    responses((status = 201, body = IssuedKeyResponse)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    caller: Caller,
    _: Expensive,
    input: JsonBody<KeyInput>,
) -> Result<HttpResponse, Error> {
    let KeyInput {
        name,
        scopes,
        expires_at,
    } = input.0;
    let new = NewApiKey {
        name,
        scopes: scopes.into_iter().collect(),
        expires_at,
    };
    let issued = state.auth.create_api_key(&caller, &new).await?;
    let response = IssuedKeyResponse {
        key: issued.key,
        secret: issued.secret.expose().to_owned(),
    };
    Ok(HttpResponse::Created().json(response))
}

/// Delete an API key: it is refused everywhere within five seconds, and its sockets are closed. Not with an API key.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "keys",
    params(("id" = ApiKeyId, Path, description = "The key")), responses((status = 204)))]
pub(crate) async fn delete(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<ApiKeyId>,
) -> Result<HttpResponse, Error> {
    state.auth.delete_api_key(&caller, id.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
