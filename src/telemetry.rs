//! What the server says about itself: the log, and panics as part of it.
//!
//! Called once by `main`, before anything else can want to speak. Lines go to standard error, so that standard output
//! belongs to what a command was asked to print. Logged are names, counts, durations and identifiers, never what people
//! write to each other and never a credential.

use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing_subscriber::EnvFilter;

/// Libraries whose lower levels would log the values of statements, that is, what people write; whatever `RUST_LOG` says.
/// And the HTTP parser, which calls it an error of ours when somebody sends what is no request: anybody could fill the log.
const QUIET: [&str; 4] = [
    "actix_http::h1=off",
    "tokio_postgres=warn",
    "tokio_postgres::query=warn",
    "refinery_core=warn",
];

/// Sends events to standard error from now on, in the configured form, and makes panics events.
///
/// # Errors
/// The reason why the configured filter cannot be used, for the operator.
pub fn init(config: &Config) -> Result<(), String> {
    let mut filter = EnvFilter::try_new(&config.log_filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse().map_err(|error| format!("{directive}: {error}"))?);
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Pretty => log.compact().with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("the log could not be started: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic as an event: where, on which thread (arbiters and workers are named), and what it said.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("(no text)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place,
        backtrace = %std::backtrace::Backtrace::capture(),
        "Panic: {message}"
    );
}
