//! Parlance: an actor-based realtime chat server.
//!
//! Each conversation is an actor that pushes over WebSockets; supervisors own what outlives an actor; PostgreSQL is the
//! only source of truth. `ARCHITECTURE.md` has the map and the walkthroughs; `app.rs` is where everything is put
//! together.
//!
//! Imports go downwards only (checked by `tests/it/tidy.rs`):
//! `app`, `probe`, `shutdown` › `http` › `onboarding` › `sessions`, `search` › `conversations` › `tenants`, `auth`, `commit`,
//! `rate_limit`, `presence` › `cache` › `database`, `redis`, `bus`, `wire` › `config`, `telemetry` › `supervision` › `metrics` ›
//! `ids`, `error`.

pub mod app;
pub mod auth;
pub mod bus;
pub mod cache;
pub mod commit;
pub mod config;
pub mod conversations;
pub mod database;
pub mod error;
pub mod http;
pub mod ids;
pub mod metrics;
pub mod onboarding;
pub mod presence;
pub mod probe;
pub mod rate_limit;
pub mod redis;
pub mod search;
pub mod sessions;
pub mod shutdown;
pub mod supervision;
pub mod telemetry;
pub mod tenants;
pub mod wire;
