//! The report of a workload for a browser: one file without anything from elsewhere. Pure.

use super::chart::{Line, Point, figure};
use super::run::Report;
use super::sample::Sample;
use std::fmt::Write as _;

const STYLE: &str = "
:root { color-scheme: light dark; --fg: #1d2330; --bg: #fff; --mute: #667085; --grid: #e4e7ec;
  --c0: #2563eb; --c1: #d97706; --c2: #dc2626; --good: #15803d; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e9ef; --bg: #14171d; --mute: #98a2b3; --grid: #2b303a;
  --c0: #60a5fa; --c1: #fbbf24; --c2: #f87171; --good: #4ade80; --bad: #f87171; } }
body { margin: 0 auto; max-width: 1500px; padding: 16px; font: 15px/1.45 system-ui, sans-serif; color: var(--fg);
  background: var(--bg); }
h1 { font-size: 1.4rem; margin: 0 0 4px; } h2 { font-size: 1.1rem; margin: 28px 0 8px; }
p { margin: 0 0 12px; color: var(--mute); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: 480px; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
.kept { color: var(--good); font-weight: 600; } .broken { color: var(--bad); font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 18px; }
figure { margin: 0; } figcaption { font-weight: 600; } small, .legend { color: var(--mute); font-weight: 400; }
.legend span { margin-left: 12px; white-space: nowrap; }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: middle; }
svg { width: 100%; height: auto; } svg text { fill: var(--mute); font-size: 11px; }
text.y { text-anchor: end; } text.x { text-anchor: middle; } .grid { stroke: var(--grid); }
.line { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
i.c0 { background: var(--c0); } i.c1 { background: var(--c1); } i.c2 { background: var(--c2); }
";

/// The whole page. The numbers are in it once more as JSON, for programs.
pub(super) fn page(report: &Report) -> String {
    let title = format!("Parlance under load: {}", report.profile);
    let verdict = match report.is_kept() {
        true => r#"<span class="kept">Every promise was kept.</span>"#,
        false => r#"<span class="broken">Not every promise was kept.</span>"#,
    };
    // A text in a script ends at its end tag, whatever stands around it.
    let json = serde_json::to_string(report)
        .unwrap_or_default()
        .replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p>{} users, {:.0} s, {:.0} of them counted after everybody was there. {verdict}</p>\n\
         <h2>Promises</h2><div class=\"scroll\">{}</div>\n<h2>Actions</h2><div class=\"scroll\">{}</div>\n{}\
         <h2>Over time</h2><div class=\"figures\">{}</div>\n\
         <script type=\"application/json\" id=\"report\">{json}</script></body></html>\n",
        report.users,
        report.seconds,
        report.counted_seconds,
        promises(report),
        actions(report),
        errors(report),
        figures(&report.samples),
    )
}

fn promises(report: &Report) -> String {
    let mut rows = String::new();
    for check in &report.checks {
        let (class, word) = if check.is_kept {
            ("kept", "kept")
        } else {
            ("broken", "broken")
        };
        write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
            check.name, check.promised, check.measured
        )
        .unwrap_or_default();
    }
    format!(
        "<table><thead><tr><th>what</th><th>promised</th><th>measured</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn actions(report: &Report) -> String {
    let mut rows = String::new();
    for row in &report.actions {
        write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            row.action, row.done, row.failed, row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms
        )
        .unwrap_or_default();
    }
    format!(
        "<table><thead><tr><th>action</th><th>done</th><th>failed</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th>\
         <th>max ms</th></tr></thead><tbody>{rows}</tbody></table>"
    )
}

fn errors(report: &Report) -> String {
    if report.errors.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for (error, n) in &report.errors {
        write!(rows, "<tr><td>{}</td><td>{n}</td></tr>", escape(error)).unwrap_or_default();
    }
    format!("<h2>Errors</h2><div class=\"scroll\"><table><tbody>{rows}</tbody></table></div>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn figures(samples: &[Sample]) -> String {
    let line = |name, value: &dyn Fn(&Sample) -> Option<f64>| Line {
        name,
        points: samples
            .iter()
            .map(|sample| Point {
                at_s: sample.at_s,
                value: value(sample),
            })
            .collect(),
    };
    [
        figure(
            "Rate",
            "per second",
            &[
                line("actions", &|s| Some(s.rate)),
                line("deliveries", &|s| Some(s.deliveries)),
            ],
        ),
        figure(
            "Latency",
            "ms",
            &[
                line("p50", &|s| Some(s.p50_ms)),
                line("p95", &|s| Some(s.p95_ms)),
                line("p99", &|s| Some(s.p99_ms)),
            ],
        ),
        figure(
            "Errors",
            "in each interval",
            &[line("errors", &|s| Some(s.errors as f64))],
        ),
        figure(
            "CPU",
            "% of a core",
            &[
                line("server", &|s| Some(s.server_cpu)),
                line("PostgreSQL", &|s| Some(s.postgres_cpu)),
            ],
        ),
        figure(
            "Memory of the server",
            "MiB",
            &[line("resident", &|s| Some(s.memory_mib))],
        ),
        figure("Hit rate of the cache", "%", &[line("hits", &|s| s.hit_rate)]),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::report;
    use super::*;

    #[test]
    fn the_page_needs_nothing_and_says_everything() {
        let page = page(&report());
        for wanted in [
            "light",
            "kept",
            "history",
            "Rate",
            "Hit rate",
            "application/json",
            "&lt;b&gt;",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for foreign in ["http://", "https://", "src=", "href=", "NaN", "<b>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        let json = page
            .split_once("id=\"report\">")
            .unwrap()
            .1
            .split_once("</script>")
            .unwrap()
            .0;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["users"], 10);
    }
}
