//! What `/metrics` said, read as strictly as a scraper reads it: OpenMetrics text.

use super::Site;
use std::collections::{BTreeMap, BTreeSet};

/// The labels of a sample, sorted.
pub type Labels = BTreeMap<String, String>;

/// One answer of `/metrics`.
#[derive(Debug)]
pub struct Scrape {
    /// Families by name, each with its type.
    pub families: BTreeMap<String, String>,
    /// Samples by name and labels.
    samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// Asks a server.
    pub async fn of(site: &Site) -> Self {
        let answer = site.http().get(site.url("/metrics")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        Self::parse(&answer.text().await.unwrap())
    }

    /// Reads the text; whatever OpenMetrics forbids fails the test.
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let mut scrape = Self {
            families: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        let (mut current, mut described) = (String::new(), BTreeSet::new());
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(is_name(name), "{line}");
                let earlier = scrape.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(earlier, None, "{name} is there twice");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && described.insert(name.to_owned()), "{line}");
            } else {
                scrape.sample(line, &current);
            }
        }
        assert!(scrape.families.keys().all(|name| described.contains(name)));
        scrape.check_histograms();
        scrape
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
            None => (series, Labels::new()),
        };
        let kind = self.families.get(family).map_or("", String::as_str);
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{line}: {other}"),
        };
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("{line} under {family}"));
        assert!(suffixes.contains(&suffix), "{line} under {family}");
        let value: f64 = value.parse().unwrap();
        let earlier = self.samples.insert((name.to_owned(), labels), value);
        assert_eq!(earlier, None, "{line} is there twice");
    }

    /// Buckets grow, and the last holds everything.
    fn check_histograms(&self) {
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((_, labels), value) in self.series(&format!("{name}_bucket")) {
                let mut labels = labels.clone();
                let bound = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
                buckets.entry(labels).or_default().push((bound, *value));
            }
            for (labels, mut bounds) in buckets {
                bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(bounds.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels:?}");
                let count = self.samples[&(format!("{name}_count"), labels)];
                assert_eq!(bounds.last(), Some(&(f64::INFINITY, count)));
            }
        }
    }

    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a (String, Labels), &'a f64)> {
        self.samples.iter().filter(move |((known, _), _)| known == name)
    }

    /// The value of one series, zero if it is not there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.samples
            .get(&(name.to_owned(), labels))
            .copied()
            .unwrap_or_default()
    }

    /// All series of a name together.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// All names and labels.
    pub fn keys(&self) -> BTreeSet<(String, Labels)> {
        self.samples.keys().cloned().collect()
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `a="x",b="y"`, with `\\`, `\"` and `\n` escaped.
fn parse_labels(text: &str) -> Labels {
    let (mut labels, mut rest) = (Labels::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{text}");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in after.char_indices() {
            match c {
                'n' if escaped => value.push('\n'),
                c if escaped => value.push(c),
                '\\' => {}
                '"' => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        let earlier = labels.insert(name.to_owned(), value);
        assert_eq!(earlier, None, "{text}");
        rest = &after[end.unwrap() + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}
