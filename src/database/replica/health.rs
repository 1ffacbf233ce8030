//! The latest finding about a replica. Pure, but for the log line when it changes.

use super::assessment::Unusable;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a finding counts: two questions that are just in time, and the pause between them.
const AGE_MAX: Duration = Duration::from_secs(4);

/// The state of a replica, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaStatus {
    /// Why it is not read; `None` while it is.
    pub trouble: Option<String>,
    /// How old it is at most, where that is known.
    pub lag: Option<Duration>,
}

/// The latest finding about a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaHealth {
    pub(super) usable: Result<(), Unusable>,
    pub(super) lag: Option<Duration>,
    pub(super) at: Instant,
}

impl ReplicaHealth {
    pub(super) fn unusable(reason: Unusable) -> Self {
        Self {
            usable: Err(reason),
            lag: None,
            at: Instant::now(),
        }
    }

    /// Why the replica may not be read now. Since the finding it has grown older by the finding's
    /// age.
    pub(super) fn trouble(&self, lag_max: Duration) -> Option<Unusable> {
        let age = self.at.elapsed();
        match self.usable {
            Err(reason) => Some(reason),
            Ok(()) if age >= AGE_MAX => Some(Unusable::Unknown),
            Ok(()) if self.lag.is_none_or(|lag| lag + age > lag_max) => Some(Unusable::Behind),
            Ok(()) => None,
        }
    }
}

/// Replaces the finding, and logs it where it is another one.
pub(super) fn update(findings: &watch::Sender<ReplicaHealth>, health: ReplicaHealth) {
    let before = findings.send_replace(health);
    match (before.usable, health.usable) {
        (before, now) if before == now => {}
        (_, Ok(())) => tracing::info!("the replica is well; searches are made there"),
        (_, Err(Unusable::Unknown)) => {}
        (_, Err(reason)) => tracing::warn!(%reason, "the replica is not used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MAX: Duration = Duration::from_secs(5);

    #[test]
    fn a_finding_grows_old_with_the_replica() {
        for (lag, age, trouble) in [
            (0, 0, None),
            (0, 3, None),
            (3, 1, None),
            (5, 1, Some(Unusable::Behind)),
            (3, 3, Some(Unusable::Behind)),
            (0, 4, Some(Unusable::Unknown)),
        ] {
            let health = ReplicaHealth {
                usable: Ok(()),
                lag: Some(Duration::from_secs(lag)),
                at: Instant::now().checked_sub(Duration::from_secs(age)).unwrap(),
            };
            assert_eq!(health.trouble(LAG_MAX), trouble, "{lag} {age}");
        }
        let away = ReplicaHealth::unusable(Unusable::Away);
        assert_eq!(away.trouble(LAG_MAX), Some(Unusable::Away));
    }
}
