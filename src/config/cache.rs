//! The settings of the cache: how long what may be remembered, and how much of it.

use super::{Pass, seconds};
use std::time::Duration;

/// The cache. A TTL of 0 turns caching off for its kind.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// `CACHE_TTL_USER`: users, in Redis.
    pub ttl_user: Duration,
    /// `CACHE_TTL_TENANT`: tenants, in Redis.
    pub ttl_tenant: Duration,
    /// `CACHE_TTL_CONVERSATIONS`: the first page of a user's conversations, in this process.
    pub ttl_conversations: Duration,
    /// `CACHE_TTL_API_KEY`: who an API key stands for, in this process.
    pub ttl_api_key: Duration,
    /// `CACHE_TTL_LOCAL`: anything in this process, at most.
    pub ttl_local: Duration,
    /// `CACHE_TTL_NEGATIVE`: that there is no such thing.
    pub ttl_negative: Duration,
    /// `PARLANCE_CACHE_BYTES`: what this process remembers, all together.
    pub bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl_user: Duration::from_secs(300),
            ttl_tenant: Duration::from_secs(300),
            ttl_conversations: Duration::from_secs(60),
            ttl_api_key: Duration::from_secs(60),
            ttl_local: Duration::from_secs(60),
            ttl_negative: Duration::from_secs(5),
            bytes: 64 * 1024 * 1024,
        }
    }
}

impl CacheConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.bounded("CACHE_TTL_USER", &mut self.ttl_user, seconds(0, 86_400));
        pass.bounded("CACHE_TTL_TENANT", &mut self.ttl_tenant, seconds(0, 86_400));
        pass.bounded("CACHE_TTL_CONVERSATIONS", &mut self.ttl_conversations, seconds(0, 60));
        pass.bounded("CACHE_TTL_API_KEY", &mut self.ttl_api_key, seconds(0, 60));
        pass.bounded("CACHE_TTL_LOCAL", &mut self.ttl_local, seconds(0, 60));
        pass.bounded("CACHE_TTL_NEGATIVE", &mut self.ttl_negative, seconds(0, 60));
        pass.bounded("PARLANCE_CACHE_BYTES", &mut self.bytes, 1 << 20..=1 << 40);
    }
}
