//! Which route a request is for, and what `routes/access.rs` declares about it.
//!
//! The request log looks it up once, before anything else, and puts it into the request's
//! extensions. So it is also known of a request that runs out of time. A request without a route
//! has the default limits.

use crate::http::routes::access::{self, RouteAccess, RouteLimits};
use actix_web::{HttpMessage, HttpRequest};
use std::rc::Rc;

/// The route of a request.
#[derive(Debug)]
pub(crate) struct MatchedRoute {
    /// As in the route table; `None` where there is no route. Never the path, which may hold
    /// secrets.
    pub(crate) pattern: Option<String>,
    pub(crate) access: RouteAccess,
    pub(crate) limits: RouteLimits,
}

impl MatchedRoute {
    /// Looks the route up by method and path.
    pub(crate) fn find(request: &HttpRequest) -> Self {
        let pattern = request.match_pattern();
        let route = access::find(request.method().as_str(), pattern.as_deref().unwrap_or_default());
        Self {
            access: route.map_or(RouteAccess::UNDECIDED, |route| route.access),
            limits: route.map_or(RouteLimits::DEFAULT, |route| route.limits),
            pattern,
        }
    }

    /// What was looked up before; looked up now in tests that have no request log.
    pub(crate) fn of(request: &HttpRequest) -> Rc<Self> {
        let known = request.extensions().get::<Rc<Self>>().cloned();
        known.unwrap_or_else(|| Rc::new(Self::find(request)))
    }
}
