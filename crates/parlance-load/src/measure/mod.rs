//! What is measured, what is checked, and how it is shown.
//!
//! `stats.rs` has counts and latencies, `check.rs` the guarantees, `process.rs` CPU time and memory
//! from `/proc`, `metrics.rs` what the server says on `/metrics`, `report.rs` the tables.

pub(crate) mod check;
pub(crate) mod metrics;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod stats;
