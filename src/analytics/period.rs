//! The time that a question is about: `from`, `to`, `tz` and the buckets between. Pure.
//!
//! Used by `http/` to read what a client wants, and by every question. What is wrong is named by its
//! parameter ([`WrongParameter`]). Bounds: [`DAYS_MAX`] days, [`POINTS_MAX`] buckets.

use super::zone::{DAY_MS, Zone, date, day_of, weekday};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest range, in days of the calendar.
pub const DAYS_MAX: i64 = 732;
/// Most buckets of an answer.
pub const POINTS_MAX: usize = 10_000;
/// How long before the day of its end a range begins, unless the question says so.
const DAYS_DEFAULT: i64 = 30;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// An hour of the clock.
    Hour,
    /// A day of the calendar.
    #[default]
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
}

impl Granularity {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongParameter {
    pub field: &'static str,
    pub message: String,
}

impl WrongParameter {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { field, message }
    }
}

/// The time that a question is about: half open, in milliseconds of Unix time.
#[derive(Clone, Debug)]
pub struct Period {
    pub from: i64,
    pub to: i64,
    pub zone: Zone,
}

/// A bucket of the calendar, cut by the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins in the calendar, also when it is cut.
    pub at: i64,
    pub from: i64,
    pub to: i64,
}

impl Period {
    /// Reads the parameters of a question. What is left out: `tz` is UTC, `to` the next midnight,
    /// `from` thirty days before the day of `to`.
    ///
    /// # Errors
    /// [`WrongParameter`].
    pub fn parse(from: Option<&str>, to: Option<&str>, tz: Option<&str>, now: i64) -> Result<Self, WrongParameter> {
        let zone = match tz {
            None => Zone::utc(),
            Some(name) => Zone::find(name)
                .ok_or_else(|| WrongParameter::new("tz", "Not a name of the IANA time zones, like Europe/Berlin."))?,
        };
        let to = match to {
            Some(text) => parse_moment("to", text, &zone)?,
            None => zone.first_instant(zone.day(now) + 1),
        };
        let from = match from {
            Some(text) => parse_moment("from", text, &zone)?,
            None => zone.first_instant(zone.day(to) - DAYS_DEFAULT),
        };
        if from >= to {
            return Err(WrongParameter::new("from", "Not before `to`."));
        }
        let is_too_long = if zone.is_midnight(from) && zone.is_midnight(to) {
            // Also where the day begins later than at midnight.
            zone.day(to) - zone.day(from) > DAYS_MAX
        } else {
            (to + zone.offset_ms(to)) - (from + zone.offset_ms(from)) > DAYS_MAX * DAY_MS
        };
        if is_too_long {
            return Err(WrongParameter::new(
                "from",
                format!("More than {DAYS_MAX} days before `to`."),
            ));
        }
        Ok(Self { from, to, zone })
    }

    /// The period of the same length before this one: as many days of the calendar where both ends
    /// are midnights, else as many milliseconds.
    #[must_use]
    pub fn previous(&self) -> Self {
        let zone = &self.zone;
        let from = if zone.is_midnight(self.from) && zone.is_midnight(self.to) {
            let first = zone.day(self.from);
            zone.first_instant(first - (zone.day(self.to) - first))
        } else {
            self.from - (self.to - self.from)
        };
        Self {
            from,
            to: self.from,
            zone: zone.clone(),
        }
    }

    /// The buckets, none missing.
    ///
    /// # Errors
    /// [`WrongParameter`] when there are more than [`POINTS_MAX`].
    pub fn buckets(&self, granularity: Granularity) -> Result<Vec<Bucket>, WrongParameter> {
        let mut starts = vec![self.bucket_start(granularity)];
        loop {
            let next = self.bucket_end(granularity, *starts.last().unwrap_or(&self.from));
            if next >= self.to {
                break;
            }
            starts.push(next);
            if starts.len() > POINTS_MAX {
                return Err(WrongParameter::new(
                    "granularity",
                    format!("More than {POINTS_MAX} points; take `day`, `week` or `month`, or a shorter range."),
                ));
            }
        }
        let ends = starts.iter().skip(1).copied().chain([self.to]);
        let bucket = |(at, to): (&i64, i64)| Bucket {
            at: *at,
            from: (*at).max(self.from),
            to,
        };
        Ok(starts.iter().zip(ends).map(bucket).collect())
    }

