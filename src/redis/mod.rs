//! The way to Redis: one server, or the servers of a cluster, each with a pool, a deadline and a
//! circuit breaker.
//!
//! | file | what |
//! |---|---|
//! | `service.rs` | the way in: run a command at the server that has the key |
//! | `command.rs` | what can be run in one call |
//! | `server_pool.rs` | the way to one server: pool, deadline, breaker |
//! | `endpoint.rs` | how a connection is opened |
//! | `connection.rs` | those of a pool, and how a broken one is known without asking |
//! | `breaker.rs` | whether a server is asked at all; pure |
//! | `servers.rs` | the servers of `REDIS_URL`, and the question which of them has what |
//! | `layout.rs` | which server has which slot; pure |
//! | `seal.rs` | seals of what nodes put there for each other; pure |
//! | `topology.rs` | the servers as they are known, and the task that keeps that true |
//!
//! * Used by: cache, rate_limit, and the bus, which takes the layout from here and has connections
//!   of its own.
//! * Redis makes the server faster and lets nodes share what they know. Nothing depends on it. So a
//!   caller gets a reply soon or an error soon, and every caller can go on without: load from
//!   PostgreSQL, count on this node alone.
//! * Bounds: `REDIS_POOL_SIZE` connections to each server, with one call at a time on each. A call
//!   takes its deadline at most; a free connection and the making of one are part of it. A
//!   redirected call takes the deadline twice. While the breaker is open, a call fails at once.
//! * A reply of the wrong type, or an error reply, counts as a failure: a Redis that talks nonsense
//!   is no better than one that is away.
//!
//! On a cluster a command goes to the server of its key ([`Redis::run_for`]). A server that has
//! given the key away says where it is now (`MOVED`, `ASK`). Then that server is asked once, and a
//! task reads the layout anew in the background; so a replica that has taken over is found. No
//! command may name keys of different slots.
//!
//! There is no actor here: the breaker is a few words under a lock, and connections drive
//! themselves.

mod breaker;
mod command;
mod connection;
mod endpoint;
mod error;
mod layout;
mod seal;
mod server_pool;
mod servers;
mod service;
mod topology;

pub use breaker::BreakerState;
pub use command::RedisCommand;
pub use endpoint::RedisLink;
pub use error::Error;
pub use layout::{Address, Layout, slot};
pub use seal::{SEAL_BYTES, SealPurpose, Sealer};
pub use servers::RedisServers;
pub use service::{Redis, RedisStatus};
