//! Health: whether the node should get work, and how the parts are that this depends on.
//!
//! Used by the routes of health, by `app.rs`, and by the shutdown, which makes the node unready.

mod parts;
mod readiness;
mod recent;
pub(crate) mod report;

pub use parts::HealthParts;
pub use readiness::Health;
