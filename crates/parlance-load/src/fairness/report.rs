//! The table of a run, and whether the neighbour was served.

use crate::fairness::neighbour::{Doing, Served};
use crate::measure::report::Latency;
use serde::Serialize;

/// What the neighbour saw, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub what: &'static str,
    pub send: Latency,
    pub list: Latency,
    pub search: Latency,
    pub sign_in: Latency,
    /// What the neighbour was refused.
    pub refused: u64,
    /// What the attackers were let do, per second.
    pub attack_per_s: f64,
}

impl Row {
    pub(super) fn new(what: &'static str, served: &Served, attack_per_s: f64) -> Self {
        let latency = |doing: Doing| Latency::of(&served.took[doing as usize]);
        Self {
            what,
            send: latency(Doing::Send),
            list: latency(Doing::List),
            search: latency(Doing::Search),
            sign_in: latency(Doing::SignIn),
            refused: served.refused,
            attack_per_s,
        }
    }

    fn latencies(&self) -> [&Latency; 4] {
        [&self.send, &self.list, &self.search, &self.sign_in]
    }
}

/// The result of `fairness`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub quiet: Row,
    pub attacked: Vec<Row>,
    pub tolerance: f64,
    pub floor_ms: f64,
}

impl Report {
    /// How many times the quiet p99 this is.
    fn ratio(&self, number: usize, latency: &Latency) -> f64 {
        latency.p99_ms / self.quiet.latencies()[number].p99_ms.max(0.001)
    }

    fn is_too_long(&self, number: usize, latency: &Latency) -> bool {
        latency.p99_ms > self.floor_ms && self.ratio(number, latency) > self.tolerance
    }

    fn is_served(&self, row: &Row) -> bool {
        let mut numbered = row.latencies().into_iter().enumerate();
        row.refused == 0 && !numbered.any(|(number, latency)| self.is_too_long(number, latency))
    }

    /// Whether nothing took the neighbour too long, and nothing was refused.
    pub(crate) fn is_fair(&self) -> bool {
        self.is_served(&self.quiet) && self.attacked.iter().all(|row| self.is_served(row))
    }

    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<36} {:>22} {:>22} {:>22} {:>22} {:>8} {:>9}",
            "p50 / p99 in ms (× quiet p99)", "send", "list", "search", "sign-in", "refused", "attack/s"
        )];
        for row in std::iter::once(&self.quiet).chain(&self.attacked) {
            let cells = row.latencies().into_iter().enumerate().map(|(number, latency)| {
                let mark = if self.is_too_long(number, latency) { "!" } else { " " };
                let ratio = self.ratio(number, latency);
                format!("{:.1} / {:.1} (×{ratio:.1}){mark}", latency.p50_ms, latency.p99_ms)
            });
            let cells: Vec<_> = cells.map(|cell| format!("{cell:>22}")).collect();
            let Row {
                what,
                refused,
                attack_per_s,
                ..
            } = row;
            lines.push(format!(
                "{what:<36} {} {refused:>8} {attack_per_s:>9.0}",
                cells.join(" ")
            ));
        }
        let verdict = if self.is_fair() {
            "The neighbour was served."
        } else {
            "The neighbour had to wait too long (!), or was refused."
        };
        lines.push(verdict.to_owned());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(p99_ms: f64, refused: u64) -> Row {
        let latency = Latency {
            p99_ms,
            ..Latency::default()
        };
        Row {
            what: "x",
            send: Latency::default(),
            list: latency,
            search: Latency::default(),
            sign_in: Latency::default(),
            refused,
            attack_per_s: 0.0,
        }
    }

    #[test]
    fn twice_as_long_is_fair_and_more_is_not() {
        let report = |p99_ms, refused| Report {
            quiet: row(20.0, 0),
            attacked: vec![row(1.0, 0), row(p99_ms, refused)],
            tolerance: 2.0,
            floor_ms: 25.0,
        };
        assert!(report(40.0, 0).is_fair());
        assert!(!report(41.0, 0).is_fair() && report(41.0, 0).table().contains("×2.0)!"));
        assert!(!report(1.0, 1).is_fair());
        let quick = Report {
            quiet: row(2.0, 0),
            ..report(25.0, 0)
        };
        assert!(quick.is_fair(), "next to nothing doubles easily");
    }
}
