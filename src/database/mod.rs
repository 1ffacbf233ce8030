//! The way to PostgreSQL: a pool of connections, named and timed statements, transactions.
//!
//! | file | what |
//! |---|---|
//! | `service.rs` | [`Database`]: opens, borrows connections, closes |
//! | `client.rs` | runs statements: on a borrowed connection, in a transaction, on an own connection |
//! | `copy.rs` | rows into a table by the thousand |
//! | `cancel.rs` | ends a statement that nobody waits for any more |
//! | `reply.rs` | waits for replies: times them, and ends the wait |
//! | `address.rs` | where a server is, TLS, the settings of sessions |
//! | `pool.rs`, `connect.rs` | how connections are made, kept and replaced |
//! | `condition.rs` | which connections are not used again; pure |
//! | `writable.rs` | whether the database takes changes |
//! | `error.rs` | what can go wrong, by what a caller can do about it |
//! | `migrations.rs` | brings a database to the schema of this program |
//! | `private.rs` | the private PostgreSQL, where there is no `DATABASE_URL` |
//! | `replica/` | a streaming replica, for reads that may be some seconds old |
//!
//! * Used by: every folder that has a `store.rs`. Its statements stand there as [`Statement`]s.
//!   Nothing above this folder sees a pool or a driver.
//! * Bounds: `DATABASE_POOL_SIZE` connections are kept. `DATABASE_MAX_OVERFLOW` more are opened in
//!   need, and closed when they come back while nobody waits. A caller waits `acquire_timeout` for
//!   a connection, the making of one included. Then it gets [`Error::PoolExhausted`], which is
//!   `unavailable` to its client.
//! * A connection is tried before it is borrowed, and replaced after about an hour. One that an error
//!   has shown to be of no use is closed.
//! * If PostgreSQL dies, all connections fail at once. Every caller gets an error that it may
//!   retry, and the next callers connect anew. Nothing here needs a restart.
//!
//! Why no ORM or query builder: the SQL is the interface that we want to see, name and explain.

mod address;
mod cancel;
mod client;
mod condition;
mod connect;
mod copy;
mod error;
pub mod migrations;
mod pool;
mod private;
mod replica;
mod reply;
mod service;
mod writable;

pub use client::{Client, Dedicated, Params, Statement, Transaction};
pub use copy::CopyRows;
pub use error::{Error, NotWritable};
pub use replica::ReplicaStatus;
pub use service::{Database, PoolStatus};
