//! What the server counts: every metric is declared once, with its name, its meaning and its
//! buckets.
//!
//! | file | what |
//! |---|---|
//! | `declared.rs` | the declarations |
//! | `labels.rs` | the values that labels can have |
//! | `recorder.rs` | [`Metrics`]: counts, and writes everything down for a scrape |
//! | `readings.rs` | what is read when someone asks |
//! | `process.rs` | what the system says of this process |
//!
//! There is one [`Metrics`] for the process ([`metrics`]). Besides the log it is the only global:
//! counting must not need a handle that is passed through everything. What only mirrors state (open
//! sockets, waiting messages, the pool) is not counted. It is read from the handles of the node
//! when someone asks ([`Readings`]), so it cannot drift, and it costs nothing until then.
//!
//! * Bounds: a label has a fixed set of values: route patterns and never paths, names of
//!   statements, actors and kinds of keys that stand in the source, or enums. Nothing that a client
//!   chooses becomes a label.
//! * Costs: a counter is one atomic addition. A histogram is a short lock of its own. A label adds
//!   a look-up under a read lock (some 50 ns). Nothing here is called for each delivery to a
//!   socket: a fan-out is counted once for all its readers, a commit once for its group.
//!
//! When you add a metric: declare it in `declared.rs`, add a method to [`Metrics`], call it where
//! the thing happens, and describe it in `docs/operations.md` (a test compares that table with the
//! declarations).

mod declared;
mod labels;
mod process;
mod readings;
mod recorder;

pub use labels::{BusDrop, BusRole, Eviction, HeldBack, Level, ReadTarget, SharedResource, Surface};
pub use readings::{BusReach, Depth, Readings};
pub use recorder::{MEDIA_TYPE, Metrics, metrics};
