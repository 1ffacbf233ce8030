//! Who may import whom: between folders by a table, between files without circles.
//!
//! The table is [`TABLE`], and stands in `ARCHITECTURE.md` too: a test compares both with each other and with the code. It
//! is exact: an import that is not in it breaks the rule, and so does an entry that nothing needs any more. Its order is
//! from the top down; a folder imports only from below itself, so there are no circles of folders.
//!
//! Every file is parsed with `syn`. A path that begins with `crate`, `super`, `self` or a child module is followed to the
//! file that defines what it names: a re-export counts as an import of the file behind it, not of the `mod.rs` that has
//! it. So a `mod.rs`, which only lists and re-exports, imports nothing by that. Unit tests do not count.

use crate::tidy::{expect_none, product, sources};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// Folder: the folders that it imports, from the top of the house down.
const TABLE: &str = "\
main: app, probe, signals, http, demo, search, analytics, tenants, auth, database, telemetry, config, ids
app: shutdown, http, onboarding, sessions, conversations, search, analytics, tenants, auth, commit, rate_limit, presence, cache, bus, database, redis, config, supervision, latency, ids
shutdown: http, sessions, analytics, auth, commit, cache, database, supervision
probe:
signals:
http: onboarding, sessions, conversations, search, analytics, tenants, auth, commit, rate_limit, cache, bus, database, wire, config, latency, metrics, ids, error
demo: auth, commit, database, wire, ids
onboarding: conversations, auth
sessions: conversations, auth, commit, rate_limit, presence, wire, config, supervision, metrics, ids, error
conversations: auth, commit, presence, cache, bus, database, fairness, wire, config, supervision, latency, metrics, ids, error
search: auth, commit, database, fairness, wire, supervision, metrics, ids, error
analytics: auth, cache, database, wire, fairness, supervision, latency, metrics, ids, error
tenants: auth, cache, database, wire, supervision, ids, error
auth: cache, database, fairness, wire, config, supervision, metrics, ids, error
commit: database, wire, supervision, latency, metrics, ids, error
rate_limit: redis, config, supervision, metrics, ids
presence: bus, supervision, metrics, ids
cache: bus, redis, config, supervision, metrics, ids
bus: redis, wire, config, supervision, metrics, ids
database: tls, config, supervision, metrics, error
redis: tls, config, supervision, metrics, error
tls: config
wire: metrics, ids, error
fairness: metrics
telemetry: config, supervision, metrics
config: supervision
supervision: metrics
latency: metrics, ids
metrics: ids, error
ids:
error:";

/// Where a module is: `["auth", "token"]` is `crate::auth::token`.
type ModulePath = Vec<String>;

/// A `use` that gives a name to something: the name, and the path behind it. A glob has the name `*`.
struct Binding {
    name: String,
    path: Vec<String>,
    is_public: bool,
}

/// What one file says.
struct Module {
    file: String,
    bindings: Vec<Binding>,
    /// Paths in code, outside of `use`.
    paths: Vec<Vec<String>>,
}

/// The imports of a crate: file → files that define what it uses.
struct ImportGraph {
    files: BTreeMap<String, BTreeSet<String>>,
}

impl ImportGraph {
    /// Reads the files of a crate, given as path from its `src/` and text.
    fn of<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let modules: BTreeMap<ModulePath, Module> = sources.into_iter().map(|(file, text)| read(file, text)).collect();
        let mut files = BTreeMap::new();
        for (path, module) in &modules {
            let is_contents = module.file.ends_with("mod.rs") || module.file == "lib.rs";
            let bindings = module
                .bindings
                .iter()
                .filter(|binding| !(is_contents && binding.is_public));
            let used = bindings.map(|binding| &binding.path).chain(&module.paths);
            let targets: BTreeSet<String> = used
                .filter_map(|used| resolve(&modules, path, used, 0))
                .filter(|file| *file != module.file)
                .collect();
            files.insert(module.file.clone(), targets);
        }
        Self { files }
    }

    /// Groups of files that import each other, directly or through others.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            self.files.keys().map(|file| (file, self.reach(file))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (file, there) in &reach {
            let circle: BTreeSet<String> = there
                .iter()
                .filter(|other| reach[**other].contains(*file))
                .map(|other| (*other).clone())
                .collect();
            if !circle.is_empty() && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reach(&self, from: &str) -> BTreeSet<&String> {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&String> = self.files[from].iter().collect();
        while let Some(file) = waiting.pop() {
            if seen.insert(file) {
                waiting.extend(&self.files[file]);
            }
        }
        seen
    }

    /// The same between top folders: `auth` → what files below `auth/` import from other folders.
    fn folders(&self) -> BTreeMap<String, BTreeSet<String>> {
        let folder = |file: &str| {
            file.split('/')
                .next()
                .unwrap_or(file)
                .trim_end_matches(".rs")
                .to_owned()
        };
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, targets) in &self.files {
            let here = folder(file);
            let others = targets
                .iter()
                .map(|target| folder(target))
                .filter(|there| *there != here);
            folders.entry(here.clone()).or_default().extend(others);
        }
        folders.remove("lib");
        folders
    }
}

