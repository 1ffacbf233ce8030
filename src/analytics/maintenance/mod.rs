//! What operators do with the counts, while nodes serve: make them anew, and compare them with the
//! messages.

mod rebuilding;
mod report;
mod verifying;

pub use rebuilding::rebuild;
pub use report::{CountsReport, Difference, MaintenanceError};
pub use verifying::verify;
