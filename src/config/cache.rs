//! The settings of the cache: how long it remembers what, and how much of it.

use super::values::{DAY, seconds};
use super::walk::SettingsWalk;
use std::time::Duration;

/// The cache. A TTL of 0 turns caching off for its kind.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    pub ttl_user: Duration,
    pub ttl_tenant: Duration,
    pub ttl_conversations: Duration,
    pub ttl_api_key: Duration,
    pub ttl_analytics: Duration,
    pub ttl_local: Duration,
    pub ttl_negative: Duration,
    pub bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl_user: Duration::from_secs(300),
            ttl_tenant: Duration::from_secs(300),
            ttl_conversations: Duration::from_secs(60),
            ttl_api_key: Duration::from_secs(60),
            ttl_analytics: Duration::from_secs(30),
            ttl_local: Duration::from_secs(60),
            ttl_negative: Duration::from_secs(5),
            bytes: 64 * 1024 * 1024,
        }
    }
}

impl CacheConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section(
            "Cache",
            "How long things are remembered. `0` turns a kind off. \"In Redis\" means: in Redis, where there is one.",
        );
        walk.bounded(
            "CACHE_TTL_USER",
            &mut self.ttl_user,
            seconds(0, DAY),
            "Users, in Redis.",
        );
        walk.bounded(
            "CACHE_TTL_TENANT",
            &mut self.ttl_tenant,
            seconds(0, DAY),
            "Tenants, in Redis.",
        );
        walk.bounded(
            "CACHE_TTL_CONVERSATIONS",
            &mut self.ttl_conversations,
            seconds(0, 60),
            "The first page of a user's conversations, in the process. With `REDIS_URL` or `DATABASE_URL` there may be \
             other nodes: then it is at most `4s`.",
        );
        walk.bounded(
            "CACHE_TTL_API_KEY",
            &mut self.ttl_api_key,
            seconds(0, 60),
            "Whom an API key stands for, in the process. Deleting a key does not wait for it.",
        );
        walk.bounded(
            "CACHE_TTL_ANALYTICS",
            &mut self.ttl_analytics,
            seconds(0, 30),
            "Numbers of analytics about a time that is over, in Redis and again as long in the process.",
        );
        walk.bounded(
            "CACHE_TTL_LOCAL",
            &mut self.ttl_local,
            seconds(0, 60),
            "Anything in the process, at most.",
        );
        walk.bounded(
            "CACHE_TTL_NEGATIVE",
            &mut self.ttl_negative,
            seconds(0, 60),
            "That something does not exist.",
        );
        walk.bounded(
            "PARLANCE_CACHE_BYTES",
            &mut self.bytes,
            1 << 20..=1 << 40,
            "Bytes that the process remembers, all together. The default is 64 MiB.",
        );
    }
}
