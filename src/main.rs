//! The `parlance` program: reads the arguments and the configuration, starts the log, does what it was asked to do, and
//! ends with an exit code that says whether that worked. Everything else is in the library.

use clap::{Parser, Subcommand};
use parlance::app::App;
use parlance::config::Config;
use parlance::database::Database;
use parlance::http::Assets;
use parlance::probe::{self, HealthQuestion};
use parlance::telemetry;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A realtime chat server: durable before acknowledged, resume without a cliff.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Serve people and programs until told to stop (also without a word).
    Serve,
    /// Bring the database to this version's schema and end.
    Migrate,
    /// Print the configuration that would be used, without its secrets.
    Config {
        /// Print the page about all settings instead: docs/configuration.md.
        #[arg(long, conflicts_with = "example")]
        markdown: bool,
        /// Print a file with all defaults instead: .env.example.
        #[arg(long)]
        example: bool,
    },
    /// Ask the node that listens on BIND whether it lives, and fail unless it does.
    Health {
        /// Ask whether it should get work, not only whether it lives.
        #[arg(long)]
        ready: bool,
    },
    /// Write the page's files into a directory, for a proxy that serves them, and print where they are.
    Assets {
        /// Its `static/<hash>` will have them; other versions stay.
        directory: PathBuf,
    },
    /// Run only the private PostgreSQL, print its address, and stop it again when told to stop.
    Database,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not have started; an operator looks here in any case.
            let written = writeln!(std::io::stderr(), "parlance: {error}");
            if written.is_ok() {
                ExitCode::FAILURE
            } else {
                ExitCode::from(2)
            }
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    if let Command::Assets { directory } = command {
        let home = Assets::load().publish(&directory)?;
        return Ok(writeln!(std::io::stdout(), "{}", home.display())?);
    }
    if let Command::Config { markdown, example } = command {
        let text = if markdown {
            Config::markdown()
        } else if example {
            Config::example()
        } else {
            Config::from_env()?.to_string()
        };
        return Ok(write!(std::io::stdout(), "{text}")?);
    }
    let config = Config::from_env()?;
    if let Command::Health { ready } = command {
        let question = if ready {
            HealthQuestion::Ready
        } else {
            HealthQuestion::Live
        };
        let reply = probe::ask(config.bind, question)?;
        return Ok(writeln!(std::io::stdout(), "{reply}")?);
    }
    telemetry::init(&config)?;
    // What FAILPOINTS says shall go wrong, in test builds.
    #[cfg(feature = "failpoints")]
    let _faults = fail::FailScenario::setup();
    actix::System::new().block_on(async {
        match command {
            Command::Migrate => migrate(&config).await,
            Command::Database => database(&config).await,
            // What does not need a runtime has been done.
            _ => Box::pin(serve(config)).await,
        }
    })
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    // Before anything is started, so that an early Ctrl-C stops what has been.
    let stop = stop_signal()?;
    raise_descriptor_limit();
    let app = App::build(config).await?;
    writeln!(std::io::stdout(), "Parlance is at http://{}", app.address())?;
    Ok(Box::pin(app.run_until(stop)).await?)
}

/// Resolves at the first SIGINT or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Each socket takes two descriptors; the soft limit of many systems is only 1,024. What the hard one allows is found out
/// by the node when it is built.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn migrate(config: &Config) -> Result<(), Box<dyn Error>> {
    Database::open(config).await?.close().await;
    Ok(())
}

async fn database(config: &Config) -> Result<(), Box<dyn Error>> {
    let stop = stop_signal()?;
    let database = Database::open(config).await?;
    let address = database
        .private_url()
        .ok_or("DATABASE_URL is set, so there is nothing to run")?;
    writeln!(std::io::stdout(), "{address}")?;
    stop.await;
    database.close().await;
    Ok(())
}
