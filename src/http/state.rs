//! The handles that routes and middleware use: one value for the process, shared by all workers.
//!
//! It is put together in `app.rs` and keeps nothing itself but what its parts keep.

use crate::analytics::{Analytics, Exports, Latencies};
use crate::auth::Auth;
use crate::bus::Bus;
use crate::cache::CacheHandle;
use crate::commit::CommitHandle;
use crate::config::Config;
use crate::conversations::ConversationsHandle;
use crate::database::Database;
use crate::error::Code;
use crate::http::assets::files::Assets;
use crate::http::middleware::flood::FloodGuards;
use crate::http::request::client_address;
use crate::http::response::error::Error;
use crate::http::server::health::Health;
use crate::onboarding::Onboarding;
use crate::rate_limit::RateLimitHandle;
use crate::search::Search;
use crate::sessions::SessionsHandle;
use crate::tenants::Tenants;
use actix_web::{HttpRequest, web};
use std::net::IpAddr;
use std::sync::Arc;

/// The handles, each the narrowest that its users need.
pub struct AppState {
    pub auth: Auth,
    pub tenants: Tenants,
    /// For `/health/ready` and `/metrics` only; the features have their own.
    pub database: Database,
    /// For `/metrics` only.
    pub cache: CacheHandle,
    /// For `/metrics` only.
    pub bus: Arc<dyn Bus>,
    /// For `/metrics` only.
    pub commits: CommitHandle,
    pub conversations: ConversationsHandle,
    pub onboarding: Onboarding,
    pub search: Search,
    pub analytics: Analytics,
    pub latencies: Latencies,
    pub exports: Exports,
    pub sessions: SessionsHandle,
    /// The flood guard; `None` when limits are off.
    pub flood_guards: Option<FloodGuards>,
    pub limits: RateLimitHandle,
    pub health: Health,
    pub assets: Assets,
    /// Origins, cookies, trusted proxies, deadlines.
    pub config: Arc<Config>,
}

impl AppState {
    /// The state of the application that serves `request`.
    ///
    /// # Errors
    /// `internal` if the application was put together without it.
    pub fn of(request: &HttpRequest) -> Result<&Self, Error> {
        request
            .app_data::<web::Data<Self>>()
            .map(|data| &***data)
            .ok_or_else(|| Error::new(Code::Internal))
    }

    /// The address of the client behind `request`, which pays where nobody is known.
    #[must_use]
    pub fn client_address(&self, request: &HttpRequest) -> IpAddr {
        client_address::of(request, &self.config.limits.trusted_proxies)
    }

    /// Whether people come by TLS: always, where cookies are for it only, or as a trusted proxy
    /// says of this request.
    #[must_use]
    pub fn comes_by_tls(&self, request: &HttpRequest) -> bool {
        self.config.http.secure_cookies || client_address::comes_by_tls(request, &self.config.limits.trusted_proxies)
    }
}
