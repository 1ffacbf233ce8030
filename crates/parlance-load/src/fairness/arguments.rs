//! What `parlance-load fairness` is asked for.

use crate::fairness::ways::Way;
use std::path::PathBuf;

/// The arguments of `parlance-load fairness`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The program of the server.
    #[arg(long)]
    pub server: PathBuf,
    /// A folder for its data, made if missing.
    #[arg(long)]
    pub data: PathBuf,
    /// Accounts of the tenant that does its worst.
    #[arg(long, default_value_t = 100)]
    pub accounts: usize,
    /// Seconds of each way, and of the quiet node.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// How many times the p99 of the quiet node a p99 may be.
    #[arg(long, default_value_t = 2.0)]
    pub tolerance: f64,
    /// A p99 below so many milliseconds is never too long: next to nothing doubles easily.
    #[arg(long, default_value_t = 25.0)]
    pub floor_ms: f64,
    /// Only these ways.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Way>,
}

impl Arguments {
    /// The ways that are tried, in order.
    pub(super) fn ways(&self) -> Vec<Way> {
        let is_wanted = |way: &Way| self.only.is_empty() || self.only.contains(way);
        Way::ALL.into_iter().filter(is_wanted).collect()
    }
}
