//! What the suite is asked to measure, and how thoroughly.

use crate::profiles::comparison::Rounds;
use std::path::PathBuf;
use std::time::Duration;

/// The parts of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// One node by itself.
    Single,
    /// What the bus costs, and how much later readers on another node see a message.
    Bus,
    /// Coming back after much was missed.
    Resumes,
    /// Everybody coming back at once.
    ReconnectStorm,
    /// Through the shipped nginx; only where `--nginx` is given.
    Nginx,
}

/// The arguments of `parlance-load suite`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The program of the server.
    #[arg(long)]
    pub server: PathBuf,
    /// A folder for its data, made if missing.
    #[arg(long)]
    pub data: PathBuf,
    /// The program of a private Redis.
    #[arg(long, default_value = "redis-server")]
    pub redis: PathBuf,
    /// The program of an nginx.
    #[arg(long)]
    pub nginx: Option<PathBuf>,
    /// What makes its configuration.
    #[arg(long, default_value = "nginx/render")]
    pub render: PathBuf,
    /// Every number as the median of five.
    #[arg(long)]
    pub full: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
}

/// How thorough the suite is.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// How often each number is measured.
    pub runs: usize,
    /// How long a storm stays at one rate.
    pub step: Duration,
    pub measured: Duration,
    /// Connections of the idle profile.
    pub idle: usize,
    pub resumes: usize,
    /// Rounds of a comparison.
    pub rounds: Rounds,
}

const SHORT: Extent = Extent {
    runs: 1,
    step: Duration::from_secs(2),
    measured: Duration::from_secs(5),
    idle: 3_000,
    resumes: 20,
    rounds: Rounds {
        count: 3,
        warmup: Duration::from_secs(1),
        measured: Duration::from_secs(3),
    },
};

const FULL: Extent = Extent {
    runs: 5,
    step: Duration::from_secs(3),
    measured: Duration::from_secs(10),
    idle: 5_000,
    resumes: 40,
    rounds: Rounds {
        count: 5,
        warmup: Duration::from_secs(1),
        measured: Duration::from_secs(6),
    },
};

impl Arguments {
    pub(super) fn extent(&self) -> Extent {
        if self.full { FULL } else { SHORT }
    }

    pub(super) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}
