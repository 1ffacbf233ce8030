//! The caller's tenant, and the invitations of all its conversations.

use crate::http::request::caller::Caller;
use crate::http::request::cursor;
use crate::http::request::json_body::JsonBody;
use crate::http::request::page::page_limit;
use crate::http::request::params::{PathParams, QueryString};
use crate::http::response::error::Error;
use crate::http::response::page::cut_page;
use crate::http::state::AppState;
use crate::ids::{Admission, ConversationId, InviteId, UserId};
use crate::tenants::{InviteFilter, TenantInvite, TenantPatch, TenantView};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What admins change about the tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Whose invitations let people from outside sign up as members.
    admits_members: Option<Admission>,
    /// Whose invitations let people from outside in as guests.
    admits_guests: Option<Admission>,
}

/// A page of the tenant's invitations.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantInvitePage {
    /// The invitations that were not withdrawn, newest first.
    items: Vec<TenantInvite>,
    /// The `cursor` of the next page, if there is one.
    next: Option<String>,
}

/// Which page of which invitations.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantInviteQuery {
    /// 1–100, default 50.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// Where the page before ended: its `next`.
    cursor: Option<String>,
    /// Only those that this user made.
    created_by: Option<UserId>,
    /// Only those to this conversation.
    conversation: Option<ConversationId>,
}

/// Which invitations are withdrawn; all of the tenant, unless said.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WithdrawQuery {
    /// Only those that this user made.
    created_by: Option<UserId>,
    /// Only those to this conversation.
    conversation: Option<ConversationId>,
}

/// How many invitations were withdrawn.
#[derive(Serialize, ToSchema)]
pub(crate) struct Withdrawn {
    withdrawn: i64,
}

/// The caller's tenant.
#[utoipa::path(get, path = "/api/tenant", tag = "people", responses((status = 200, body = TenantView)))]
pub(crate) async fn show(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Error> {
    Ok(HttpResponse::Ok().json(state.tenants.tenant(&caller).await?))
}

/// Change the tenant's name, or whom it admits; for owners and admins.
#[utoipa::path(patch, path = "/api/tenant", tag = "people", request_body = TenantInput,
    responses((status = 200, body = TenantView)))]
pub(crate) async fn update(
    state: web::Data<AppState>,
    caller: Caller,
    input: JsonBody<TenantInput>,
) -> Result<HttpResponse, Error> {
    let TenantInput {
        name,
        admits_members,
        admits_guests,
    } = input.0;
    if name.is_none() && admits_members.is_none() && admits_guests.is_none() {
        return show(state, caller).await;
    }
    let patch = TenantPatch {
        name,
        admits_members,
        admits_guests,
    };
    Ok(HttpResponse::Ok().json(state.tenants.update_tenant(&caller, patch).await?))
}

/// The open invitations of all conversations, without their codes; for owners and admins.
#[utoipa::path(get, path = "/api/tenant/invites", tag = "invites", params(TenantInviteQuery),
    responses((status = 200, body = TenantInvitePage)))]
pub(crate) async fn list_invites(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<TenantInviteQuery>,
) -> Result<HttpResponse, Error> {
    let limit = page_limit(query.0.limit)?;
    let from = query.0.cursor.as_deref().map(cursor::parse).transpose()?;
    let from = from.map(|(at, id)| (at, InviteId(id)));
    let filter = InviteFilter {
        created_by: query.0.created_by,
        conversation: query.0.conversation,
    };
    let items = state.tenants.list_invites(&caller, filter, limit, from).await?;
    let (items, next) = cut_page(items, limit, |last| cursor::after(last.created_at, last.id.0));
    Ok(HttpResponse::Ok().json(TenantInvitePage { items, next }))
}

/// Withdraw all open invitations of the tenant, or those of a user or to a conversation; for owners and admins.
#[utoipa::path(delete, path = "/api/tenant/invites", tag = "invites", params(WithdrawQuery),
    responses((status = 200, body = Withdrawn)))]
pub(crate) async fn withdraw_invites(
    state: web::Data<AppState>,
    caller: Caller,
    query: QueryString<WithdrawQuery>,
) -> Result<HttpResponse, Error> {
    let WithdrawQuery {
        created_by,
        conversation,
    } = query.0;
    let filter = InviteFilter {
        created_by,
        conversation,
    };
    let withdrawn = state.tenants.withdraw_invites(&caller, filter).await?;
    Ok(HttpResponse::Ok().json(Withdrawn { withdrawn }))
}

/// Withdraw an invitation of any conversation of the tenant; for owners and admins.
#[utoipa::path(delete, path = "/api/tenant/invites/{invite_id}", tag = "invites",
    params(("invite_id" = InviteId, Path, description = "The invitation")), responses((status = 204)))]
pub(crate) async fn withdraw_invite(
    state: web::Data<AppState>,
    caller: Caller,
    invite: PathParams<InviteId>,
) -> Result<HttpResponse, Error> {
    state.tenants.withdraw_invite(&caller, invite.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
