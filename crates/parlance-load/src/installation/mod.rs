//! What the suite starts and stops itself: servers, several nodes on one database, nginx in front.
//!
//! `child.rs` is one process, `server.rs` a Parlance server, `nodes.rs` an installation of several,
//! `proxy.rs` nginx.

pub(crate) mod child;
pub(crate) mod nodes;
pub(crate) mod proxy;
pub(crate) mod server;
