//! What a demo year is asked to be. Pure.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// The address of the workspace's owner, by which a demo is known again.
pub const EMAIL: &str = "ada@demo.example";
/// The password of everybody in it. No secret: a demo is for the machine that it is made on.
pub const PASSWORD: &str = "a year of talk";

/// Days of a year.
pub(super) const DAYS: i32 = 365;

/// The size, the seed and the end of a year.
#[derive(Clone, Copy, Debug)]
pub struct DemoPlan {
    pub seed: u64,
    pub messages: u64,
    /// Agents included.
    pub people: usize,
    /// Nothing of it is later.
    pub until: DateTime<Utc>,
}

impl DemoPlan {
    /// The first of the [`DAYS`] days, the last of which holds the end.
    pub(super) fn first_day(&self) -> NaiveDate {
        self.until.date_naive() - TimeDelta::days(i64::from(DAYS) - 1)
    }

    /// The first instant of a day, counted from the first, in milliseconds since 1970.
    pub(super) fn day_ms(&self, day: i32) -> i64 {
        let first = self.first_day().and_time(chrono::NaiveTime::MIN).and_utc();
        first.timestamp_millis() + i64::from(day) * 86_400_000
    }

    /// The day of a moment, counted from the first.
    pub(super) fn day_of(&self, at_ms: i64) -> i32 {
        i32::try_from((at_ms - self.day_ms(0)).div_euclid(86_400_000)).unwrap_or(0)
    }
}
