//! What an operator may set: every setting with its name, default, bounds and meaning.
//!
//! The environment, and a `.env` file behind it, are read here, once at the start. No other part of
//! the program looks at them: each is given the values it needs, so a test can build any of them
//! without touching its process. Each section declares its settings in one `walk`, a line a
//! setting. Reading, `parlance config`, `docs/configuration.md` and `.env.example` all come from
//! those lines, so none of them can forget a setting.
//!
//! When you add a setting: its field, default and line in the section's file, then `make docs`.

mod auth;
mod cache;
mod conversations;
mod database;
mod descriptors;
mod document;
mod files;
mod http;
mod limits;
mod load;
mod metrics;
mod postgres;
mod redis;
mod replica;
mod root;
mod sessions;
mod tls;
mod values;
mod walk;

#[cfg(test)]
mod tests;

pub use auth::AuthConfig;
pub use cache::CacheConfig;
pub use conversations::ConversationsConfig;
pub use database::DatabaseConfig;
pub use descriptors::Capacity;
pub use http::HttpConfig;
pub use limits::{FloodConfig, LimitsConfig, QuotaConfig};
pub use load::ConfigErrors;
pub use metrics::MetricsConfig;
pub use postgres::{PostgresAddress, PostgresTls};
pub use redis::{RedisConfig, RedisSeeds};
pub use replica::ReplicaConfig;
pub use root::Config;
pub use sessions::SessionsConfig;
pub use tls::{TlsCheck, TlsConfig, TlsIdentity, TlsRoots};
pub use values::{LogFormat, Secret};
