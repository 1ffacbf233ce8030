//! Several nodes on one database: one order, one presence, one identity; and what is lost when something between them is.
//!
//! `together.rs` is nodes in one process and a bus that loses; `crossing.rs` that everything that may change crosses over a
//! real Redis as it is; `outages.rs` what happens while Redis, or the way to it, is ill; `ill_bus.rs` envelopes that come
//! doubled, overtaken and late; `processes.rs` real processes that are killed and frozen; `rolling.rs` that all of them
//! are restarted under load.

mod crossing;
mod ill_bus;
mod outages;
mod processes;
mod rolling;
mod together;
