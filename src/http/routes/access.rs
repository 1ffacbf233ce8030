//! What is declared about each route: the credentials it needs, and the limits of size and time of
//! its requests. Pure.
//!
//! One row for each documented route of `table.rs`. The row of a request is looked up once, by
//! `request/matched_route.rs`. A route without a row is for people and has the default limits, so
//! that a new route is closed to keys until someone decides otherwise (a test finds it missing).
//! What a person or key may do within a route, by role and membership, is decided by the feature
//! that its handler calls.
//!
//! An upload or a stream gets other limits in its row: `Route { limits: RouteLimits {
//! body_bytes_max: …, ..RouteLimits::DEFAULT }, ..route("POST", …) }`.

use crate::auth::{Credential, Principal, Scope};
use RouteAccess::{AnyScope, Open, Session};
use std::time::Duration;

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Everybody, without credentials.
    Open,
    /// People who are signed in; no key, whatever its scopes.
    Session,
    /// People, and keys with any scope.
    AnyScope,
    /// People, and keys with this scope.
    Scope(Scope),
    /// People, and keys with one of these scopes; the first is the narrower.
    OneOf([Scope; 2]),
}

/// How large a request may be, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteLimits {
    /// Largest body, in bytes; more is 413.
    pub(crate) body_bytes_max: usize,
    /// Until the response begins; `None` is the setting for all routes. Later is 408 or 503.
    pub(crate) deadline: Option<Duration>,
}

impl RouteLimits {
    /// What a route has unless its row says otherwise.
    pub(crate) const DEFAULT: Self = Self {
        body_bytes_max: 1_024 * 1_024,
        deadline: None,
    };
}

/// What is declared about a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// As in the route table.
    pub(crate) pattern: &'static str,
    pub(crate) access: RouteAccess,
    pub(crate) limits: RouteLimits,
}

/// How large a streamed response may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) rows_max: u64,
    /// Then it ends, and says how to go on.
    pub(crate) time_max: Duration,
}

/// What one export may have.
pub(crate) const EXPORT: StreamLimits = StreamLimits {
    rows_max: 1_000_000,
    time_max: Duration::from_secs(600),
};

/// The path of logins: who they are is known only from their bodies.
pub(crate) const LOGIN: &str = "/auth/login";
/// Largest body of a login, in bytes: it is read before anybody is known.
const LOGIN_BYTES_MAX: usize = 8 * 1_024;

const fn route(method: &'static str, pattern: &'static str, access: RouteAccess) -> Route {
    Route {
        method,
        pattern,
        access,
        limits: RouteLimits::DEFAULT,
    }
}

const CHAT: RouteAccess = RouteAccess::Scope(Scope::Chat);
const ADMIN: RouteAccess = RouteAccess::Scope(Scope::Admin);
const ANALYTICS: RouteAccess = RouteAccess::OneOf([Scope::AnalyticsRead, Scope::Admin]);

