//! REST, the page and the documents: the route table and the order of the middleware, on one page.
//!
//! A request passes, outermost first: the envelope (request id, time taken, security headers, CORS, access log, the last
//! word on every error), the flood guard, compression, the bounds of its head and its time, the quotas, then routing and
//! the extractors of the handler (caller, JSON, query, path). Handlers are thin: they take typed input, call one feature,
//! and shape the answer. Nothing here keeps state but the flood guard and the table of connections; [`State`] is the
//! handles, put together in `app.rs`.
//!
//! When you add a route: the table below, `access.rs`, `openapi.rs`, `docs/protocol.md`.

pub mod access;
pub mod asyncapi;
mod auth;
mod bounds;
pub mod client_address;
mod compression;
mod connections;
mod conversations;
mod cookies;
mod cors;
mod cursor;
mod envelope;
mod error;
pub mod extract;
mod flood;
mod health;
mod invites;
mod keys;
mod limits;
mod me;
mod members;
mod messages;
pub mod openapi;
mod ops;
pub mod origin;
mod pages;
mod publish;
mod search;
mod security;
mod tenant;
mod users;
mod ws;

pub use connections::{Connections, Watch};
pub use error::{Error, FieldError, Problem};
pub use flood::Guards;
pub use health::{Check, Health, Need, Part};
pub use pages::Assets;

use crate::auth::Auth;
use crate::bus::Bus;
use crate::cache::Cache;
use crate::config::Config;
use crate::conversations::Conversations;
use crate::database::Database;
use crate::error::Code;
use crate::rate_limit::RateLimits;
use crate::search::Search;
use crate::sessions::Sessions;
use crate::tenants::Tenants;
use actix_governor::Governor;
use actix_web::web::{self, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, Scope, middleware};
use std::sync::Arc;

/// The handles that routes use; one for the process, shared by all workers.
pub struct State {
    /// Signing in and authentication.
    pub auth: Auth,
    /// Tenants and users.
    pub tenants: Tenants,
    /// For readiness.
    pub database: Database,
    /// For what is measured.
    pub cache: Cache,
    /// The same.
    pub bus: Arc<dyn Bus>,
    /// Conversations and what happens in them.
    pub conversations: Conversations,
    /// What was said.
    pub search: Search,
    /// Live sockets.
    pub sessions: Sessions,
    /// The flood guard, unless limits are off.
    pub guards: Option<Guards>,
    /// How much anybody may use.
    pub limits: RateLimits,
    /// What `/health` answers.
    pub health: Health,
    /// The page.
    pub assets: Assets,
    /// Origins, cookies.
    pub config: Arc<Config>,
}

impl State {
    /// The state of the application that serves `request`.
    ///
    /// # Errors
    /// `internal` if the application was put together without [`configure`].
    pub fn of(request: &HttpRequest) -> Result<&Self, Error> {
        request
            .app_data::<web::Data<Self>>()
            .map(|data| &***data)
            .ok_or_else(|| Error::new(Code::Internal))
    }
}

/// Puts everything onto an application. The factory of each worker calls it with the same `state`.
pub fn configure(config: &mut ServiceConfig, state: web::Data<State>) {
    let guards = state.guards.clone();
    config
        .app_data(state)
        .app_data(PayloadConfig::new(bounds::BODY_BYTES_MAX))
        // `OPTIONS *` and the like, which are no paths.
        .default_service(web::to(not_found).wrap(middleware::from_fn(envelope::envelope)));
    // The last wrap is the outermost.
    let routes = routes()
        .wrap(middleware::from_fn(limits::limits))
        .wrap(middleware::from_fn(bounds::bound))
        .wrap(middleware::from_fn(compression::compress));
    match guards {
        Some(Guards { all, auth }) => {
            let guarded = routes.wrap(Governor::new(&auth)).wrap(Governor::new(&all));
            config.service(guarded.wrap(middleware::from_fn(envelope::envelope)));
        }
        None => {
            config.service(routes.wrap(middleware::from_fn(envelope::envelope)));
        }
    }
}

/// Puts `/metrics` onto the application of the listener that has nothing else.
pub fn configure_metrics(config: &mut ServiceConfig, state: web::Data<State>) {
    let routes = web::scope("")
        .service(web::resource("/metrics").get(ops::scrape))
        .default_service(web::to(not_found));
    config
        .app_data(state)
        .service(routes.wrap(middleware::from_fn(envelope::envelope)));
}

fn routes() -> Scope {
    let routes = web::scope("");
    #[cfg(feature = "conformance")]
    let routes = routes.service(web::resource("/conformance").get(ws::echo));
    routes
        .configure(pages_and_socket)
        .configure(signing_in)
        .configure(people)
        .configure(talk)
        .configure(operations)
        .default_service(web::to(not_found))
}

fn pages_and_socket(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/").get(pages::index))
        .service(to("/i/{code}").get(pages::index))
        .service(to("/docs").get(pages::docs))
        .service(to("/docs/socket").get(pages::docs_socket))
        .service(to("/static/{hash}/{path:.*}").get(pages::file))
        .service(to("/ws").get(ws::open));
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
        .service(to("/api/tenant").get(tenant::show).patch(tenant::update))
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

fn operations(config: &mut ServiceConfig) {
    let to = web::resource::<&str>;
    config
        .service(to("/health").get(health::health))
        .service(to("/health/live").get(health::live))
        .service(to("/health/ready").get(health::ready))
        .service(to("/metrics").get(ops::metrics))
        .service(to("/openapi.json").get(openapi::show))
        .service(to("/asyncapi.json").get(asyncapi::show));
}

async fn not_found() -> Result<actix_web::HttpResponse, Error> {
    Err(Error::new(Code::NotFound))
}
