//! The people of the caller's tenant.

use crate::auth::{EMAIL_BYTES_MAX, UserChange};
use crate::http::request::caller::Caller;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::{page_limit, page_offset};
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::{Role, Tier, UserId, UserStatus};
use crate::tenants::{Guests, UserFilter, UserPatch, UserView};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Ids in one question.
const IDS_MAX: usize = 100;

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserPage {
    /// The users; admins see all of them, others id, name and kind.
    items: Vec<UserView>,
    /// The `offset` of the next page, if there is one.
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UserQuery {
    /// 1–100, default 50.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// How many to leave out.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// Only these, by commas; at most 100.
    #[param(max_length = 3_699)]
    ids: Option<String>,
    /// Only those with a word that begins so, in the name or the address. Of an address that the caller may not see, it
    /// has to be all of it.
    #[param(min_length = 1, max_length = 254)]
    q: Option<String>,
    /// Whether guests are listed; default false.
    guests: Option<bool>,
}

impl UserQuery {
    /// What is looked for, and how many of it.
    fn into_filter(self) -> Result<(UserFilter, i64), Error> {
        let ids = self.ids.as_deref().map(parse_ids).transpose()?;
        let limit = page_limit(self.limit.or(ids.is_some().then_some(IDS_MAX as i64)))?;
        let q = self.q.map(|q| q.trim().to_owned());
        if q.as_ref()
            .is_some_and(|q| q.is_empty() || q.len() > EMAIL_BYTES_MAX || q.contains('\0'))
        {
            return Err(Error::field("q", format!("1 to {EMAIL_BYTES_MAX} bytes, no NUL.")));
        }
        let guests = match self.guests {
            Some(true) => Guests::Listed,
            Some(false) | None => Guests::LeftOut,
        };
        Ok((UserFilter { ids, q, guests }, limit))
    }
}

fn parse_ids(text: &str) -> Result<Vec<UserId>, Error> {
    let refused = || Error::field("ids", format!("1 to {IDS_MAX} ids, by commas."));
    let ids: Result<Vec<UserId>, _> = text
        .split(',')
        .take(IDS_MAX + 1)
        .map(|id| id.trim().parse::<Uuid>().map(UserId))
        .collect();
    match ids {
        Ok(ids) if ids.len() <= IDS_MAX => Ok(ids),
        _ => Err(refused()),
    }
}

/// What is changed about a user; missing fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Role in the tenant.
    role: Option<Role>,
    /// Tier of the limits.
    tier: Option<Tier>,
    /// Suspended users are refused everywhere within five seconds.
    status: Option<UserStatus>,
}

/// The users of the tenant, oldest first, without guests unless they are asked for; not for guests.
#[utoipa::path(get, path = "/api/users", tag = "people", params(UserQuery),
    responses((status = 200, body = UserPage)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<UserQuery>,
) -> Result<HttpResponse, Error> {
    let offset = page_offset(query.0.offset)?;
    let (filter, limit) = query.0.into_filter()?;
    let items = state.tenants.list_users(&caller, &filter, limit, offset).await?;
    let (items, next) = cut_page(items, limit, |_| (offset + limit).to_string());
    Ok(HttpResponse::Ok().json(UserPage { items, next }))
}

/// One user.
#[utoipa::path(get, path = "/api/users/{id}", tag = "people", params(("id" = UserId, Path, description = "The user")),
    responses((status = 200, body = UserView)))]
pub(crate) async fn show(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<UserId>,
) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(state.tenants.user(&caller, id.0).await?))
}

/// Change a user; for owners and admins, within their own role.
#[utoipa::path(patch, path = "/api/users/{id}", tag = "people", params(("id" = UserId, Path, description = "The user")),
    request_body = UserInput, responses((status = 200, body = UserView)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    id: PathParams<UserId>,
    input: JsonBody<UserInput>,
) -> Result<HttpResponse, Error> {
    let UserInput {
        name,
        role,
        tier,
        status,
    } = input.0;
    let patch = UserPatch {
        name,
        change: UserChange { role, tier, status },
    };
    Ok(HttpResponse::Ok().json(state.tenants.update_user(&caller, id.0, &patch).await?))
}
