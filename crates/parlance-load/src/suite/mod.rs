//! The whole measurement: fresh servers, every profile, one table beside what the project promises.
//!
//! The short round (what `make load` runs) takes some minutes and shows that every profile works; `--full` takes every
//! number as the median of five, which is what the promises are judged by. Parts: one node by itself, several nodes, nginx in
//! front.

mod cluster;
mod rows;
mod single;
mod via;

use crate::error::Result;
use crate::profiles::Context;
use crate::proxy::Kit;
use crate::report::print;
use rows::Rows;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// One node by itself.
    Single,
    /// What the bus costs, and how much later readers on another node see a message.
    Bus,
    /// Coming back after much was missed.
    Resumes,
    /// Everybody coming back at once.
    Herd,
    /// Through the shipped nginx; only where `--nginx` is given.
    Via,
}

/// What the suite is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary.
    #[arg(long)]
    server: PathBuf,
    /// A folder for its data, made if missing.
    #[arg(long)]
    data: PathBuf,
    /// The program of a private Redis.
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// The program of an nginx.
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// What makes its configuration.
    #[arg(long, default_value = "nginx/render")]
    render: PathBuf,
    /// Every number as the median of five.
    #[arg(long)]
    full: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// How thorough the suite is.
#[derive(Clone, Copy)]
struct Extent {
    runs: usize,
    step: Duration,
    measured: Duration,
    idle: usize,
    resumes: usize,
    /// Rounds of a comparison, and how long each is.
    rounds: usize,
    round: Duration,
}

const SHORT: Extent = Extent {
    runs: 1,
    step: Duration::from_secs(2),
    measured: Duration::from_secs(5),
    idle: 3_000,
    resumes: 20,
    rounds: 3,
    round: Duration::from_secs(3),
};

const FULL: Extent = Extent {
    runs: 5,
    step: Duration::from_secs(3),
    measured: Duration::from_secs(10),
    idle: 5_000,
    resumes: 40,
    rounds: 5,
    round: Duration::from_secs(6),
};

/// Runs the suite against servers it starts; true when no guarantee was broken.
pub(crate) fn run(arguments: &Arguments, json: bool, template: &Context) -> Result<bool> {
    let extent = if arguments.full { FULL } else { SHORT };
    let wanted = |part: Part| arguments.only.is_empty() || arguments.only.contains(&part);
    std::fs::create_dir_all(&arguments.data).map_err(crate::error::io("data folder"))?;
    let mut rows = Rows::default();
    let (binary, folder): (&Path, &Path) = (&arguments.server, &arguments.data);
    if wanted(Part::Single) {
        single::run(binary, folder, extent, template, &mut rows)?;
    }
    if [Part::Bus, Part::Resumes, Part::Herd].into_iter().any(wanted) {
        let nodes = cluster::Nodes {
            binary,
            redis: &arguments.redis,
            folder,
            extent,
            template,
        };
        nodes.run(wanted, &mut rows)?;
    }
    if let Some(program) = arguments.nginx.clone()
        && wanted(Part::Via)
    {
        let render = arguments.render.clone();
        via::run(binary, &Kit { program, render }, folder, extent, template, &mut rows)?;
    }
    print(&if json {
        serde_json::json!({"rows": rows.rows, "faults": rows.faults}).to_string()
    } else {
        rows.table()
    });
    Ok(rows.faults == 0)
}
