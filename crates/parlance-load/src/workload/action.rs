//! What users do, how often, and how long they think before. Pure.

use std::time::Duration;

/// One thing that a user does, and that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Opens a socket and subscribes to every room.
    Open,
    /// Says something: over the socket until it is acknowledged, or over REST.
    Post,
    /// Begins or ends typing.
    Typing,
    /// Says how far it has read.
    Read,
    /// Reads a page of history.
    History,
    /// Lists conversations.
    List,
    Search,
    /// Asks for numbers of the workspace.
    Analytics,
}

impl Action {
    pub(super) const ALL: [Self; 8] = [
        Self::Open,
        Self::Post,
        Self::Typing,
        Self::Read,
        Self::History,
        Self::List,
        Self::Search,
        Self::Analytics,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Post => "post",
            Self::Typing => "typing",
            Self::Read => "read",
            Self::History => "history",
            Self::List => "list",
            Self::Search => "search",
            Self::Analytics => "analytics",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Somebody at a page, with a socket.
    Person,
    /// A program with a key.
    Program,
}

/// A number below a hundred, to an action.
pub(super) const fn pick(role: Role, of_hundred: u32) -> Action {
    match (role, of_hundred) {
        (Role::Person, 0..20) => Action::Post,
        (Role::Person, 20..42) => Action::Typing,
        (Role::Person, 42..62) => Action::Read,
        (Role::Person, 62..84) => Action::History,
        // Notices keep the list of a page true; it is asked for once, when the page is opened.
        (Role::Person, 84..88) => Action::List,
        (Role::Person, 88..95) => Action::Search,
        (Role::Person, _) => Action::Open,
        (Role::Program, 0..5) => Action::Post,
        (Role::Program, 5..40) => Action::History,
        (Role::Program, 40..75) => Action::List,
        (Role::Program, 75..80) => Action::Search,
        (Role::Program, _) => Action::Analytics,
    }
}

/// How long a user thinks on average.
const fn mean_thought(role: Role) -> Duration {
    match role {
        Role::Person => Duration::from_millis(2_500),
        Role::Program => Duration::from_millis(800),
    }
}

/// A thought: short ones often, long ones now and then. `share` is between 0 and 1.
pub(super) fn thought(role: Role, share: f64) -> Duration {
    let times = -(1.0 - share.clamp(0.0, 0.999)).ln();
    mean_thought(role).mul_f64(times.clamp(0.05, 5.0))
}

/// Questions of a program for numbers, in turns: what is now, and for the most part what was until
/// today.
pub(super) const QUESTIONS: [&str; 7] = [
    "/api/analytics/summary",
    "/api/analytics/summary?to={today}",
    "/api/analytics/messages?granularity=day&group_by=conversation&to={today}",
    "/api/analytics/users/active?granularity=week&to={today}",
    "/api/analytics/users/top?to={today}",
    "/api/analytics/conversations/top?sort=participants&to={today}",
    "/api/analytics/latency?granularity=hour",
];

/// The date of a moment in UTC, as `2026-11-01`.
pub(super) fn date(since_1970: Duration) -> String {
    // Howard Hinnant's `civil_from_days`: years that begin in March, in eras of 400 years.
    let shifted = since_1970.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_by_somebody() {
        let done: Vec<Action> = [Role::Person, Role::Program]
            .into_iter()
            .flat_map(|role| (0..100).map(move |n| pick(role, n)))
            .collect();
        for (n, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action.index(), n);
            assert!(done.contains(&action), "{action:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_910_399, "2026-11-28"),
            (1_798_761_600, "2027-01-01"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn thoughts_are_bounded_and_around_their_mean() {
        let thoughts: Vec<f64> = (0..1_000)
            .map(|n| thought(Role::Person, f64::from(n) / 1_000.0).as_secs_f64())
            .collect();
        let mean = thoughts.iter().sum::<f64>() / 1_000.0;
        assert!((2.2..2.8).contains(&mean), "{mean}");
        assert!(thoughts.iter().all(|s| (0.1..13.0).contains(s)));
    }
}
