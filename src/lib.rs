//! Parlance: an actor-based realtime chat server.
//!
//! Each conversation is an actor that pushes over WebSockets. Supervisors own what outlives an actor.
//! PostgreSQL is the only source of truth. `ARCHITECTURE.md` has the map and the way of a message;
//! `app.rs` is where everything is put together.
//!
//! A folder imports only from folders below it: the table is in `ARCHITECTURE.md` and is held against
//! the code by `tests/it/tidy_imports.rs`.

pub mod analytics;
pub mod app;
pub mod auth;
pub mod bus;
pub mod cache;
pub mod commit;
pub mod config;
pub mod conversations;
pub mod database;
pub mod demo;
pub mod error;
pub mod fairness;
pub mod http;
pub mod ids;
pub mod latency;
pub mod metrics;
pub mod onboarding;
pub mod presence;
pub mod probe;
pub mod rate_limit;
pub mod redis;
pub mod search;
pub mod sessions;
pub mod shutdown;
pub mod signals;
pub mod supervision;
pub mod telemetry;
pub mod tenants;
pub mod tls;
pub mod wire;
