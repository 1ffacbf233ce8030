//! TLS to the servers that this node uses: PostgreSQL and Redis. Towards clients a proxy speaks it.
//!
//! | file | what |
//! |---|---|
//! | `client.rs` | makes a client's configuration of rustls from files and the system's authorities |
//! | `verifiers.rs` | the checks of a certificate that are weaker than the usual one |
//!
//! * Used by: database and redis, once for each address, at the start. Files are not read again: a
//!   new certificate takes a restart, as every secret does.
//! * Bounds: TLS 1.2 and 1.3, with rustls and ring. What OpenSSL would accept beyond that is refused.
//! * A file that cannot be used ends the start, with its name and the reason.

mod client;
mod verifiers;

pub use client::{Error, client_config};
