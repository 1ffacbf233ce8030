//! The house rules that neither the compiler nor clippy checks; no server needed.
//!
//! Where SQL, actix-web and the environment may be named, how long a file may be, what is never called.
//! Who may import whom is in `tidy_imports.rs`. A rule that no longer fits is changed here, with its
//! reason, and in `ARCHITECTURE.md`. Each test lists every place that breaks its rule, so that one run
//! is enough to put them right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file, in lines, without its tests: more is two nouns in one file.
const FILE_LINES_MAX: usize = 500;
/// The same for a file of tests, which is read by the test.
const TEST_LINES_MAX: usize = 700;
/// Longest line of a comment, in characters: rustfmt leaves comments alone.
const COMMENT_CHARS_MAX: usize = 130;

/// A file of the project.
pub struct Source {
    /// Its path from the root of the repository.
    pub path: String,
    pub text: String,
}

impl Source {
    /// The top module it belongs to (`src/wire/outbox.rs`: `wire`), if it is of the library or the program.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"))
    }

    /// Its lines without its unit tests, which stand at the end.
    fn product(&self) -> &str {
        let end = ["\n#[cfg(test)]\nmod ", "\n#[cfg(all(test"]
            .iter()
            .filter_map(|mark| self.text.find(mark))
            .min();
        &self.text[..end.unwrap_or(self.text.len())]
    }

    /// Its code without comments; the content of strings only where `with_strings`.
    pub fn code(&self, with_strings: bool) -> String {
        code_of(self.product(), with_strings)
    }

    fn is_unit_test(&self) -> bool {
        !self.path.starts_with("tests/") && self.path.ends_with("tests.rs")
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "node_modules" | "output" | "vendor" | "target") {
                walk(&path, extensions, found);
            }
        } else if path
            .extension()
            .is_some_and(|known| extensions.iter().any(|wanted| known == *wanted))
        {
            found.push(path);
        }
    }
}

pub fn sources(directories: &[&str], extensions: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        walk(&root().join(directory), extensions, &mut paths);
    }
    // What others have written is as they have written it.
    paths.retain(|path| !path.starts_with(root().join("static/vendor")));
    paths.sort();
    let read = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
    };
    paths.into_iter().map(read).collect()
}

/// The code of all packages: without their unit tests in files of their own.
pub fn product() -> Vec<Source> {
    sources(&["src", "crates"], &["rs"])
        .into_iter()
        .filter(|source| !source.is_unit_test())
        .collect()
}

#[track_caller]
pub fn expect_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}\n", broken.join("\n  "));
}

/// Removes comments, and the content of strings unless it is wanted. Line breaks stay.
fn code_of(text: &str, with_strings: bool) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = token_length(rest);
        let token = &rest[..length];
        let is_comment = token.starts_with("//") || token.starts_with("/*");
        let is_string = length > 1 && !is_comment && matches!(next, '"' | 'r' | 'b' | '\'');
        if is_comment || (is_string && !with_strings) {
            code.extend(token.chars().filter(|c| *c == '\n'));
        } else {
            code.push_str(token);
        }
        rest = &rest[length..];
    }
    code
}

/// How many bytes the comment, string, word or single character at the beginning takes.
fn token_length(text: &str) -> usize {
    let end = |found: Option<usize>, more: usize| found.map_or(text.len(), |at| at + more);
    if text.starts_with("//") {
        return end(text.find('\n'), 0);
    }
    if text.starts_with("/*") {
        return end(text.find("*/"), 2);
    }
    let word = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let after = &text[word..];
    let hashes = after.chars().take_while(|c| *c == '#').count();
    if matches!(&text[..word], "r" | "br") && after[hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let start = word + hashes + 1;
        return text[start..]
            .find(&close)
            .map_or(text.len(), |at| start + at + close.len());
    }
    if word > 0 && !(&text[..word] == "b" && after.starts_with('"')) {
        return word;
    }
    let start = word;
    if text[start..].starts_with('"') {
        let mut escaped = false;
        for (at, c) in text.char_indices().skip(start + 1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return at + 1,
                _ => {}
            }
        }
        return text.len();
    }
    character_length(text).unwrap_or_else(|| text.chars().next().map_or(1, char::len_utf8))
}

/// The length of a character literal; `None` for lifetimes and everything else.
fn character_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|at| at + 4);
    }
    let first = inside.chars().next()?.len_utf8();
    inside[first..].starts_with('\'').then_some(first + 2)
}