fn read(file: &str, text: &str) -> (ModulePath, Module) {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut reader = Reader::default();
    reader.visit_file(&parsed);
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let path = if stem == "lib" {
        Vec::new()
    } else {
        stem.split('/').map(str::to_owned).collect()
    };
    let module = Module {
        file: file.to_owned(),
        bindings: reader.bindings,
        paths: reader.paths,
    };
    (path, module)
}

/// The file that defines what a path names, seen from a module; `None` for other crates and for names of the module.
fn resolve(modules: &BTreeMap<ModulePath, Module>, from: &ModulePath, path: &[String], depth: usize) -> Option<String> {
    let mut at = from.clone();
    let mut rest = path;
    let mut is_ours = false;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "crate" | "parlance" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            _ => break,
        }
        is_ours = true;
        rest = &rest[1..];
    }
    while let Some(name) = rest.first() {
        let mut child = at.clone();
        child.push(name.clone());
        if modules.contains_key(&child) {
            at = child;
            rest = &rest[1..];
            is_ours = true;
            continue;
        }
        let behind = modules[&at].bindings.iter().find(|binding| binding.name == *name);
        let behind = behind.filter(|_| is_ours && depth < 8 && (at != *from || path.len() > 1));
        if let Some(binding) = behind {
            let mut whole = binding.path.clone();
            whole.extend_from_slice(&rest[1..]);
            return resolve(modules, &at, &whole, depth + 1);
        }
        break;
    }
    (is_ours && modules.contains_key(&at)).then(|| modules[&at].file.clone())
}

#[derive(Default)]
struct Reader {
    bindings: Vec<Binding>,
    paths: Vec<Vec<String>>,
}

impl Reader {
    fn read_use(&mut self, tree: &syn::UseTree, mut prefix: Vec<String>, is_public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.read_use(&path.tree, prefix, is_public);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, prefix.clone(), is_public);
                }
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                let name = prefix.last().cloned().unwrap_or_default();
                self.bind(name, prefix, is_public);
            }
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.bind(name.ident.to_string(), prefix, is_public);
            }
            syn::UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    prefix.push(rename.ident.to_string());
                }
                self.bind(rename.rename.to_string(), prefix, is_public);
            }
            syn::UseTree::Glob(_) => self.bind("*".to_owned(), prefix, is_public),
        }
    }

    fn bind(&mut self, name: String, path: Vec<String>, is_public: bool) {
        self.bindings.push(Binding { name, path, is_public });
    }

    /// Paths in the arguments of a macro, which `syn` does not read.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                }
                other => {
                    self.paths.extend((path.len() > 1).then(|| std::mem::take(&mut path)));
                    path.clear();
                    colons = 0;
                    match other {
                        TokenTree::Group(group) => self.read_tokens(group.stream()),
                        TokenTree::Ident(name) => path.push(name.to_string()),
                        _ => {}
                    }
                }
            }
        }
        self.paths.extend((path.len() > 1).then_some(path));
    }
}

/// Whether an item is only compiled with tests.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let tokens = list.tokens.to_string();
        list.path.is_ident("cfg") && (tokens == "test" || tokens.starts_with("all (test"))
    })
}

impl Visit<'_> for Reader {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_test(&item.attrs) {
            let is_public = !matches!(item.vis, syn::Visibility::Inherited);
            self.read_use(&item.tree, Vec::new(), is_public);
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if path.segments.len() > 1 {
            self.paths
                .push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &syn::Visibility) {
        // `pub(in crate::auth)` says who may, not what is used.
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        self.read_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// The rows of [`TABLE`].
fn table() -> Vec<(&'static str, Vec<&'static str>)> {
    let row = |line: &'static str| {
        let (folder, imports) = line.split_once(':').expect("a row is `folder: imports`");
        let imports = imports.split(',').map(str::trim).filter(|name| !name.is_empty());
        (folder, imports.collect())
    };
    TABLE.lines().map(row).collect()
}

fn graph() -> ImportGraph {
    let sources = product();
    let of_the_server = sources
        .iter()
        .filter_map(|source| Some((source.path.strip_prefix("src/")?, source.text.as_str())));
    ImportGraph::of(of_the_server)
}

