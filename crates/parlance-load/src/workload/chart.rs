//! A picture of numbers over time, as SVG without a script. Pure.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// Points of a line; more are joined, the highest of each group stays.
const POINTS_MAX: usize = 600;

/// One line.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Seconds and value; a hole is left where there is none.
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) at_s: f64,
    pub(super) value: Option<f64>,
}

/// A figure with its title, its lines and their names.
pub(super) fn figure(title: &str, unit: &str, lines: &[Line]) -> String {
    let end_s = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.at_s)
        .fold(1.0, f64::max);
    let highest = lines
        .iter()
        .flat_map(|line| &line.points)
        .filter_map(|point| point.value)
        .fold(0.0, f64::max);
    let top = round_up(highest);
    let x = |at_s: f64| LEFT + at_s / end_s * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let at = y(value);
        put(
            &mut svg,
            format_args!(
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text class="y" x="{:.1}" y="{:.1}">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                label(value)
            ),
        );
        let at_s = end_s * f64::from(step) / 4.0;
        put(
            &mut svg,
            format_args!(
                r#"<text class="x" x="{:.1}" y="{:.1}">{:.0}:{:02.0}</text>"#,
                x(at_s),
                HEIGHT - 8.0,
                (at_s / 60.0).floor(),
                at_s.floor() % 60.0
            ),
        );
    }
    for (n, line) in lines.iter().enumerate() {
        for piece in pieces(&thin(&line.points)) {
            let points: Vec<String> = piece
                .iter()
                .map(|(at_s, value)| format!("{:.1},{:.1}", x(*at_s), y(*value)))
                .collect();
            put(
                &mut svg,
                format_args!(r#"<polyline class="line c{n}" points="{}"/>"#, points.join(" ")),
            );
        }
    }
    let mut legend = String::new();
    for (n, line) in lines.iter().enumerate() {
        put(
            &mut legend,
            format_args!(r#"<span><i class="c{n}"></i>{}</span>"#, line.name),
        );
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    format!(
        r#"<figure><figcaption>{title} <small>{unit}</small> <span class="legend">{legend}</span></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} over time: {}">{svg}</svg></figure>"#,
        names.join(", ")
    )
}

fn put(into: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    into.write_fmt(what).unwrap_or_default();
}

/// The next number that reads well.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 8.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn label(value: f64) -> String {
    match value {
        ..10.0 if value.fract() > 0.0 => format!("{value:.2}"),
        ..1_000.0 if value.fract() > 0.0 => format!("{value:.1}"),
        10_000.0.. => format!("{:.0}k", value / 1_000.0),
        _ => format!("{value:.0}"),
    }
}

/// At most [`POINTS_MAX`] points, the highest of those that are joined.
fn thin(points: &[Point]) -> Vec<Point> {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |some: &[Point]| {
        let mut points = some.iter().copied();
        let first = points.next()?;
        Some(points.fold(first, |best, point| if point.value > best.value { point } else { best }))
    };
    points.chunks(each).filter_map(highest).collect()
}

/// What is between holes.
fn pieces(points: &[Point]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = vec![Vec::new()];
    for Point { at_s, value } in points {
        match (value, pieces.last_mut()) {
            (Some(value), Some(piece)) => piece.push((*at_s, *value)),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[Option<f64>]) -> Line {
        let points = values.iter().enumerate().map(|(n, value)| Point {
            at_s: n as f64,
            value: *value,
        });
        Line {
            name: "rate",
            points: points.collect(),
        }
    }

    #[test]
    fn a_hole_parts_the_line_and_many_points_keep_their_peaks() {
        let with_hole = figure(
            "Rate",
            "per second",
            &[line(&[Some(1.0), Some(2.0), None, Some(3.0), Some(1.0)])],
        );
        assert_eq!(with_hole.matches("<polyline").count(), 2);
        let mut values = vec![Some(1.0); 5_000];
        values[4_321] = Some(99.0);
        let thin = thin(&line(&values).points);
        assert!(thin.len() <= POINTS_MAX && thin.iter().any(|point| point.value == Some(99.0)));
        assert!(!figure("Nothing", "", &[line(&[])]).contains("NaN"));
    }

    #[test]
    fn the_top_reads_well() {
        for (value, top) in [
            (0.0, 1.0),
            (0.7, 0.8),
            (1.0, 1.0),
            (37.0, 40.0),
            (41.0, 50.0),
            (99.0, 100.0),
        ] {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }
}
