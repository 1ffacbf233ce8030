//! The profiles: what is opened, written and measured.
//!
//! Each makes its own rooms and identities, so that profiles do not see each other's history. Each
//! ends with the same question: has everybody everything, once and in order?
//!
//! `traffic.rs` is about messages (`fanout`, `storm`), `connections.rs` about connections (`idle`,
//! `churn`), `rest.rs` about requests, `reconnect_storm.rs` about a node that is killed,
//! `comparison.rs` measures several setups in turns.

pub(crate) mod comparison;
pub(crate) mod connections;
pub(crate) mod reconnect_storm;
pub(crate) mod rest;
pub(crate) mod traffic;