#[test]
fn folders_import_what_the_table_says() {
    let (found, table) = (graph().folders(), table());
    let mut broken = Vec::new();
    for (folder, imports) in &found {
        let Some(at) = table.iter().position(|(known, _)| known == folder) else {
            broken.push(format!("{folder}: not in the table; it imports {imports:?}"));
            continue;
        };
        let allowed = &table[at].1;
        let is_below = |name: &str| table[at + 1..].iter().any(|(lower, _)| *lower == name);
        for name in imports {
            if !allowed.contains(&name.as_str()) {
                broken.push(format!("{folder} imports {name}, which the table does not say"));
            } else if !is_below(name) {
                broken.push(format!("{folder} imports {name}, which is not below it"));
            }
        }
        let unused = allowed.iter().filter(|name| !imports.contains(**name));
        broken.extend(unused.map(|name| format!("{folder} no longer imports {name}: take it out of the table")));
    }
    let gone = table.iter().filter(|(folder, _)| !found.contains_key(*folder));
    broken.extend(gone.map(|(folder, _)| format!("{folder}: in the table, but not in src/")));
    expect_none("folders import what the table says (tests/it/tidy_imports.rs)", &broken);
}

#[test]
fn architecture_has_the_same_table() {
    let text = std::fs::read_to_string("ARCHITECTURE.md").unwrap();
    let section = text.split("## Who imports whom").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = |line: &str| {
        let (folder, imports) = line.strip_prefix("| `")?.split_once("` |")?;
        let imports = imports.trim_end_matches('|').split(',').map(str::trim);
        let imports: Vec<String> = imports.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some((folder.to_owned(), imports))
    };
    let printed: Vec<(String, Vec<String>)> = section.lines().filter_map(row).collect();
    let wanted: Vec<(String, Vec<String>)> = table()
        .into_iter()
        .map(|(folder, imports)| (folder.to_owned(), imports.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(
        printed, wanted,
        "ARCHITECTURE.md has another table than tests/it/tidy_imports.rs"
    );
}

#[test]
fn files_do_not_import_in_circles() {
    let graph = graph();
    assert!(graph.files.len() > 100, "the files were not found");
    let circles: Vec<String> = graph
        .circles()
        .iter()
        .map(|circle| {
            let arrows = circle.iter().flat_map(|file| {
                let inside = graph.files[file].intersection(circle);
                inside.map(move |target| format!("\n      {file} → {target}"))
            });
            format!("{} files:{}", circle.len(), arrows.collect::<String>())
        })
        .collect();
    expect_none("files do not import each other in a circle", &circles);
}

#[test]
fn a_mod_rs_is_a_table_of_contents() {
    const CODE_LINES_MAX: usize = 60;
    let mut broken = Vec::new();
    for source in sources(&["src", "crates"], &["rs"]) {
        if !source.path.ends_with("/mod.rs") {
            continue;
        }
        let code = source.code(true);
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > CODE_LINES_MAX {
            broken.push(format!("{}: {lines} lines of code", source.path));
        }
        let parsed = syn::parse_file(&source.text).unwrap();
        let is_contents = |item: &syn::Item| {
            let declares = matches!(item, syn::Item::Mod(module) if module.content.is_none());
            declares || matches!(item, syn::Item::Use(_)) || is_test(attributes_of(item))
        };
        if !parsed.items.iter().all(is_contents) {
            broken.push(format!("{}: more than declarations and re-exports", source.path));
        }
    }
    expect_none(
        "a mod.rs has its header, declarations and re-exports, in at most 60 lines of code",
        &broken,
    );
}

fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

#[test]
fn the_reader_of_imports_follows_names_to_their_files() {
    let sources = [
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a/mod.rs", "mod x; mod y; pub use x::X; pub use y::make;"),
        ("a/x.rs", "use super::y; pub struct X; fn f() { y::make(); }"),
        ("a/y.rs", "pub fn make() { log!(crate::b::B); }"),
        (
            "b.rs",
            "use crate::a::{self, X as Z}; fn f() -> Z { a::make() } #[cfg(test)] mod t { use crate::app; }",
        ),
    ];
    let graph = ImportGraph::of(sources);
    let of = |file: &str| graph.files[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert!(of("a/mod.rs").is_empty());
    assert_eq!(of("a/x.rs"), ["a/y.rs"]);
    assert_eq!(of("a/y.rs"), ["b.rs"]);
    assert!(of("b.rs").contains(&"a/x.rs"));
    let circle: BTreeSet<String> = ["a/x.rs", "a/y.rs", "b.rs"].map(str::to_owned).into();
    assert_eq!(graph.circles(), [circle]);
}