    fn bucket_start(&self, granularity: Granularity) -> i64 {
        let day = self.zone.day(self.from);
        match granularity {
            Granularity::Hour => self.zone.hour_start(self.from),
            Granularity::Day => self.zone.first_instant(day),
            Granularity::Week => self.zone.first_instant(day - i64::try_from(weekday(day)).unwrap_or(0)),
            Granularity::Month => {
                let (year, month, _) = date(day);
                self.zone.first_instant(day_of(year, month, 1))
            }
        }
    }

    /// When the bucket that begins at `start` ends.
    fn bucket_end(&self, granularity: Granularity, start: i64) -> i64 {
        let zone = &self.zone;
        let day = zone.day(start);
        match granularity {
            Granularity::Hour => zone.hour_end(start),
            Granularity::Day => zone.first_instant(day + 1),
            Granularity::Week => zone.first_instant(day + 7 - i64::try_from(weekday(day)).unwrap_or(0)),
            Granularity::Month => {
                let (year, month, _) = date(day);
                let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                zone.first_instant(day_of(year, month, 1))
            }
        }
    }
}

/// An instant of RFC 3339, or the first one of a date in the zone.
fn parse_moment(field: &'static str, text: &str, zone: &Zone) -> Result<i64, WrongParameter> {
    if let Some(day) = parse_date(text) {
        return Ok(zone.first_instant(day));
    }
    let wrong = || {
        WrongParameter::new(
            field,
            "Neither a date nor a moment of RFC 3339, like 2026-11-22 or 2026-11-22T10:00:00Z, of the years 1 to 9999.",
        )
    };
    let moment = DateTime::parse_from_rfc3339(text).map_err(|_not_one| wrong())?.to_utc();
    // Times of messages are whole milliseconds: after a part of one is from the next one on.
    let part = i64::from(moment.timestamp_subsec_nanos() % 1_000_000 > 0);
    let at = moment.timestamp_millis() + part;
    let (first, end) = (day_of(1, 1, 1) * DAY_MS, day_of(10_000, 1, 1) * DAY_MS);
    if (first..end).contains(&at) {
        Ok(at)
    } else {
        Err(wrong())
    }
}

