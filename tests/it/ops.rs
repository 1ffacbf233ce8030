//! What operators install (`ops/`) against what the server has: alerts and dashboards name metrics that exist, and every
//! alert leads to a runbook. A dashboard with a metric that was renamed shows nothing, and an alert never fires; nobody
//! would notice before the night in which it matters.

use crate::tidy::{expect_none, first_word, sources};
use parlance::metrics::metrics;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the exporters that compose.yaml runs are asked for; each was seen at a real one.
const OTHERS: [&str; 32] = [
    "up",
    "pg_up",
    "pg_database_size_bytes",
    "pg_locks_count",
    "pg_settings_max_connections",
    "pg_stat_activity_count",
    "pg_stat_activity_max_tx_duration",
    "pg_stat_database_blks_hit",
    "pg_stat_database_blks_read",
    "pg_stat_database_deadlocks",
    "pg_stat_database_tup_fetched",
    "pg_stat_database_tup_inserted",
    "pg_stat_database_tup_updated",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "redis_up",
    "redis_commands_total",
    "redis_connected_clients",
    "redis_evicted_keys_total",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
    "redis_net_input_bytes_total",
    "redis_net_output_bytes_total",
    "redis_pubsub_channels",
    "nginx_up",
    "nginx_connections_accepted",
    "nginx_connections_active",
    "nginx_connections_handled",
    "nginx_connections_reading",
    "nginx_connections_waiting",
    "nginx_connections_writing",
    "nginx_http_requests_total",
];

/// What a query may say between metrics.
const WORDS: [&str; 9] = ["and", "or", "unless", "bool", "offset", "sum", "count", "max", "min"];

/// What labels stand behind.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// All series a query asks for: its words, but for functions, what stands in braces, quotes and brackets, and the labels
/// behind `by` and its like.
fn series_of(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut rest, mut depth, mut labels) = (query, 0, false);
    while let Some(next) = rest.chars().next() {
        let mut length = next.len_utf8();
        match next {
            '"' => length = 2 + rest[1..].find('"').unwrap(),
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ')' => labels = false,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = first_word(rest).unwrap();
                length = word.len();
                let is_call = rest[length..].trim_start().starts_with('(');
                let is_grouping = GROUPINGS.contains(&&*word);
                labels |= is_grouping;
                if depth == 0 && !labels && !is_call && !WORDS.contains(&&*word) {
                    found.insert(word);
                }
            }
            // The word behind a number or a `$` is its unit, or a name of Grafana's.
            c if c.is_ascii_digit() || c == '$' => {
                length = rest[1..]
                    .find(|c: char| !c.is_alphanumeric() && !"._".contains(c))
                    .map_or(rest.len(), |at| at + 1);
            }
            _ => {}
        }
        rest = &rest[length..];
    }
    found
}

/// Whether the server, or what stands around it, has such a series.
fn exists(series: &str) -> bool {
    let names = metrics().names();
    let histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| series.strip_suffix(end));
    OTHERS.contains(&series) || names.iter().any(|name| name == series || Some(&**name) == histogram)
}

/// The value of a key in the rules' file, with the deeper lines that follow it, for each time it is there.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    let lines: Vec<&str> = text.lines().collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let starts = lines.clone().into_iter().enumerate().filter_map(move |(at, line)| {
        let value = line
            .trim_start()
            .trim_start_matches("- ")
            .strip_prefix(key)?
            .strip_prefix(':')?;
        Some((at, depth(line), value.trim().trim_matches('|').to_owned()))
    });
    starts.map(move |(at, indent, value)| {
        let more = lines[at + 1..]
            .iter()
            .take_while(|line| value.is_empty() && depth(line) > indent);
        more.fold(value.clone(), |all, line| format!("{all} {}", line.trim()))
    })
}

/// The queries in a dashboard, panels and annotations.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn queries_are_read() {
    let series = |query: &str| series_of(query).into_iter().collect::<Vec<_>>();
    assert_eq!(
        series("sum by (a, b) (rate(x_total{c=\"d\"}[5m])) / y > 0.8 * 50000"),
        ["x_total", "y"]
    );
    assert_eq!(
        series("histogram_quantile(0.9, sum by (le) (rate(z_bucket[$__rate_interval]))) and w offset 5m"),
        ["w", "z_bucket"]
    );
}

#[test]
fn alerts_and_dashboards_name_metrics_that_exist() {
    let mut asked: Vec<(String, String)> = Vec::new();
    for rules in sources(&["ops/prometheus/rules"], &["yml"]) {
        asked.extend(values(&rules.text, "expr").map(|query| (rules.path.clone(), query)));
    }
    let alerts = asked.len();
    for dashboard in sources(&["ops/grafana/dashboards"], &["json"]) {
        let mut found = Vec::new();
        queries(&serde_json::from_str(&dashboard.text).unwrap(), &mut found);
        asked.extend(found.into_iter().map(|query| (dashboard.path.clone(), query)));
    }
    assert!(alerts > 20 && asked.len() > alerts + 60, "the queries were not found");
    let mut broken = Vec::new();
    for (path, query) in &asked {
        let series = series_of(query);
        if series.is_empty() {
            broken.push(format!("{path}: nothing is asked for by {query}"));
        }
        let strangers = series.iter().filter(|series| !exists(series));
        broken.extend(strangers.map(|series| format!("{path}: there is no {series}, in {query}")));
    }
    expect_none("alerts and dashboards ask for what exists", &broken);
}

#[test]
fn every_metric_is_looked_at_somewhere() {
    let mut all = String::new();
    for source in sources(&["ops/prometheus/rules", "ops/grafana/dashboards"], &["yml", "json"]) {
        all.push_str(&source.text);
    }
    let unseen = metrics().names().into_iter().filter(|name| !all.contains(name));
    expect_none("a metric is on a dashboard or in an alert", &unseen.collect::<Vec<_>>());
}

/// Three files have to agree on where nginx writes when it is started without containers: else nobody rotates it.
#[test]
fn the_access_log_of_nginx_is_rotated_where_it_is_written() {
    let log = "/var/log/parlance-nginx/access.log";
    let rotation = include_str!("../../ops/logrotate/parlance-nginx");
    assert!(rotation.contains(&format!("\n{log} {{\n")));
    assert!(include_str!("../../nginx/render").contains(&format!("NGINX_ACCESS_LOG={log}\n")));
    let unit = include_str!("../../ops/systemd/parlance-nginx.service");
    assert!(unit.contains("\nLogsDirectory=parlance-nginx\n"));
    assert!(unit.contains("\nRuntimeDirectory=parlance-nginx\n"));
    let settings = include_str!("../../nginx/parlance.env");
    assert!(settings.contains("\nNGINX_RUN_DIR=/run/parlance-nginx\n"));
    assert!(rotation.contains("/run/parlance-nginx/nginx.pid"));
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = include_str!("../../docs/operations.md");
    let part = page.split_once("\n## Runbooks\n").unwrap().1;
    let part = part.split("\n## ").next().unwrap();
    let headings: BTreeSet<_> = part
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect();
    let mut alerts = BTreeSet::new();
    for rules in sources(&["ops/prometheus/rules"], &["yml"]) {
        let names: Vec<_> = values(&rules.text, "alert").collect();
        let links: Vec<_> = values(&rules.text, "runbook_url").collect();
        assert_eq!(names.len(), links.len(), "{}", rules.path);
        for (name, link) in names.iter().zip(&links) {
            assert_eq!(*link, format!("docs/operations.md#{}", name.to_lowercase()));
        }
        alerts.extend(names);
    }
    assert_eq!(alerts, headings);
}
