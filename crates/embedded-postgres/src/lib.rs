//! A private PostgreSQL: it starts and stops with the program that owns it, and comes back when it
//! dies.
//!
//! The owner says what it wants in [`Settings`] and holds an [`EmbeddedPostgres`]. The programs of
//! PostgreSQL must be on the machine; nothing is downloaded. The crate knows nothing about its
//! owner: it has its own [`Error`], and messages name files and causes, not the owner's settings.
//!
//! `server.rs` is the life of the private server, `install.rs` finds the programs and the account,
//! `cluster.rs` has the files and PostgreSQL's settings, `postmaster.rs` starts, takes over and
//! ends the main process, `process.rs` tells a living one from the remains of a dead one.

#![warn(missing_docs)]

mod cluster;
mod error;
mod install;
mod postmaster;
mod process;
mod server;
mod settings;

pub use error::Error;
pub use server::EmbeddedPostgres;
pub use settings::Settings;