pub fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn every_file_says_why_it_is() {
    let rust = sources(&["src", "crates", "tests", "benches"], &["rs"]);
    let sql = sources(&["migrations"], &["sql"]);
    assert!(rust.len() > 50 && !sql.is_empty(), "the files were not found");
    let bare = |source: &&Source| {
        let mark = if source.path.ends_with(".sql") { "-- " } else { "//! " };
        let first = source.text.lines().next().unwrap_or_default();
        !first.starts_with(mark) || first.len() < 20
    };
    let broken: Vec<_> = rust
        .iter()
        .chain(&sql)
        .filter(bare)
        .map(|source| source.path.clone())
        .collect();
    expect_none("every file begins with a header that says why it is as it is", &broken);
}

#[test]
fn files_fit_a_sitting() {
    let mut broken = Vec::new();
    for source in sources(&["src", "crates", "tests", "benches"], &["rs"]) {
        let lines = source.product().lines().count();
        let is_test = source.is_unit_test() || source.path.starts_with("tests/");
        if lines > if is_test { TEST_LINES_MAX } else { FILE_LINES_MAX } {
            broken.push(format!("{}: {lines} lines", source.path));
        }
    }
    expect_none(
        "a file has at most 500 lines without its tests, of which a file has at most 700",
        &broken,
    );
}

#[test]
fn lines_are_clean() {
    let mut broken = Vec::new();
    for source in sources(
        &["src", "crates", "tests", "benches", "migrations", "scripts", "static"],
        &["rs", "sql", "sh", "js", "css"],
    ) {
        for (number, line) in source.text.lines().enumerate() {
            let is_comment = ["//", "-- ", "# "]
                .iter()
                .any(|mark| line.trim_start().starts_with(mark));
            let too_long = is_comment && line.chars().count() > COMMENT_CHARS_MAX && !source.path.ends_with(".js");
            if too_long || line.ends_with([' ', '\t', '\r']) {
                broken.push(format!("{}:{}", source.path, number + 1));
            }
        }
        if !source.text.ends_with('\n') {
            broken.push(format!("{}: no line break at the end", source.path));
        }
    }
    expect_none(
        "comments have at most 130 characters a line, and no line ends with a blank",
        &broken,
    );
}

#[test]
fn what_has_no_bound_is_not_called() {
    // actix mailboxes have no bound for `do_send`; a registry is a global; the others say it in their names.
    const BANNED: [&str; 6] = [
        "do_send",
        "from_registry",
        "unbounded_channel",
        "UnboundedSender",
        "unbounded_send",
        "unbounded",
    ];
    let mut broken = Vec::new();
    for source in product() {
        let code = source.code(false);
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        broken.extend(
            words
                .filter(|word| BANNED.contains(word))
                .map(|word| format!("{}: {word}", source.path)),
        );
    }
    expect_none("nothing is unbounded, and nobody fills a mailbox unasked", &broken);
}

/// Where a name may stand: paths of files, or of folders with a slash at the end.
fn expect_only_in(name: &str, places: &[&str]) {
    let mut broken = Vec::new();
    for source in product() {
        let allowed = places.iter().any(|place| match place.strip_suffix('/') {
            Some(_) => source.path.starts_with(place),
            None => source.path == *place,
        });
        let code = source.code(false);
        let names = |at: usize| {
            let before = code[..at]
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || c == '_');
            let after = code[at + name.len()..]
                .chars()
                .next()
                .is_some_and(|c| c.is_alphanumeric() || c == '_');
            !before && !after
        };
        if !allowed && code.match_indices(name).any(|(at, _)| names(at)) {
            broken.push(source.path);
        }
    }
    expect_none(&format!("`{name}` is only named in {}", places.join(", ")), &broken);
}

#[test]
fn the_environment_is_read_in_one_place() {
    expect_only_in("std::env", &["src/config/"]);
    expect_only_in("env::var", &["src/config/"]);
    expect_only_in("env::vars_os", &["src/config/"]);
}

#[test]
fn the_web_framework_stays_at_the_edge() {
    expect_only_in("actix_web", &["src/http/", "src/sessions/session.rs"]);
    // Deprecated upstream: when it has to go, one file changes.
    expect_only_in("actix_web_actors", &["src/sessions/session.rs"]);
}

#[test]
fn what_may_be_old_decides_nothing() {
    // A replica is seconds behind: who is let in, and what a client has seen before, is never read there.
    expect_only_in("read_stale", &["src/search/", "src/database/", "src/metrics/"]);
}

