//! The names of what is cached: one function for each kind, so that readers and invalidations use
//! the same name. Pure.
//!
//! A key knows the type of its value. A kind is cached as one type, which the compiler checks, and
//! that type carries the version of its shape. When you add a kind: a variant of [`Kind`], its
//! function here, its TTL in `config/cache.rs`.

use super::cacheable::Cacheable;
use super::kind::Kind;
use crate::ids::{ConversationId, TenantId, UserId};
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;

/// The prefix of all our names in Redis.
pub(super) const PREFIX: &str = "parlance:cache:";

/// The name of something that is cached as a `T`. Cheap to clone.
#[derive(Debug)]
pub struct Key<T> {
    text: Arc<str>,
    shape: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            shape: PhantomData,
        }
    }
}

impl<T> Key<T> {
    fn new(text: String) -> Self {
        Self {
            text: text.into(),
            shape: PhantomData,
        }
    }

    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }
}

/// The key of a user: `user:{tenant}:{id}`.
#[must_use]
pub fn user<T: Cacheable>(tenant: TenantId, id: UserId) -> Key<T> {
    const {
        assert!(matches!(T::KIND, Kind::User), "users are cached as another type");
    }
    Key::new(format!("user:{tenant}:{id}"))
}

/// The key of a tenant: `tenant:{id}`.
#[must_use]
pub fn tenant<T: Cacheable>(id: TenantId) -> Key<T> {
    const {
        assert!(matches!(T::KIND, Kind::Tenant), "tenants are cached as another type");
    }
    Key::new(format!("tenant:{id}"))
}

/// The first `limit` of a user's conversations, newest activity first:
/// `conversations:{tenant}:{user}:{limit}`, and `:{conversation}` after it for someone who may see
/// only that one.
#[must_use]
pub fn conversations<T: Cacheable>(tenant: TenantId, user: UserId, limit: i64, only: Option<ConversationId>) -> Key<T> {
    const {
        assert!(
            matches!(T::KIND, Kind::Conversations),
            "lists are cached as another type"
        );
    }
    let mut text = format!("conversations:{tenant}:{user}:{limit}");
    if let Some(only) = only {
        // A string takes everything.
        write!(text, ":{only}").unwrap_or_default();
    }
    Key::new(text)
}

/// The user of an API key, by the SHA-256 of its secret: `api_key:{hash}`.
#[must_use]
pub fn api_key<T: Cacheable>(hash: &[u8]) -> Key<T> {
    const {
        assert!(matches!(T::KIND, Kind::ApiKey), "API keys are cached as another type");
    }
    let mut text = "api_key:".to_owned();
    for byte in hash {
        // A string takes everything.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    Key::new(text)
}

/// The numbers that answer a question about a tenant: `analytics:{tenant}:{question}`.
#[must_use]
pub fn analytics<T: Cacheable>(tenant: TenantId, question: &str) -> Key<T> {
    const {
        assert!(matches!(T::KIND, Kind::Analytics), "answers are cached as another type");
    }
    Key::new(format!("analytics:{tenant}:{question}"))
}

/// Many keys, by their prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    #[must_use]
    pub fn everything() -> Self {
        Self { text: "*".to_owned() }
    }

    /// The glob for Redis. Our keys contain no character that is special in a glob.
    pub(super) fn in_redis(&self) -> String {
        format!("{PREFIX}{}", self.text)
    }
}

/// All users of a tenant: `user:{tenant}:*`.
#[must_use]
pub fn users_of(tenant: TenantId) -> Pattern {
    Pattern {
        text: format!("user:{tenant}:*"),
    }
}
