//! The bus between processes: Redis Pub/Sub. To each server there is one connection that publishes
//! and one that listens.
//!
//! | file | what |
//! |---|---|
//! | `service.rs` | [`RedisBus`]: starts the tasks, and is the [`Bus`](super::Bus) |
//! | `state.rs` | what the tasks share: servers, subscriptions, subscribers |
//! | `servers.rs` | the servers, as many as the layout has |
//! | `tasks.rs` | follows the layout, and runs a task for each server |
//! | `publisher.rs` | the task that sends what waits for a server, many in one round trip |
//! | `subscriber.rs` | the task that listens to a server, and subscribes there |
//! | `subscriptions.rs` | what must be subscribed to, and at which server; pure |
//! | `connection.rs` | when a connection counts as broken, and when the next one is tried |
//!
//! * A node gets what is for everybody, for itself, and for the conversations that are active on
//!   it. So what it receives grows with what it serves, and not with the size of the installation.
//! * On a Redis Cluster the channels of conversations are sharded (`SPUBLISH`, `SSUBSCRIBE`): a
//!   publication reaches the server of its slot and no other. The other channels stay plain. A
//!   cluster carries them to all of its servers, so they arrive while any of them lives. They are
//!   few, and without them a node would be deaf.
//! * While Redis is away nothing is kept: what was to be published is dropped and counted. After
//!   every connect, and when a slot has moved, the node learns of which conversations it may have
//!   missed something ([`Envelope::Resumed`](super::Envelope::Resumed)). It compares their
//!   revisions with PostgreSQL.
//! * Bounds: [`ENVELOPES_MAX`](super::ENVELOPES_MAX) envelopes wait to be published at each server,
//!   and as many for each subscriber. Further ones are dropped and counted.
//! * A crash of a task: it is started again within the budget, and connects anew.

mod connection;
mod publisher;
mod servers;
mod service;
mod state;
mod subscriber;
mod subscriptions;
mod tasks;

pub use service::RedisBus;