#[test]
fn sql_stands_in_stores() {
    // Small features of one file each that live beside the actors: no actor takes part in them.
    const SINGLE_FILES: [&str; 3] = [
        "src/conversations/history.rs",
        "src/conversations/invites.rs",
        "src/conversations/listing.rs",
    ];
    // A statement begins a string with one of these.
    const VERBS: [&str; 6] = [
        "SELECT ",
        "INSERT INTO ",
        "UPDATE ",
        "DELETE FROM ",
        "WITH ",
        "CREATE TABLE ",
    ];
    let mut broken = Vec::new();
    for source in product() {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        let is_single_file = source.path.matches('/').count() == 1 || SINGLE_FILES.contains(&source.path.as_str());
        let is_store = name == "store.rs" || source.path.contains("/store/");
        if is_single_file || is_store || source.path.starts_with("src/database/") {
            continue;
        }
        let code = source.code(true);
        let begins = |part: &str| VERBS.iter().any(|verb| part.trim_start().starts_with(verb));
        if code.split('"').skip(1).step_by(2).any(begins) {
            broken.push(source.path);
        }
    }
    expect_none(
        "SQL stands in `store.rs`, in a feature of a single file, or in database/",
        &broken,
    );
}

#[test]
fn statements_have_names_of_their_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in product() {
        let code = source.code(true);
        for (at, mark) in code.match_indices("Statement::new(") {
            if let Some(name) = code[at + mark.len()..].split('"').nth(1) {
                places.entry(name.to_owned()).or_default().push(source.path.clone());
            }
        }
    }
    assert!(places.len() > 20, "the statements were not found");
    let mut broken = Vec::new();
    for (name, paths) in &places {
        let formed = name.contains('.') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
        if paths.len() > 1 || !formed {
            broken.push(format!("{name}: {}", paths.join(", ")));
        }
    }
    expect_none("a statement's name is `feature.what_it_does`, once", &broken);
}

#[test]
fn actors_run_under_a_name() {
    let mut broken = Vec::new();
    for source in product() {
        if source.module().is_some() && source.code(false).contains(".start();") {
            broken.push(source.path);
        }
    }
    expect_none(
        "an actor is started with `supervision::start`, so that its panics are logged with its name",
        &broken,
    );
}

#[test]
fn times_in_the_log_are_numbers() {
    // `as_millis` is a u128, which JSON has no number for: the log writes it as a text.
    let is_field = |line: &&str| line.contains("_ms = ") && line.contains(".as_millis()");
    let mut broken = Vec::new();
    for source in product() {
        let code = source.code(true);
        broken.extend(
            code.lines()
                .filter(is_field)
                .map(|line| format!("{}: {}", source.path, line.trim())),
        );
    }
    expect_none("a time in the log is `as_secs_f64() * 1e3`", &broken);
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO", "FIX", "XX", "HA"].iter().zip(["DO", "ME", "X", "CK"]);
    let marks: Vec<String> = marks
        .map(|(a, b)| format!("{a}{b}"))
        .chain([format!("{}!(", "todo")])
        .collect();
    let mut broken = Vec::new();
    for source in sources(
        &["src", "crates", "tests", "benches", "migrations", "scripts", "static"],
        &["rs", "sql", "sh", "js", "css"],
    ) {
        for (number, line) in source.text.lines().enumerate() {
            let has = |mark: &&String| {
                line.split(|c: char| !c.is_alphanumeric() && !"!(".contains(c))
                    .any(|w| w == **mark)
            };
            if marks.iter().any(|mark| has(&mark)) {
                broken.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    expect_none("unfinished things are issues, not marks in the code", &broken);
}

#[test]
fn tests_wait_for_events() {
    let mut broken = Vec::new();
    for source in sources(&["tests/it"], &["rs"]) {
        // The support polls where there is no event.
        if !source.path.contains("/support/") && source.code(false).contains("sleep(") {
            broken.push(source.path);
        }
    }
    expect_none("a test waits for an event, or through `support`", &broken);
}

#[test]
fn the_reader_of_code_reads_code() {
    let code = |text| code_of(text, false);
    assert_eq!(code("a // b \"c\n\"x // y\" d"), "a \n d");
    assert_eq!(
        code("'\"' r#\"x\"y\"# b\"z\\\"\" /* \" */ 'a: 'static"),
        "    'a: 'static"
    );
    assert_eq!(code_of("\"http://x\" // y", true), "\"http://x\" ");
}
