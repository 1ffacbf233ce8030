//! `parlance-load`: an independent client that measures a Parlance server and checks its guarantees
//! while it does.
//!
//! It shares nothing with the server but the protocol, so that a mistake in the server's own types
//! cannot hide itself. `engine/` drives every connection on one thread, `client/` reads frames in
//! place, `measure/check.rs` compares what every reader saw, `profiles/` are the kinds of load,
//! `suite/` runs all of them on servers that `installation/` starts, `workload/` is a workspace at
//! work for minutes, `fairness/` is about a neighbour of somebody who does their worst.
//!
//! Load goes only to addresses of this machine. The exit code is 1 when a message was lost,
//! doubled, reordered or swapped, a workload broke a promise or a neighbour had to wait too long,
//! and 2 when the run itself failed.

mod client;
mod context;
mod engine;
mod error;
mod fairness;
mod installation;
mod measure;
mod profiles;
#[cfg(test)]
mod relay_tests;
mod suite;
mod workload;

use clap::{Args, Parser, Subcommand};
use context::Context;
use error::{Error, Result, errno};
use measure::process::Processes;
use measure::report;
use profiles::traffic::{self, Measurement, Pace, Shape};
use profiles::{connections, rest};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(
    name = "parlance-load",
    about = "Measures a Parlance server and checks its guarantees."
)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Target {
    /// The server, an address of this machine.
    #[arg(long, global = true, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// The server's process, for its CPU time and memory.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// PostgreSQL's postmaster, if it is not a child of the server.
    #[arg(long, global = true)]
    postgres_pid: Option<u32>,
    /// One JSON line instead of the table.
    #[arg(long, global = true)]
    json: bool,
    /// Parse every frame completely and compare with what was read in place (slow).
    #[arg(long, global = true)]
    verify: bool,
    /// Show no progress.
    #[arg(long, global = true)]
    quiet: bool,
    /// Most connections in the act of connecting.
    #[arg(long, global = true, default_value_t = 128)]
    concurrency: usize,
    /// Seconds to wait for connections to be subscribed, and for what was sent to have its reply
    /// and be delivered.
    #[arg(long, global = true, default_value_t = 30)]
    patience: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Messages at a rate, or as fast as acknowledgements allow.
    Fanout {
        #[command(flatten)]
        shape: Shape,
        /// Messages per second over all rooms; without it as fast as acknowledgements allow.
        #[arg(long)]
        rate: Option<f64>,
        /// Sends in flight per writer when there is no rate (at most 32).
        #[arg(long, default_value_t = 8)]
        depth: usize,
        /// Seconds of traffic before it is measured.
        #[arg(long, default_value_t = 2)]
        warmup: u64,
        /// Seconds measured.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Raises the rate until p99 passes 250 ms; the most that was held.
    Storm {
        #[command(flatten)]
        shape: Shape,
        /// The first rate, messages per second over all rooms.
        #[arg(long, default_value_t = 500.0)]
        rate: f64,
        /// Seconds measured at each rate.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Connections that only listen: how fast they open, what they cost.
    Idle {
        /// How many connections there are.
        #[arg(long, default_value_t = 5_000)]
        connections: usize,
        /// Members of each room.
        #[arg(long, default_value_t = 100)]
        members: usize,
        /// Seconds to hold them.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Members who resume after missing messages.
    Churn {
        /// Messages missed.
        #[arg(long, default_value_t = 1_000)]
        missed: u64,
        /// How often someone resumes.
        #[arg(long, default_value_t = 40)]
        rounds: usize,
    },
    /// Programs over REST: lists, pages and posts at a rate; then lists as fast as they come, and
    /// logins.
    Rest {
        /// Requests per second.
        #[arg(long, default_value_t = 500.0)]
        rate: f64,
        /// Seconds measured.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Starts fresh servers and runs everything against them.
    Suite(suite::Arguments),
    /// Starts a fresh server and lets a workspace of 10, 50 or 200 users work on it for minutes.
    Profile(workload::WorkloadArguments),
    /// Starts a fresh server with its limits; a neighbour's latencies while a tenant does its worst.
    Fairness(fairness::Arguments),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report::show_progress(&format!("\x1b[Kparlance-load: {error}\n"));
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    if !cli.target.address.ip().is_loopback() {
        return Err(Error::Arguments("load is sent to loopback addresses only".into()));
    }
    raise_descriptor_limit()?;
    let context = Context {
        addresses: vec![cli.target.address],
        processes: Processes::new(cli.target.pid, cli.target.postgres_pid)?,
        verify: cli.target.verify,
        progress: !cli.target.quiet,
        concurrency: cli.target.concurrency,
        patience: Duration::from_secs(cli.target.patience),
    };
    let (table, json, sound) = match cli.command {
        Command::Fanout {
            shape,
            rate,
            depth,
            warmup,
            seconds,
        } => {
            let measurement = Measurement {
                pace: rate.map_or(Pace::ClosedLoop(depth), Pace::Rate),
                warmup: Duration::from_secs(warmup),
                measured: Duration::from_secs(seconds),
            };
            let traffic = traffic::fanout(&context, shape, measurement)?;
            (traffic.table(), serde_json::to_string(&traffic), traffic.is_sound())
        }
        Command::Storm { shape, rate, seconds } => {
            let traffic = traffic::storm(&context, shape, rate, Duration::from_secs(seconds))?;
            (traffic.table(), serde_json::to_string(&traffic), traffic.is_sound())
        }
        Command::Idle {
            connections,
            members,
            seconds,
        } => {
            let idle = connections::idle(&context, connections, members, Duration::from_secs(seconds))?;
            (idle.table(), serde_json::to_string(&idle), true)
        }
        Command::Churn { missed, rounds } => {
            let churn = connections::churn(&context, missed, rounds)?;
            (churn.table(), serde_json::to_string(&churn), churn.faults == 0)
        }
        Command::Rest { rate, seconds } => {
            let rest = rest::rest(&context, rate, Duration::from_secs(seconds))?;
            (rest.table(), serde_json::to_string(&rest), rest.error_rate == 0.0)
        }
        Command::Fairness(arguments) => {
            let report = fairness::run(&arguments, &context)?;
            (report.table(), serde_json::to_string(&report), report.is_fair())
        }
        Command::Suite(arguments) => return suite::run(&arguments, cli.target.json, &context),
        Command::Profile(arguments) => return workload::run(&arguments, cli.target.json, &context),
    };
    let json = json.map_err(|e| Error::Protocol(e.to_string()))?;
    report::print(if cli.target.json { &json } else { &table });
    Ok(sound)
}

/// One connection is one descriptor: takes all the system allows.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(errno("descriptor limit"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_this_machine_is_a_target() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80)).to_string();
        let cli = Cli::parse_from(["parlance-load", "--address", &elsewhere, "churn"]);
        assert!(matches!(run(cli), Err(Error::Arguments(_))));
    }
}