/// Every documented route.
pub(crate) static ROUTES: [Route; 57] = [
    route("GET", "/ws", CHAT),
    route("POST", "/auth/register", Open),
    Route {
        limits: RouteLimits {
            body_bytes_max: LOGIN_BYTES_MAX,
            ..RouteLimits::DEFAULT
        },
        ..route("POST", LOGIN, Open)
    },
    route("POST", "/auth/refresh", Open),
    route("POST", "/auth/guest", Open),
    route("POST", "/auth/logout", Session),
    route("POST", "/auth/logout-all", Session),
    route("POST", "/auth/ticket", Session),
    route("GET", "/api/keys", Session),
    route("POST", "/api/keys", Session),
    route("DELETE", "/api/keys/{id}", Session),
    route("GET", "/api/me", AnyScope),
    route("PATCH", "/api/me", AnyScope),
    route("GET", "/api/me/blocks", CHAT),
    route("POST", "/api/me/blocks", CHAT),
    route("DELETE", "/api/me/blocks/{user_id}", CHAT),
    route("POST", "/api/me/password", Session),
    route("GET", "/api/tenant", AnyScope),
    route("PATCH", "/api/tenant", ADMIN),
    route("GET", "/api/tenant/invites", ADMIN),
    route("DELETE", "/api/tenant/invites", ADMIN),
    route("DELETE", "/api/tenant/invites/{invite_id}", ADMIN),
    // Names only, unless the key has `admin` too.
    route("GET", "/api/users", CHAT),
    route("GET", "/api/users/{id}", CHAT),
    route("PATCH", "/api/users/{id}", ADMIN),
    route("GET", "/api/conversations", CHAT),
    route("POST", "/api/conversations", CHAT),
    route("POST", "/api/conversations/leave", CHAT),
    route("GET", "/api/conversations/{id}", CHAT),
    route("PATCH", "/api/conversations/{id}", CHAT),
    route("DELETE", "/api/conversations/{id}", CHAT),
    route("GET", "/api/conversations/{id}/messages", CHAT),
    route("POST", "/api/conversations/{id}/messages", CHAT),
    route("PATCH", "/api/conversations/{id}/messages/{message_id}", CHAT),
    route("DELETE", "/api/conversations/{id}/messages/{message_id}", CHAT),
    route("GET", "/api/conversations/{id}/members", CHAT),
    route("POST", "/api/conversations/{id}/members", CHAT),
    route("PATCH", "/api/conversations/{id}/members/{user_id}", CHAT),
    route("DELETE", "/api/conversations/{id}/members/{user_id}", CHAT),
    route("GET", "/api/conversations/{id}/invites", CHAT),
    route("POST", "/api/conversations/{id}/invites", CHAT),
    route("DELETE", "/api/conversations/{id}/invites/{invite_id}", CHAT),
    route("POST", "/api/invites/{code}/accept", CHAT),
    route("GET", "/api/search", CHAT),
    // Who may see them is asked by the handlers: owners and admins.
    route("GET", "/api/analytics/summary", ANALYTICS),
    route("GET", "/api/analytics/messages", ANALYTICS),
    route("GET", "/api/analytics/users/active", ANALYTICS),
    route("GET", "/api/analytics/users/top", ANALYTICS),
    route("GET", "/api/analytics/conversations/top", ANALYTICS),
    route("GET", "/api/analytics/heatmap", ANALYTICS),
    route("GET", "/api/analytics/latency", ANALYTICS),
    // Its limits are `EXPORT`.
    route("GET", "/api/analytics/export", ANALYTICS),
    route("GET", "/api/me/usage", AnyScope),
    route("GET", "/health", Open),
    route("GET", "/health/live", Open),
    route("GET", "/health/ready", Open),
    route("GET", "/metrics", Open),
];

/// What is declared about a route; `None` if it has no row.
#[must_use]
pub(crate) fn find(method: &str, pattern: &str) -> Option<&'static Route> {
    ROUTES
        .iter()
        .find(|route| route.pattern == pattern && route.method == method)
}

