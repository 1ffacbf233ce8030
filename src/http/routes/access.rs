//! Which credentials each route is for: one row for each row of the route table in `mod.rs`. Pure.
//!
//! Asked in one place, `extract::authenticate`, when the caller is an API key: a route without a row is for people, so
//! that a new route is closed to keys until somebody decides otherwise (a test finds it missing). What a person or key may
//! do within a route, by role and membership, is decided by the feature it calls.

use crate::auth::{Credential, Principal, Scope};

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without credentials.
    Open,
    /// People who are signed in; no key, whatever its scopes.
    Session,
    /// People, and keys with any scope.
    AnyScope,
    /// People, and keys with this scope.
    Scope(Scope),
}

use Access::{AnyScope, Open, Session};

const CHAT: Access = Access::Scope(Scope::Chat);
const ADMIN: Access = Access::Scope(Scope::Admin);

/// Method and pattern of every documented route.
const TABLE: [(&str, &str, Access); 40] = [
    ("GET", "/ws", CHAT),
    ("POST", "/auth/register", Open),
    ("POST", "/auth/login", Open),
    ("POST", "/auth/refresh", Open),
    ("POST", "/auth/guest", Open),
    ("POST", "/auth/logout", Session),
    ("POST", "/auth/logout-all", Session),
    ("POST", "/auth/ticket", Session),
    ("GET", "/api/keys", Session),
    ("POST", "/api/keys", Session),
    ("DELETE", "/api/keys/{id}", Session),
    ("GET", "/api/me", AnyScope),
    ("PATCH", "/api/me", AnyScope),
    ("GET", "/api/tenant", AnyScope),
    ("PATCH", "/api/tenant", ADMIN),
    // Names only, unless the key has `admin` too.
    ("GET", "/api/users", CHAT),
    ("GET", "/api/users/{id}", CHAT),
    ("PATCH", "/api/users/{id}", ADMIN),
    ("GET", "/api/conversations", CHAT),
    ("POST", "/api/conversations", CHAT),
    ("GET", "/api/conversations/{id}", CHAT),
    ("PATCH", "/api/conversations/{id}", CHAT),
    ("DELETE", "/api/conversations/{id}", CHAT),
    ("GET", "/api/conversations/{id}/messages", CHAT),
    ("POST", "/api/conversations/{id}/messages", CHAT),
    ("PATCH", "/api/conversations/{id}/messages/{message_id}", CHAT),
    ("DELETE", "/api/conversations/{id}/messages/{message_id}", CHAT),
    ("GET", "/api/conversations/{id}/members", CHAT),
    ("POST", "/api/conversations/{id}/members", CHAT),
    ("PATCH", "/api/conversations/{id}/members/{user_id}", CHAT),
    ("DELETE", "/api/conversations/{id}/members/{user_id}", CHAT),
    ("GET", "/api/conversations/{id}/invites", CHAT),
    ("POST", "/api/conversations/{id}/invites", CHAT),
    ("DELETE", "/api/conversations/{id}/invites/{invite_id}", CHAT),
    ("POST", "/api/invites/{code}/accept", CHAT),
    ("GET", "/api/search", CHAT),
    ("GET", "/health", Open),
    ("GET", "/health/live", Open),
    ("GET", "/health/ready", Open),
    ("GET", "/metrics", Open),
];

/// Who a route is for; `None` if it is not in the table.
#[must_use]
pub(crate) fn access(method: &str, pattern: &str) -> Option<Access> {
    let row = TABLE.iter().find(|row| row.0 == method && row.1 == pattern);
    row.map(|row| row.2)
}

/// Why a key may not use a route, for its owner; `None` if it may. People pass: what they may do, their roles decide.
#[must_use]
pub(crate) fn refusal(caller: &Principal, method: &str, pattern: &str) -> Option<String> {
    let Credential::ApiKey { scopes, .. } = caller.credential else {
        return None;
    };
    let left = caller.scopes();
    match access(method, pattern).unwrap_or(Session) {
        Open => None,
        AnyScope if !left.is_empty() => None,
        Access::Scope(scope) if left.contains(scope) => None,
        Session => Some("This cannot be done with an API key; sign in.".to_owned()),
        AnyScope => Some("Your role leaves this API key no scope.".to_owned()),
        Access::Scope(scope) if scopes.contains(scope) => Some(format!(
            "This needs the scope `{scope}`, which your role does not give any more."
        )),
        Access::Scope(scope) => Some(format!("This needs an API key with the scope `{scope}`.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ApiKeyId, Role, TenantId, Tier, UserId, UserKind};
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
            conversation: None,
            expires_at: None,
        }
    }

    #[test]
    fn every_documented_route_has_one_row() {
        let rows: BTreeSet<_> = TABLE.iter().map(|row| (row.1.to_owned(), row.0)).collect();
        assert_eq!(rows.len(), TABLE.len(), "no row twice");
        for route in crate::http::documents::openapi::routes() {
            assert!(rows.contains(&route), "no row for {route:?}");
        }
    }

    #[test]
    fn what_needs_credentials_is_not_open() {
        for (method, pattern, access) in TABLE {
            let is_signing_in = ["/auth/register", "/auth/login", "/auth/refresh", "/auth/guest"].contains(&pattern);
            let needs = pattern == "/ws" || pattern.starts_with("/api/") || pattern.starts_with("/auth/");
            assert_eq!(access == Open, !needs || is_signing_in, "{method} {pattern}");
        }
    }

    #[test]
    fn a_refusal_names_the_scope_that_is_missing() {
        let of = |caller: &Principal, method, pattern| refusal(caller, method, pattern);
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
}
