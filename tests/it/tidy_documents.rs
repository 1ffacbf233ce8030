//! The documents as texts: links lead somewhere, files that are named exist, lines are short enough
//! to be read.
//!
//! Files move, and a document that names an old place sends its reader into the wrong room.

use crate::tidy::{Source, expect_none, root, sources};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Longest line of a document, in characters.
const LINE_CHARS_MAX: usize = 100;

/// The folders whose files are named in documents.
const FOLDERS: [&str; 10] = [
    "src/",
    "crates/",
    "tests/",
    "docs/",
    "static/",
    "scripts/",
    "ops/",
    "nginx/",
    "benches/",
    "migrations/",
];

/// A line of a document that is not in a fenced block.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

/// The documents of the repository: those of the top folder and those in `docs/`.
fn documents() -> Vec<Source> {
    let mut found = sources(&["docs"], &["md"]);
    for entry in std::fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push(Source {
                text: std::fs::read_to_string(&path).unwrap(),
                path: name,
            });
        }
    }
    assert!(found.len() > 20, "the documents were not found");
    found
}

fn prose(text: &str) -> Vec<Line<'_>> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let is_fence = text.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            lines.push(Line { number, text });
        }
    }
    lines
}

/// The targets of links: what stands in `](…)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The code spans of a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The anchors of a document: its headings, as GitHub writes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in prose(text) {
        if !line.text.starts_with('#') {
            continue;
        }
        let heading = line.text.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = seen.entry(slug.clone()).or_default();
        found.push(if *times == 0 { slug } else { format!("{slug}-{times}") });
        *times += 1;
    }
    found
}

/// A path without `..`, as seen from the folder of a document.
fn resolved(document: &str, target: &str) -> PathBuf {
    let mut path = Path::new(document).parent().unwrap().to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        for line in prose(&document.text) {
            for link in links(line.text).filter(|link| !link.starts_with("http")) {
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                let path = if target.is_empty() {
                    PathBuf::from(&document.path)
                } else {
                    resolved(&document.path, target)
                };
                let place = format!("{}:{}: {link}", document.path, line.number);
                if !root().join(&path).exists() {
                    broken.push(place);
                } else if !anchor.is_empty() {
                    let text = std::fs::read_to_string(root().join(&path)).unwrap();
                    if !anchors(&text).iter().any(|known| known == anchor) {
                        broken.push(place);
                    }
                }
            }
        }
    }
    expect_none("a link of a document leads to a file, and to a heading in it", &broken);
}

#[test]
fn files_that_documents_name_exist() {
    let mut broken = Vec::new();
    // Decisions name what was there when they were made.
    for document in documents()
        .iter()
        .filter(|document| !document.path.starts_with("docs/adr/"))
    {
        for line in prose(&document.text) {
            // A command has further words; a pattern stands for many files.
            let names = spans(line.text).filter_map(|span| span.split_whitespace().next());
            for path in names.filter(|path| !path.contains(['*', '{', '<', '…'])) {
                let is_named = FOLDERS.iter().any(|folder| path.starts_with(folder));
                // Files of the server are also named as they are below `src/`.
                let is_ours = path.contains('/') && path.ends_with(".rs");
                let exists = root().join(path).exists() || (is_ours && root().join("src").join(path).exists());
                if (is_named || is_ours) && !exists {
                    broken.push(format!("{}:{}: {path}", document.path, line.number));
                }
            }
        }
    }
    expect_none("a file that a document names exists", &broken);
}

#[test]
fn lines_of_documents_are_short() {
    let mut broken = Vec::new();
    for document in documents() {
        for line in prose(&document.text) {
            // What cannot be broken: tables, headings, images, and a single word.
            let text = line.text.trim_start();
            let is_whole = ["|", "#", "!["].iter().any(|mark| text.starts_with(mark));
            let is_word = !text.trim_start_matches("- ").contains(' ');
            if line.text.chars().count() > LINE_CHARS_MAX && !is_whole && !is_word {
                broken.push(format!("{}:{}", document.path, line.number));
            }
        }
    }
    expect_none("a line of a document has at most 100 characters", &broken);
}