/// Whether a path, as the router reads it, is free of all quotas: health, metrics and the
/// documents, which operators and machines read by the clock, and the page with its files.
#[must_use]
pub(crate) fn is_free(path: &str) -> bool {
    matches!(
        path,
        "/" | "/analytics"
            | "/health"
            | "/health/live"
            | "/health/ready"
            | "/metrics"
            | "/openapi.json"
            | "/asyncapi.json"
            | "/docs"
    ) || ["/static/", "/docs/", "/i/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Whether a path is one of health, for balancers and orchestrators.
#[must_use]
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/health" | "/health/live" | "/health/ready")
}

/// Whether a path makes users.
#[must_use]
pub(crate) fn is_sign_up(path: &str) -> bool {
    matches!(path, "/auth/register" | "/auth/guest")
}

impl RouteAccess {
    /// Of a route without a row.
    pub(crate) const UNDECIDED: Self = Session;

    /// Why a key may not use the route, for its owner; `None` if it may. People pass: what they may
    /// do, their roles decide.
    #[must_use]
    pub(crate) fn refusal(self, caller: &Principal) -> Option<String> {
        let Credential::ApiKey { scopes, .. } = caller.credential else {
            return None;
        };
        let left = caller.scopes();
        match self {
            Open => None,
            AnyScope if !left.is_empty() => None,
            Self::Scope(scope) if left.contains(scope) => None,
            Self::OneOf(needed) if needed.iter().any(|scope| left.contains(*scope)) => None,
            Session => Some("This cannot be done with an API key; sign in.".to_owned()),
            AnyScope => Some("Your role leaves this API key no scope.".to_owned()),
            Self::Scope(scope) if scopes.contains(scope) => Some(format!(
                "This needs the scope `{scope}`, which your role does not give any more."
            )),
            Self::Scope(scope) | Self::OneOf([scope, _]) => {
                Some(format!("This needs an API key with the scope `{scope}`."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ApiKeyId, Plan, Role, TenantId, Tier, UserId, UserKind};
    use std::collections::BTreeSet;

    fn key(role: Role, scopes: &[Scope]) -> Principal {
        Principal {
            tenant_id: TenantId::new(),
            user_id: UserId::new(),
            credential: Credential::ApiKey {
                id: ApiKeyId::new(),
                scopes: scopes.iter().copied().collect(),
            },
            kind: UserKind::Person,
            name: "Ann".into(),
            role,
            tier: Tier::Regular,
            plan: Plan::Regular,
            conversation: None,
            expires_at: None,
        }
    }

    #[test]
    fn no_route_has_two_rows() {
        let rows: BTreeSet<_> = ROUTES.iter().map(|route| (route.pattern, route.method)).collect();
        assert_eq!(rows.len(), ROUTES.len());
    }

    #[test]
    fn what_needs_credentials_is_not_open() {
        for Route {
            method,
            pattern,
            access,
            ..
        } in ROUTES
        {
            let is_signing_in = ["/auth/register", "/auth/login", "/auth/refresh", "/auth/guest"].contains(&pattern);
            let needs = pattern == "/ws" || pattern.starts_with("/api/") || pattern.starts_with("/auth/");
            assert_eq!(access == Open, !needs || is_signing_in, "{method} {pattern}");
        }
    }

    #[test]
    fn a_refusal_names_the_scope_that_is_missing() {
        let of = |caller: &Principal, method, pattern| {
            let access = find(method, pattern).map_or(RouteAccess::UNDECIDED, |route| route.access);
            access.refusal(caller)
        };
        let chat = key(Role::Owner, &[Scope::Chat]);
        assert_eq!(of(&chat, "GET", "/api/conversations"), None);
        assert_eq!(of(&chat, "GET", "/api/me"), None);
        assert!(of(&chat, "PATCH", "/api/tenant").unwrap().contains("`admin`"));
        assert!(of(&chat, "POST", "/api/keys").unwrap().contains("sign in"));
        assert!(of(&chat, "GET", "/api/brand/new").is_some(), "closed until decided");
        let demoted = key(Role::Member, &[Scope::Admin]);
        assert!(of(&demoted, "PATCH", "/api/tenant").unwrap().contains("any more"));
        assert!(of(&demoted, "GET", "/api/me").is_some(), "nothing is left of it");
        let guest = key(Role::Guest, &Scope::ALL);
        assert!(of(&guest, "GET", "/api/me").is_some());
    }

    #[test]
    fn free_is_what_is_listed_and_nothing_like_it() {
        for path in [
            "/",
            "/analytics",
            "/health",
            "/health/ready",
            "/metrics",
            "/openapi.json",
            "/docs/x.js",
            "/static/1/app.js",
            "/i/x",
        ] {
            assert!(is_free(path), "{path}");
        }
        for path in [
            "/healthy",
            "/health/",
            "/analytics/",
            "/api/me",
            "/auth/login",
            "/static",
            "/metrics/x",
            "/ws",
            "//",
            "",
        ] {
            assert!(!is_free(path), "{path}");
        }
    }
}