/// The day of `2026-11-01`.
fn parse_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let is_shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(n, byte)| {
            if matches!(n, 4 | 7) {
                *byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
    if !is_shaped {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let known = day_of(year, month.clamp(1, 12), day);
    (year >= 1 && date(known) == (year, month, day)).then_some(known)
}

/// An instant as RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn format_utc(at: i64) -> String {
    format!("{}Z", format_local(at))
}

/// An instant as RFC 3339 with the zone's offset.
#[must_use]
pub fn format_in(zone: &Zone, at: i64) -> String {
    let offset = zone.offset_ms(at);
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / 60_000;
    let local = format_local(at + offset);
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn format_local(local: i64) -> String {
    let (year, month, day) = date(local.div_euclid(DAY_MS));
    let ms = local.rem_euclid(DAY_MS);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}",
        ms % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn period(from: &str, to: &str, tz: &str) -> Period {
        Period::parse(Some(from), Some(to), Some(tz), 0).unwrap()
    }

    fn points(period: &Period, granularity: Granularity) -> Vec<String> {
        let buckets = period.buckets(granularity).unwrap();
        buckets
            .iter()
            .map(|bucket| format_in(&period.zone, bucket.at))
            .collect()
    }

    #[test]
    fn what_is_left_out_is_the_last_thirty_days() {
        let now = at("2026-11-28T23:30:00Z");
        let utc = Period::parse(None, None, None, now).unwrap();
        assert_eq!(
            (format_utc(utc.from), format_utc(utc.to)),
            (
                "2026-10-30T00:00:00.000Z".to_owned(),
                "2026-11-29T00:00:00.000Z".to_owned()
            )
        );
        let berlin = Period::parse(None, None, Some("Europe/Berlin"), now).unwrap();
        assert_eq!(
            (format_utc(berlin.from), format_utc(berlin.to)),
            (
                "2026-10-30T23:00:00.000Z".to_owned(),
                "2026-11-29T23:00:00.000Z".to_owned()
            )
        );
        let within = Period::parse(None, Some("2026-11-15T15:00:00Z"), None, now).unwrap();
        assert_eq!(format_utc(within.from), "2026-10-16T00:00:00.000Z");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, tz, field) in [
            ("", "2026-11-01", "UTC", "from"),
            ("2026-11-01", "", "UTC", "to"),
            ("2026-11-01", "2026-11-02", "", "tz"),
            ("2026-11-01", "2026-11-02", "berlin", "tz"),
            ("2026-11-31", "2026-12-02", "UTC", "from"),
            ("2026-13-01", "2026-12-02", "UTC", "from"),
            ("0000-01-01", "2026-12-02", "UTC", "from"),
            ("2026-11-01T00:00:00", "2026-12-02", "UTC", "from"),
            ("2026-11-01T00:00:00 01:00", "2026-12-02", "UTC", "from"),
            ("2026-11-02", "2026-11-02", "UTC", "from"),
            ("2024-01-01", "2026-01-03", "UTC", "from"),
            ("2024-01-01T00:00:00Z", "2026-01-02T00:00:00.001Z", "UTC", "from"),
        ] {
            let wrong = Period::parse(Some(from), Some(to), Some(tz), 0).map(drop).unwrap_err();
            assert_eq!(wrong.field, field, "{from} {to} {tz}");
        }
        // Days of the calendar, not of 24 hours. In Santiago the last one begins at one o'clock.
        for (from, to, tz) in [
            ("2024-01-01", "2026-01-02", "UTC"),
            ("2024-01-01", "2026-01-02", "Europe/Berlin"),
            ("2024-09-04", "2026-09-06", "America/Santiago"),
        ] {
            assert_eq!(period(from, to, tz).buckets(Granularity::Day).unwrap().len(), 732);
        }
        assert!(
            period("2024-03-15", "2026-03-17", "Europe/Berlin")
                .buckets(Granularity::Hour)
                .is_err()
        );
        assert_eq!(
            period("9999-12-01", "9999-12-31", "America/New_York")
                .buckets(Granularity::Day)
                .unwrap()
                .len(),
            30
        );
        assert_eq!(
            period("0001-01-01", "0001-01-02", "Asia/Tokyo")
                .buckets(Granularity::Day)
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            period("2026-11-01T00:00:00.0001Z", "2026-11-02", "UTC").from,
            at("2026-11-01T00:00:00.001Z")
        );
    }

    #[test]
    fn buckets_are_those_of_the_calendar() {
        let day = period("2026-10-25", "2026-10-26", "Europe/Berlin");
        assert_eq!(points(&day, Granularity::Hour).len(), 25);
        let howe = period("2026-04-05", "2026-04-06", "Australia/Lord_Howe");
        assert_eq!(points(&howe, Granularity::Hour).len(), 25);
        assert_eq!(
            points(
                &period("2026-10-24T12:00:00Z", "2026-11-03", "Europe/Berlin"),
                Granularity::Week
            ),
            [
                "2026-10-19T00:00:00.000+02:00",
                "2026-10-26T00:00:00.000+01:00",
                "2026-11-02T00:00:00.000+01:00"
            ]
        );
        assert_eq!(
            points(
                &period("2026-12-31", "2027-02-01T00:00:00.001Z", "UTC"),
                Granularity::Month
            ),
            [
                "2026-12-01T00:00:00.000+00:00",
                "2027-01-01T00:00:00.000+00:00",
                "2027-02-01T00:00:00.000+00:00"
            ]
        );
        let apia = period("2011-12-29", "2012-01-01", "Pacific/Apia");
        assert_eq!(
            points(&apia, Granularity::Day),
            ["2011-12-29T00:00:00.000-10:00", "2011-12-31T00:00:00.000+14:00"]
        );
        let cut = period("2026-11-01T10:00:00Z", "2026-11-02T10:00:00Z", "UTC");
        let buckets = cut.buckets(Granularity::Day).unwrap();
        assert_eq!((buckets[0].from, buckets[0].to), (cut.from, buckets[1].from));
        assert_eq!((buckets[1].at, buckets[1].to), (buckets[1].from, cut.to));
    }

    #[test]
    fn the_period_before_is_as_long() {
        let days = period("2026-03-29", "2026-03-30", "Europe/Berlin").previous();
        assert_eq!(
            (days.from, days.to),
            (at("2026-03-28T00:00:00+01:00"), at("2026-03-29T00:00:00+01:00"))
        );
        let hours = period("2026-03-29T12:00:00Z", "2026-03-30", "Europe/Berlin").previous();
        assert_eq!(hours.to - hours.from, 10 * 3_600_000);
    }
}
