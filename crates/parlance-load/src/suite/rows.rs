//! The table of the suite: what was measured, beside what the project promises. Pure.

use crate::measure::report::Traffic;
use crate::measure::stats::median;
use serde::Serialize;

/// What the project promises of a number (`must`), and what it aims at. Where the aim is higher,
/// more is better.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Promise {
    pub(super) must: f64,
    pub(super) aim: f64,
}

pub(super) const fn promise(must: f64, aim: f64) -> Promise {
    Promise { must, aim }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    pub(super) median: f64,
    runs: Vec<f64>,
    /// None for what is only worth knowing.
    promise: Option<Promise>,
}

impl Row {
    fn verdict(&self) -> &'static str {
        let Some(Promise { must, aim }) = self.promise else {
            return "";
        };
        let reaches = |bound: f64| {
            if aim > must {
                self.median >= bound
            } else {
                self.median <= bound
            }
        };
        if reaches(aim) {
            "aim"
        } else if reaches(must) {
            "must"
        } else {
            "MISSED"
        }
    }
}

#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Messages that were lost, doubled, reordered or swapped, in all parts.
    pub(super) faults: u64,
}

impl Rows {
    /// One more value of a number that something is promised of.
    pub(super) fn add(&mut self, name: &str, unit: &'static str, value: f64, promise: Promise) {
        self.put(name, unit, value, Some(promise));
    }

    /// One more value of a number that is worth knowing.
    pub(super) fn note(&mut self, name: &str, unit: &'static str, value: f64) {
        self.put(name, unit, value, None);
    }

    /// The median of what has been measured under a name.
    pub(super) fn known(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.median)
    }

    fn put(&mut self, name: &str, unit: &'static str, value: f64, promise: Option<Promise>) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.runs.push(value);
            row.median = median(row.runs.clone());
            return;
        }
        self.rows.push(Row {
            name: name.into(),
            unit,
            median: value,
            runs: vec![value],
            promise,
        });
    }

    pub(super) fn count_faults(&mut self, traffic: &Traffic) {
        self.faults += traffic.faults();
    }

    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("  {:<64} {:>12} {:>12} {:>12}", "", "median", "must", "aim")];
        for row in &self.rows {
            let of_bounds = row.promise.map_or(row.median, |promise| promise.must.max(promise.aim));
            let digits = if of_bounds >= 100.0 { 0 } else { 2 };
            let bound = |bound: Option<f64>| bound.map_or(String::new(), |bound| format!("{bound:.digits$}"));
            lines.push(format!(
                "  {:<64} {:>12.digits$} {:>12} {:>12}  {}",
                format!("{} ({})", row.name, row.unit),
                row.median,
                bound(row.promise.map(|promise| promise.must)),
                bound(row.promise.map(|promise| promise.aim)),
                row.verdict()
            ));
        }
        lines.push(format!(
            "  lost, duplicate, out of order or mismatched: {}",
            self.faults
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_judged_by_its_median() {
        let mut rows = Rows::default();
        for value in [5.0, 40.0, 9.0] {
            rows.add("latency", "ms", value, promise(10.0, 4.0));
        }
        rows.add("rate", "/s", 0.79, promise(0.8, 0.95));
        rows.note("cost", "s", 3.0);
        let verdicts: Vec<_> = rows.rows.iter().map(Row::verdict).collect();
        assert_eq!(verdicts, ["must", "MISSED", ""]);
        assert_eq!(rows.known("latency"), Some(9.0));
        assert_eq!(rows.table().lines().count(), 5);
    }
}
