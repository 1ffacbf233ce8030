//! The route table: every path of the node, its methods, and their handlers.
//!
//! When you add a route: a line here, its row in `access.rs`, `documents/openapi.rs`,
//! `docs/protocol.md`.

use super::{
    analytics, analytics_export, analytics_latency, auth, blocks, conversations, health, invites, keys, me, members,
    messages, metrics, pages, search, socket, tenant, users,
};
use crate::error::Code;
use crate::http::documents::asyncapi::document as asyncapi;
use crate::http::documents::openapi;
use crate::http::response::error::Error;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Scope};

pub(crate) fn routes() -> Scope {
    web::scope("")
        .configure(pages_and_socket)
        .configure(signing_in)
        .configure(people)
        .configure(talk)
        .configure(numbers)
        .configure(operations)
        .default_service(web::to(not_found))
}

fn pages_and_socket(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/").get(pages::index))
        .service(to("/analytics").get(pages::index))
        .service(to("/i/{code}").get(pages::index))
        // With what was added to a link on its way; the page finds the code.
        .service(to("/i/{code}/{rest:.*}").get(pages::index))
        .service(to("/docs").get(pages::docs))
        .service(to("/docs/socket").get(pages::docs_socket))
        .service(to("/static/{hash}/{path:.*}").get(pages::file))
        .service(to("/ws").get(socket::open));
}

fn signing_in(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/auth/register").post(auth::register))
        .service(to("/auth/login").post(auth::login))
        .service(to("/auth/refresh").post(auth::refresh))
        .service(to("/auth/logout").post(auth::logout))
        .service(to("/auth/logout-all").post(auth::logout_all))
        .service(to("/auth/guest").post(auth::guest))
        .service(to("/auth/ticket").post(auth::ticket))
        .service(to("/api/keys").get(keys::list).post(keys::create))
        .service(to("/api/keys/{id}").delete(keys::delete));
}

fn people(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/api/me").get(me::show).patch(me::update))
        .service(to("/api/me/blocks").get(blocks::list).post(blocks::create))
        .service(to("/api/me/blocks/{user_id}").delete(blocks::delete))
        .service(to("/api/me/password").post(me::change_password))
        .service(to("/api/tenant").get(tenant::show).patch(tenant::update))
        .service(
            to("/api/tenant/invites")
                .get(tenant::list_invites)
                .delete(tenant::withdraw_invites),
        )
        .service(to("/api/tenant/invites/{invite_id}").delete(tenant::withdraw_invite))
        .service(to("/api/users").get(users::list))
        .service(to("/api/users/{id}").get(users::show).patch(users::update));
}

fn talk(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(
            to("/api/conversations")
                .get(conversations::list)
                .post(conversations::create),
        )
        .service(to("/api/conversations/leave").post(conversations::leave))
        .service(
            to("/api/conversations/{id}")
                .get(conversations::show)
                .patch(conversations::update)
                .delete(conversations::delete),
        )
        .service(
            to("/api/conversations/{id}/messages")
                .get(messages::list)
                .post(messages::create),
        )
        .service(
            to("/api/conversations/{id}/messages/{message_id}")
                .patch(messages::update)
                .delete(messages::delete),
        )
        .service(
            to("/api/conversations/{id}/members")
                .get(members::list)
                .post(members::create),
        )
        .service(
            to("/api/conversations/{id}/members/{user_id}")
                .patch(members::update)
                .delete(members::delete),
        )
        .service(
            to("/api/conversations/{id}/invites")
                .get(invites::list)
                .post(invites::create),
        )
        .service(to("/api/conversations/{id}/invites/{invite_id}").delete(invites::delete))
        .service(to("/api/invites/{code}/accept").post(invites::accept))
        .service(to("/api/search").get(search::search));
}

fn numbers(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/api/analytics/summary").get(analytics::summary))
        .service(to("/api/analytics/messages").get(analytics::messages))
        .service(to("/api/analytics/users/active").get(analytics::active_users))
        .service(to("/api/analytics/users/top").get(analytics::top_users))
        .service(to("/api/analytics/conversations/top").get(analytics::top_conversations))
        .service(to("/api/analytics/heatmap").get(analytics::heatmap))
        .service(to("/api/analytics/latency").get(analytics_latency::latency))
        .service(to("/api/analytics/export").get(analytics_export::export))
        .service(to("/api/me/usage").get(analytics::usage));
}

fn operations(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/health").get(health::health))
        .service(to("/health/live").get(health::live))
        .service(to("/health/ready").get(health::ready))
        .service(to("/metrics").get(metrics::metrics))
        .service(to("/openapi.json").get(openapi::show))
        .service(to("/asyncapi.json").get(asyncapi::show));
}

/// For everything that has no route.
pub(crate) async fn not_found() -> Result<HttpResponse, Error> {
    Err(Error::new(Code::NotFound))
}
