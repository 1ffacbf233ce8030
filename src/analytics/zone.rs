//! Time zones: which calendar day, week, month or hour an instant belongs to, and when each begins.
//! Pure.
//!
//! Used by `period.rs` and by every question. Instants are milliseconds of Unix time, days are
//! numbered from 1970-01-01. The rules are those of the IANA database that is built into the
//! program (crate `jiff`), so all nodes of a version answer alike, whatever their systems and the
//! database have.
//!
//! A day is the instants from the first at which the calendar shows it to the first at which the
//! calendar shows a later one. So midnights that are missing or come twice have one answer.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// The calendar repeats after 400 years, weekdays included.
const CYCLE_MS: i64 = 146_097 * DAY_MS;
/// From here on the rules are asked of 400 years before: `jiff` ends a day before the year 10000.
const LAST_ASKED_MS: i64 = 250_000_000_000_000;
/// Longer than any zone is away from UTC.
const OFFSET_MAX_MS: i64 = 36 * HOUR_MS;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: TimeZone,
    name: String,
}

impl Zone {
    /// The zone of this name or link, exactly as IANA writes it.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        // A placeholder of the database, which says nothing of any place.
        if name == "Factory" {
            return None;
        }
        let rules = ZONES.get(name).ok()?;
        let is_exact = rules.iana_name() == Some(name) && !rules.is_unknown();
        is_exact.then(|| Self {
            rules,
            name: name.to_owned(),
        })
    }

    #[must_use]
    pub fn utc() -> Self {
        Self {
            rules: TimeZone::UTC,
            name: "UTC".to_owned(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far the clocks are ahead of UTC at an instant, in milliseconds.
    #[must_use]
    pub fn offset_ms(&self, at: i64) -> i64 {
        let (asked, _) = asked(at);
        i64::from(self.rules.to_offset(asked).seconds()) * 1_000
    }

    /// The first instant after `at` at which the offset changes.
    fn next_change(&self, at: i64) -> Option<i64> {
        let (mut from, shift) = asked(at);
        let offset = self.rules.to_offset(from);
        loop {
            let next = self.rules.following(from).next()?;
            if next.offset() != offset {
                return Some(next.timestamp().as_millisecond() + shift);
            }
            from = next.timestamp();
        }
    }

    /// The last instant up to `at` at which the offset changed.
    fn last_change(&self, at: i64) -> Option<i64> {
        let (mut until, shift) = asked(at + 1);
        loop {
            let last = self.rules.preceding(until).next()?;
            let at = last.timestamp();
            let before = self.rules.to_offset(at - jiff::SignedDuration::from_millis(1));
            if before != last.offset() {
                return Some(at.as_millisecond() + shift);
            }
            until = at;
        }
    }

    /// The first instant of a day, or of the next one that this zone has.
    #[must_use]
    pub fn first_instant(&self, day: i64) -> i64 {
        let local = day * DAY_MS;
        let mut from = local - OFFSET_MAX_MS;
        loop {
            let first = (local - self.offset_ms(from)).max(from);
            match self.next_change(from) {
                Some(change) if change <= first => from = change,
                _ => return first,
            }
        }
    }

    /// The day that an instant belongs to.
    #[must_use]
    pub fn day(&self, at: i64) -> i64 {
        let mut day = (at + self.offset_ms(at)).div_euclid(DAY_MS);
        while self.first_instant(day + 1) <= at {
            day += 1;
        }
        day
    }

    /// Whether an instant is the first of its day.
    #[must_use]
    pub fn is_midnight(&self, at: i64) -> bool {
        self.first_instant(self.day(at)) == at
    }

    /// When the hour of an instant began: at a full hour of the clock, or where the clock was
    /// changed.
    #[must_use]
    pub fn hour_start(&self, at: i64) -> i64 {
        let full = at - (at + self.offset_ms(at)).rem_euclid(HOUR_MS);
        self.last_change(at).map_or(full, |change| change.max(full))
    }

    /// When the hour of an instant ends.
    #[must_use]
    pub fn hour_end(&self, at: i64) -> i64 {
        let full = at + HOUR_MS - (at + self.offset_ms(at)).rem_euclid(HOUR_MS);
        self.next_change(at).map_or(full, |change| change.min(full))
    }

    /// Whether all clocks between two instants are whole quarters of an hour away from UTC.
    #[must_use]
    pub fn has_whole_quarters(&self, from: i64, to: i64) -> bool {
        const QUARTER_MS: i64 = HOUR_MS / 4;
        let mut at = from;
        loop {
            if self.offset_ms(at) % QUARTER_MS != 0 {
                return false;
            }
            match self.next_change(at) {
                // The change itself, too: some were in the middle of a quarter.
                Some(change) if change < to => {
                    if change % QUARTER_MS != 0 {
                        return false;
                    }
                    at = change;
                }
                _ => return true,
            }
        }
    }

    /// The weekday (0 is Monday) and the hour that the clocks show.
    #[must_use]
    pub fn weekday_and_hour(&self, at: i64) -> (usize, usize) {
        let local = at + self.offset_ms(at);
        let hour = local.rem_euclid(DAY_MS) / HOUR_MS;
        let weekday = weekday(local.div_euclid(DAY_MS));
        (weekday, usize::try_from(hour).unwrap_or(0))
    }
}

/// The instant at which the rules are asked, and how much earlier that is.
fn asked(at: i64) -> (Timestamp, i64) {
    let shift = if at > LAST_ASKED_MS { CYCLE_MS } else { 0 };
    let clamped = (at - shift).clamp(-80_000_000_000_000, LAST_ASKED_MS);
    (
        Timestamp::from_millisecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH),
        shift,
    )
}

/// The weekday of a day, 0 is Monday.
#[must_use]
pub(super) fn weekday(day: i64) -> usize {
    // 1970-01-01 was a Thursday.
    usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)
}

