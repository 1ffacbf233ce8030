//! The log of the server. Panics are part of it.
//!
//! Used by `main`, once, before anything else is started.
//!
//! | file | what |
//! |---|---|
//! | `log.rs` | starting the log, panics, and the last line before the end |
//! | `subscriber.rs` | how an event becomes a line |
//! | `output.rs` | the way of a line to standard error, which may be slow, full or gone |

mod log;
mod output;
mod subscriber;

pub use log::{flush, init, print_error};
pub use subscriber::{Terminal, subscriber};
