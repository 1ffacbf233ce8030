//! The table of the suite: what was measured, beside what is promised. Pure.

use crate::report::Traffic;
use crate::turns::median;
use serde::Serialize;

/// One line of the table: what was measured and what is promised.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    pub(super) median: f64,
    runs: Vec<f64>,
    /// What is promised and what is aimed at; none for what is only told.
    bounds: Option<(f64, f64)>,
}

impl Row {
    fn verdict(&self) -> &'static str {
        let Some((must, aim)) = self.bounds else { return "" };
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

/// The table.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Messages that were lost, doubled, reordered or swapped, in all of it.
    pub(super) faults: u64,
}

impl Rows {
    /// One more run of a number that something is promised of.
    pub(super) fn add(&mut self, name: &str, unit: &'static str, value: f64, bounds: (f64, f64)) {
        self.put(name, unit, value, Some(bounds));
    }

    /// One more run of a number that is worth knowing.
    pub(super) fn tell(&mut self, name: &str, unit: &'static str, value: f64) {
        self.put(name, unit, value, None);
    }

    /// The median of what has been measured under a name.
    pub(super) fn known(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.median)
    }

    fn put(&mut self, name: &str, unit: &'static str, value: f64, bounds: Option<(f64, f64)>) {
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
            bounds,
        });
    }

    /// Counts what went wrong.
    pub(super) fn sound(&mut self, traffic: &Traffic) {
        self.faults += traffic.faults();
    }

    /// The table for people.
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("  {:<64} {:>12} {:>12} {:>12}", "", "median", "must", "aim")];
        for row in &self.rows {
            let of_bounds = row.bounds.map_or(row.median, |(must, aim)| must.max(aim));
            let digits = if of_bounds >= 100.0 { 0 } else { 2 };
            let bound = |bound: Option<f64>| bound.map_or(String::new(), |bound| format!("{bound:.digits$}"));
            lines.push(format!(
                "  {:<64} {:>12.digits$} {:>12} {:>12}  {}",
                format!("{} ({})", row.name, row.unit),
                row.median,
                bound(row.bounds.map(|(must, _)| must)),
                bound(row.bounds.map(|(_, aim)| aim)),
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
            rows.add("latency", "ms", value, (10.0, 4.0));
        }
        rows.add("rate", "/s", 0.79, (0.8, 0.95));
        rows.tell("cost", "s", 3.0);
        let verdicts: Vec<_> = rows.rows.iter().map(Row::verdict).collect();
        assert_eq!(verdicts, ["must", "MISSED", ""]);
        assert_eq!(rows.known("latency"), Some(9.0));
        assert_eq!(rows.table().lines().count(), 5);
    }
}