/// Year, month and day of the month of a day.
#[must_use]
pub(super) fn date(day: i64) -> (i64, i64, i64) {
    // Howard Hinnant's `civil_from_days`: years that begin in March, in eras of 400 years.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

/// The day of a date. The month is 1–12.
#[must_use]
pub(super) fn day_of(year: i64, month: i64, day_of_month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day_of_month - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn zone(name: &str) -> Zone {
        Zone::find(name).unwrap()
    }

    #[test]
    fn names_are_those_of_iana_as_written() {
        for name in [
            "UTC",
            "Europe/Berlin",
            "Asia/Calcutta",
            "Asia/Kathmandu",
            "Etc/GMT+5",
            "America/St_Johns",
        ] {
            assert_eq!(zone(name).name(), name);
        }
        for name in [
            "",
            "europe/berlin",
            "utc",
            "CEST",
            "PST",
            "+02:00",
            "UTC+1",
            "Factory",
            "Etc/Unknown",
            "Europe/Berlin ",
        ] {
            assert!(Zone::find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn dates_and_days_are_the_same() {
        for day in (-719_162..2_932_897).step_by(97) {
            let (year, month, day_of_month) = date(day);
            assert_eq!(day_of(year, month, day_of_month), day);
            let known = chrono::DateTime::from_timestamp(day * 86_400, 0).unwrap();
            assert_eq!(
                known.format("%Y-%-m-%-d").to_string(),
                format!("{year:04}-{month}-{day_of_month}")
            );
        }
        assert_eq!(weekday(day_of(2026, 11, 23)), 0);
    }

    #[test]
    fn days_begin_when_the_calendar_first_shows_them() {
        for (name, date, first) in [
            ("Europe/Berlin", (2026, 3, 29), "2026-03-29T00:00:00+01:00"),
            ("Europe/Berlin", (2026, 3, 30), "2026-03-30T00:00:00+02:00"),
            // No midnight: the clocks went from 24:00 to 1:00.
            ("America/Sao_Paulo", (2018, 11, 4), "2018-11-04T01:00:00-02:00"),
            // Two midnights: the clocks went from 1:00 to 0:00, or from 0:01 to 23:01.
            ("America/Havana", (2025, 11, 2), "2025-11-02T00:00:00-04:00"),
            ("America/St_Johns", (2010, 11, 7), "2010-11-07T00:00:00-02:30"),
            // No such day.
            ("Pacific/Apia", (2011, 12, 30), "2011-12-31T00:00:00+14:00"),
            ("Asia/Kathmandu", (2026, 1, 1), "2026-01-01T00:00:00+05:45"),
            ("UTC", (9999, 12, 31), "9999-12-31T00:00:00Z"),
            ("America/New_York", (9999, 12, 31), "9999-12-31T00:00:00-05:00"),
            ("America/New_York", (9999, 7, 4), "9999-07-04T00:00:00-04:00"),
            ("America/New_York", (9901, 7, 4), "9901-07-04T00:00:00-04:00"),
        ] {
            let (zone, day) = (zone(name), day_of(date.0, date.1, date.2));
            assert_eq!(zone.first_instant(day), at(first), "{name} {date:?}");
        }
        let johns = zone("America/St_Johns");
        let again = at("2010-11-06T23:30:00-03:30");
        assert_eq!(
            johns.day(again),
            day_of(2010, 11, 7),
            "the calendar has shown the 7th already"
        );
        assert!(zone("America/Sao_Paulo").is_midnight(at("2018-11-04T01:00:00-02:00")));
    }

    #[test]
    fn hours_are_those_of_the_clock() {
        let berlin = zone("Europe/Berlin");
        let twice = [at("2026-10-25T02:00:00+02:00"), at("2026-10-25T02:00:00+01:00")];
        assert_eq!(berlin.hour_end(twice[0]), twice[1]);
        assert_eq!(berlin.hour_start(twice[1] + 1), twice[1]);
        let howe = zone("Australia/Lord_Howe");
        let back = at("2026-04-05T02:00:00+11:00");
        assert_eq!(howe.hour_end(back - 1), back);
        assert_eq!(
            (howe.hour_start(back + 60_000), howe.hour_end(back)),
            (back, back + HOUR_MS / 2)
        );
        assert_eq!(howe.weekday_and_hour(back), (6, 1));
        assert!(howe.has_whole_quarters(back - DAY_MS, back + DAY_MS));
        assert!(!zone("Africa/Monrovia").has_whole_quarters(at("1971-01-01T00:00:00Z"), at("1973-01-01T00:00:00Z")));
    }
}
