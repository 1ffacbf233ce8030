//! How long tenants wait: histograms of the last minute, in memory.
//!
//! `commit/` and `conversations/` record, `analytics/` takes what was recorded and stores it. It
//! stands below all of them, so that who records does not know who reads. `histogram.rs` is one
//! histogram and its form in the database, `recorder.rs` those of all tenants.

mod histogram;
mod recorder;

pub use histogram::LatencyHistogram;
pub use recorder::{LatencyKind, LatencyRecorder, MeasuredLatency, Wait};
