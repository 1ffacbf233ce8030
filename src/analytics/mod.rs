//! Analytics: numbers about a tenant's messages, exact up to a moment that every answer names.
//!
//! The way in is [`Analytics`] (`service.rs`). Messages are counted behind the commits by `follower/`
//! into packed blocks (`block.rs`, `replies.rs`). A question (`question.rs`) about a time
//! (`period.rs`, `zone.rs`) is answered from blocks and, where a quarter of an hour is cut, from the
//! messages themselves (`reading.rs`). What is added up is pure: `tally.rs`, `summary.rs`,
//! `series.rs`, `active.rs`, `tops.rs`. `store/` is the SQL. `maintenance/` is what operators do.

mod active;
mod block;
mod error;
mod export;
mod export_rows;
mod follower;
mod latency;
mod latency_log;
mod maintenance;
mod period;
#[cfg(test)]
mod property_tests;
mod question;
mod reading;
mod replies;
mod series;
mod service;
mod store;
mod summary;
mod tally;
mod tops;
mod zone;

pub use error::Error;
pub use export::{ExportRequest, Exports};
pub use export_rows::{ExportCursor, ExportFormat, ExportKind};
pub use follower::CountsFollower;
pub use latency::{Latencies, LatencyAnswer, LatencyPoint, Percentiles};
pub use latency_log::LatencyLog;
pub use maintenance::{CountsReport, Difference, MaintenanceError, rebuild, verify};
pub use period::{Bucket, DAYS_MAX, Granularity, POINTS_MAX, Period, WrongParameter, format_in, format_utc};
pub use question::{
    ActiveCounts, Asked, Computed, ConversationOrder, ConversationTotals, GroupBy, Numbers, Question, Series,
    SeriesKey, Totals, UserTotals,
};
pub use service::{Analytics, Names};
pub use zone::Zone;
