//! Starting the log, panics as events of it, and what is said at the very end.
//!
//! * Lines go to standard error. Standard output belongs to what a command was asked to print.
//! * The log has one output for the process (`output.rs`). Whoever logs never waits for it, but for
//!   two moments, both bounded: the end of the process, and a panic, which may be the end.

use super::output::LogOutput;
use super::subscriber::{Terminal, subscriber};
use crate::config::Config;
use crate::metrics::metrics;
use crate::supervision;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long the end of the process waits for what was logged.
const FLUSH_AT_END: Duration = Duration::from_secs(1);
/// How long a panic waits. Most are survived, and then the thread has other work.
const FLUSH_IN_PANIC: Duration = Duration::from_millis(100);

/// The output, once the log has started.
static OUTPUT: OnceLock<LogOutput> = OnceLock::new();

/// Starts the log, in the configured form, and makes every panic an event of it.
///
/// # Errors
/// The reason why the log cannot be started, for the operator.
pub fn init(config: &Config) -> Result<(), String> {
    let terminal = if std::io::stderr().is_terminal() {
        Terminal::Colours
    } else {
        Terminal::Plain
    };
    let failed = |error: &dyn std::fmt::Display| format!("the log could not be started: {error}");
    let output = LogOutput::start(Box::new(std::io::stderr()), |lines| {
        tracing::warn!(lines, "lines of the log were lost: standard error did not take them");
    });
    let output = output.map_err(|error| failed(&error))?;
    let writer = output.clone();
    let log = subscriber(config.log_format, &config.log_filter, terminal, move || writer.clone())?;
    log.try_init().map_err(|error| failed(&error))?;
    // Nobody else has one: a second log has just been refused.
    OUTPUT.get_or_init(|| output);
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Says a line that is no event: why the program ends. Before the log has started it is written at
/// once, and then whether it could be is returned.
pub fn print_error(line: &str) -> bool {
    match OUTPUT.get() {
        Some(output) => {
            output.push(format!("{line}\n").as_bytes());
            true
        }
        None => writeln!(std::io::stderr(), "{line}").is_ok(),
    }
}

/// Waits until everything that was logged is written, or cannot be within a second.
pub fn flush() {
    if let Some(output) = OUTPUT.get() {
        output.flush(FLUSH_AT_END);
    }
}

/// Logs a panic: which actor, where, on which thread, and its message.
fn log_panic(panic: &PanicHookInfo<'_>) {
    metrics().panicked();
    let running = supervision::current();
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    tracing::error!(
        actor = running.map(|running| running.name),
        actor.id = running.and_then(|running| running.id).map(tracing::field::display),
        thread = thread.name().unwrap_or("unnamed"),
        place = panic.location().map(tracing::field::display),
        backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace)),
        "Panic: {}",
        panic.payload_as_str().unwrap_or("(no text)")
    );
    if let Some(output) = OUTPUT.get() {
        output.flush(FLUSH_IN_PANIC);
    }
}
