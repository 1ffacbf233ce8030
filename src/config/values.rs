//! The types of settings: how each is read from text and shown to an operator. Pure, and without a
//! name of any setting.
//!
//! An error here never repeats the text it refuses: it may be a secret in the wrong variable.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A value that can be read from the environment and shown again.
pub(super) trait Setting: Sized {
    /// Whether it is masked when shown, and may come from a file.
    const IS_SECRET: bool = false;
    /// What a text of it looks like, for the documents.
    const FORM: &'static str;

    /// The value a text stands for, or what a text should look like.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text an operator would write for it; masked if it is a secret.
    fn show(&self) -> String;
    /// The same for the documents, with a unit where it has one.
    fn readable(&self) -> String {
        self.show()
    }
}

pub(super) const DAY: u64 = 24 * 3_600;

/// A range of whole seconds.
pub(super) const fn seconds(min: u64, max: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(min)..=Duration::from_secs(max)
}

/// The range of timeouts and pauses: long enough to be one, short enough to end.
pub(super) const fn pause() -> RangeInclusive<Duration> {
    Duration::from_millis(10)..=Duration::from_secs(3_600)
}

/// The cores this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A value that must not be printed: it shows as `***` however it is formatted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    const FORM: &'static str = "`pretty` or `json`";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("must be pretty or json".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Pretty => "pretty".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

impl Setting for String {
    const FORM: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    const FORM: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for SocketAddr {
    const FORM: &'static str = "an address and a port";

    fn parse(text: &str) -> Result<Self, String> {
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse()
            .map_err(|_| "must be an address and a port, like 127.0.0.1:8080 or [::]:8080".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    const FORM: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    const FORM: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a whole number".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A plain number is seconds; the units `ms`, `s`, `m`, `h` and `d` may follow it.
impl Setting for Duration {
    const FORM: &'static str = "a time";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be seconds, or a number with one of the units ms, s, m, h, d".to_owned();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
        let millis = match text.strip_prefix(digits).unwrap_or_default() {
            "ms" => Some(number),
            "" | "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            "d" => number.checked_mul(86_400_000),
            _ => None,
        };
        millis.map(Self::from_millis).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        if self.subsec_millis() == 0 {
            self.as_secs().to_string()
        } else {
            format!("{}ms", self.as_millis())
        }
    }

    fn readable(&self) -> String {
        if self.subsec_millis() != 0 {
            return self.show();
        }
        let seconds = self.as_secs();
        let units = [(DAY, "d"), (3_600, "h"), (60, "m")];
        let whole = units
            .into_iter()
            .find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
        whole.map_or_else(
            || format!("{seconds}s"),
            |(length, unit)| format!("{}{unit}", seconds / length),
        )
    }
}

/// Order is kept, empty items are not.
impl Setting for Vec<String> {
    const FORM: &'static str = "a list, separated by commas";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

impl Setting for Option<PathBuf> {
    const FORM: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Some(PathBuf::from(text)))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, PathBuf::show)
    }
}

impl Setting for Option<SocketAddr> {
    const FORM: &'static str = "an address and a port";

    fn parse(text: &str) -> Result<Self, String> {
        SocketAddr::parse(text).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, SocketAddr::show)
    }
}

impl Setting for Option<Secret> {
    const IS_SECRET: bool = true;
    const FORM: &'static str = "a secret";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Some(Secret::new(text)))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Secret::to_string)
    }
}

/// A name as it stands in `Host`, without a port; or `*`.
pub(super) fn check_host(host: &str) -> Result<(), &'static str> {
    if host == "*" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if host.contains([':', '/', '?', '#', '@', '*', ' ']) {
        return Err("must be a name without a scheme, a port or a path");
    }
    if host.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("must be in lower case");
    }
    Ok(())
}

/// An origin as browsers send it: scheme and host in lower case, perhaps a port, no path.
pub(super) fn check_origin(origin: &str) -> Result<(), &'static str> {
    let Some(host) = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
    else {
        return Err("must begin with https:// or http://");
    };
    if host.is_empty() || host.contains(['/', '?', '#', '@', '*', ' ']) {
        return Err("must be a scheme and a host, without a path");
    }
    if host.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("must be in lower case");
    }
    Ok(())
}
