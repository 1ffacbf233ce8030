//! What was promised of a workload, and whether it was kept. Pure.

use super::size::{Extent, HIT_RATE_PERCENT, OUR_P95_MS};
use serde::Serialize;

/// What was measured after the ramp.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) p95_ms: f64,
    /// In percent; none when the server does not say.
    pub(super) hit_rate: Option<f64>,
}

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) promised: String,
    pub(super) measured: String,
    pub(super) is_kept: bool,
}

/// All promises: those of the guides, by size, and ours.
pub(super) fn judge(extent: &Extent, measured: Measured) -> Vec<Check> {
    let Measured {
        done,
        failed,
        p95_ms,
        hit_rate,
    } = measured;
    let errors = failed as f64 / (done + failed).max(1) as f64 * 100.0;
    let check = |name, promised, measured, is_kept| Check {
        name,
        promised,
        measured,
        // Of nothing, nothing is kept.
        is_kept: is_kept && done > 0,
    };
    let p95 = format!("{p95_ms:.1} ms");
    vec![
        check(
            "p95",
            format!("under {:.0} ms", extent.p95_ms),
            p95.clone(),
            p95_ms < extent.p95_ms,
        ),
        check(
            "errors",
            format!("under {} %", extent.errors_percent),
            format!("{errors:.3} %"),
            errors < extent.errors_percent,
        ),
        check(
            "cache hit rate",
            format!("over {HIT_RATE_PERCENT:.0} %"),
            hit_rate.map_or("unknown".to_owned(), |rate| format!("{rate:.1} %")),
            hit_rate.is_some_and(|rate| rate > HIT_RATE_PERCENT),
        ),
        check(
            "p95, ours",
            format!("under {OUR_P95_MS:.0} ms"),
            p95,
            p95_ms < OUR_P95_MS,
        ),
        check("errors, ours", "none".to_owned(), failed.to_string(), failed == 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::size::Size;
    use super::*;

    fn kept(measured: Measured) -> Vec<bool> {
        judge(&Size::Medium.extent(), measured)
            .iter()
            .map(|check| check.is_kept)
            .collect()
    }

    #[test]
    fn every_promise_can_be_broken() {
        let good = Measured {
            done: 1_000,
            failed: 0,
            p95_ms: 3.0,
            hit_rate: Some(95.0),
        };
        assert_eq!(kept(good), [true; 5]);
        assert_eq!(kept(Measured { p95_ms: 21.0, ..good }), [true, true, true, false, true]);
        assert_eq!(
            kept(Measured { p95_ms: 300.0, ..good }),
            [false, true, true, false, true]
        );
        assert_eq!(kept(Measured { failed: 1, ..good }), [true, true, true, true, false]);
        assert_eq!(kept(Measured { failed: 6, ..good }), [true, false, true, true, false]);
        assert_eq!(
            kept(Measured {
                hit_rate: Some(80.0),
                ..good
            }),
            [true, true, false, true, true]
        );
        assert_eq!(
            kept(Measured { hit_rate: None, ..good }),
            [true, true, false, true, true]
        );
        assert_eq!(kept(Measured { done: 0, ..good }), [false; 5]);
    }
}
