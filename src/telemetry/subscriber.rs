//! How an event becomes a line of the log.
//!
//! * Used by `log.rs`; tests and benchmarks have their own writers.
//! * Logged are names, counts, durations and identifiers. Never what people write to each other,
//!   and never a credential.
//! * An event is one line, whatever its values hold. JSON escapes by itself. In the form for
//!   people, line breaks and other control characters are written as escapes. So nobody who gets a
//!   text into a value (the message of a panic, an error of the database) can forge a line of the
//!   log, or send colours to the operator's terminal.

use crate::config::LogFormat;
use std::fmt;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

/// What is logged of these targets at most, whatever `RUST_LOG` says; of the first one that fits.
/// The lower levels of the driver would log the values of statements, that is, what people write,
/// their addresses and the hashes of their passwords. The HTTP parser logs an error when someone
/// sends no valid request, so anybody could fill the log. What refinery calls an error in every
/// rolling upgrade is logged by the migrations in plain words.
const QUIET: [(&str, LevelFilter); 6] = [
    ("actix_http::h1", LevelFilter::OFF),
    ("tokio_postgres", LevelFilter::WARN),
    ("postgres_protocol", LevelFilter::WARN),
    ("postgres_types", LevelFilter::WARN),
    ("refinery_core::traits::missing", LevelFilter::OFF),
    ("refinery_core", LevelFilter::WARN),
];

/// Whether a target may be logged at a level. It stands beside the filter of the environment and
/// not in it: there a directive about spans (`[request]=trace`) goes before one about targets.
fn is_loud_enough(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_of = |quiet: &str| {
        let rest = target.strip_prefix(quiet);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let quiet = QUIET.iter().find(|(quiet, _)| is_of(quiet));
    quiet.is_none_or(|(_, most)| metadata.level() <= most)
}

/// What the form for people may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Text without colours.
    Plain,
    /// Text with colours.
    Colours,
}

/// What receives events and writes them to `writer`.
///
/// # Errors
/// The reason why `filter` cannot be used, for the operator.
pub fn subscriber<W>(
    form: LogFormat,
    filter: &str,
    terminal: Terminal,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    let quiet = filter_fn(is_loud_enough as fn(&Metadata<'_>) -> bool);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // What it would print of a failure goes to standard error, and there it would be a panic.
        .log_internal_errors(false)
        .with_ansi(false);
    Ok(match form {
        LogFormat::Pretty => {
            let lines = OneLine {
                inner: format::format().compact().with_ansi(false),
                terminal,
            };
            Box::new(log.event_format(lines).finish().with(quiet))
        }
        // The innermost span holds all that is known: there is one a request and one a socket.
        LogFormat::Json => Box::new(
            log.json()
                .flatten_event(true)
                .with_span_list(false)
                .finish()
                .with(quiet),
        ),
    })
}

/// Writes what `inner` makes of an event as one line.
struct OneLine<F> {
    inner: F,
    terminal: Terminal,
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        let level = event.metadata().level();
        let mut text = line.trim_end_matches('\n');
        if self.terminal == Terminal::Colours
            && let Some((time, rest)) = text.split_once(level.as_str())
        {
            write!(writer, "{time}\u{1b}[{}m{level}\u{1b}[0m", colour(*level))?;
            text = rest;
        }
        write_escaped(&mut writer, text)?;
        writer.write_char('\n')
    }
}

/// The terminal's colour for a level. It is added to the level afterwards, because the library
/// colours whole lines and then lets the control characters of values through.
const fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Writes a text with its control characters, and Unicode's own line breaks, as escapes.
fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    let passes = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    if text.chars().all(passes) {
        return writer.write_str(text);
    }
    for c in text.chars() {
        if passes(c) {
            writer.write_char(c)?;
        } else {
            write!(writer, "{}", c.escape_default())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io;
    use std::sync::Arc;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `speak` runs.
    fn logged(form: LogFormat, terminal: Terminal, speak: impl FnOnce()) -> String {
        logged_by("info", form, terminal, speak)
    }

    fn logged_by(filter: &str, form: LogFormat, terminal: Terminal, speak: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(form, filter, terminal, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, speak);
        let bytes = kept.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A line break, a line of the log, and a colour.
    const INJECTION: &str = "x\r\n2026-01-01T00:00:00Z ERROR forged \u{1b}[31mred\u{7}\u{9b}31m\u{2028}";

    fn speak() {
        let span = tracing::info_span!("request", request.id = %INJECTION, user.id = tracing::field::Empty);
        let _entered = span.entered();
        tracing::Span::current().record("user.id", INJECTION);
        tracing::warn!(quoted = INJECTION, shown = %INJECTION, debugged = ?INJECTION, "said: {INJECTION}");
    }

    #[test]
    fn a_value_cannot_write_a_line_or_a_colour_for_people() {
        let text = logged(LogFormat::Pretty, Terminal::Plain, speak);
        assert!(text.contains("forged") && text.ends_with('\n'), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        let text = logged(LogFormat::Pretty, Terminal::Colours, speak);
        assert_eq!(text.lines().count(), 1, "{text}");
        let (_, rest) = text.split_once("\u{1b}[33mWARN\u{1b}[0m").unwrap();
        assert!(!rest.contains('\u{1b}'), "{rest:?}");
    }

    #[test]
    fn a_value_cannot_write_a_line_or_a_field_in_json() {
        let text = logged(LogFormat::Json, Terminal::Plain, speak);
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["quoted"], INJECTION);
        assert_eq!(
            (&event["span"]["name"], &event["span"]["request.id"]),
            (&"request".into(), &INJECTION.into())
        );
        assert_eq!(event["span"]["user.id"], INJECTION);
        assert_eq!(event["spans"], serde_json::Value::Null);
    }

    #[test]
    fn values_of_statements_stay_quiet_whatever_is_asked_for() {
        let kept = logged(LogFormat::Json, Terminal::Plain, || {
            tracing::info!(target: "tokio_postgres::query", "executing statement with parameters");
        });
        assert_eq!(kept, "");
        for filter in [
            "info,[request]=trace",
            "trace,tokio_postgres=trace",
            "[request{user.id}]=trace",
        ] {
            let kept = logged_by(filter, LogFormat::Json, Terminal::Plain, || {
                let _entered = tracing::info_span!("request", user.id = "x").entered();
                tracing::debug!(target: "tokio_postgres::query", "executing statement with parameters");
                tracing::debug!(target: "tokio_postgres", "executing statement with parameters");
                tracing::error!(target: "actix_http::h1::dispatcher", "no request");
                tracing::trace!(target: "tokio_postgresql", "somebody else");
                tracing::warn!(target: "tokio_postgres::connection", "the connection broke");
            });
            assert_eq!(kept.lines().count(), 2, "{filter}: {kept}");
        }
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let refused = subscriber(LogFormat::Json, "=(", Terminal::Plain, io::sink).map(drop);
        assert!(refused.unwrap_err().starts_with("RUST_LOG: "));
    }
}
