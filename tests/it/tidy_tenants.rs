//! The house rule on tenants: every statement on things of tenants says whose, because nothing behind it would notice if it
//! did not.
//!
//! PostgreSQL could be such a second wall, by row-level security; what that would cost, and why there is none, is in
//! `docs/adr/0017-the-tenant-in-every-statement.md`. So the rule is checked here, of the source: a statement compares or
//! writes `tenant_id`, or stands on the list below with what takes its place. The list is short, and every entry has to
//! convince whoever reads it.

use crate::tidy::{Source, expect_none, first_word, product, sources};
use std::collections::{BTreeMap, BTreeSet};

/// Statements on things of tenants that name no tenant, each with what stands in its place.
const WITHOUT_TENANT: [(&str, &str); 31] = [
    // By a secret, which is what proves the right: no tenant is known before.
    ("refresh_tokens.find", "by the hash of a token that its bearer shows"),
    ("refresh_tokens.list", "by the hashes of tokens that their bearer shows"),
    // By the id of a login or a person that the same transaction has just authenticated.
    (
        "sessions.extend",
        "the login whose token was exchanged in this transaction",
    ),
    (
        "invite_uses.find_guest_conversation",
        "the guest who was authenticated in this transaction",
    ),
    // Upkeep of the node, over all tenants at once; answers nobody.
    ("api_keys.touch", "keys that were authenticated by this node"),
    ("api_keys.delete_expired", "upkeep by time"),
    ("sessions.delete_expired", "upkeep by time"),
    ("sessions.delete_revoked", "upkeep by time"),
    (
        "auth_events.list",
        "what was revoked anywhere: every node has to know all of it",
    ),
    ("auth_events.delete_old", "upkeep by time"),
    (
        "search_positions.list_behind",
        "upkeep of the index of search; what it finds is indexed with its own tenant",
    ),
    (
        "search_index.list_conversations",
        "a command of the operator; each is compared with its own tenant",
    ),
    ("search_index.count_messages", "a command of the operator; a number"),
    ("demo.look", "a command of the operator: whether anybody is there"),
    (
        "analytics_tenants.load_switches",
        "upkeep of the counts; a number over all tenants",
    ),
    (
        "analytics_blocks.list_unmerged",
        "upkeep of the counts; what it finds is merged within its own tenant",
    ),
    // A conversation's actor reads its own rows; it knows its tenant from the first of them, and compares every caller's.
    (
        "conversations.load",
        "answers the tenant, with which the actor compares every caller's",
    ),
    ("conversation_members.load", "the actor's own conversation"),
    ("messages.load_recent", "the actor's own conversation"),
    (
        "messages.list_newest",
        "the actor's own conversation, for subscribers it has let in",
    ),
    ("conversations.load_rev", "the actor's own conversation"),
    (
        "conversations.list_newer",
        "the conversations active on this node; answers numbers only",
    ),
    (
        "messages.list_changed",
        "the actor's own conversation, for subscribers it has let in",
    ),
    (
        "conversation_members.list_changed",
        "the actor's own conversation, for subscribers it has let in",
    ),
    (
        "conversations.find_changed",
        "the actor's own conversation, for subscribers it has let in",
    ),
    // Inside a writer's transaction, after the statements that judge (tenant first) have locked and admitted.
    (
        "conversations.lock",
        "only locks; what is done under it names the tenant",
    ),
    (
        "conversation_members.move_read_markers",
        "members that their conversation's actor has admitted",
    ),
    (
        "reactions.list_own",
        "by the numbers of messages that were read for the caller, and only the caller's own",
    ),
    (
        "reactions.exists",
        "of a message that `messages.find` has found in the tenant",
    ),
    (
        "reactions.insert",
        "of a message that `messages.find` has found in the tenant",
    ),
    (
        "reactions.delete",
        "of a message that `messages.find` has found in the tenant",
    ),
];

/// The tables whose rows belong to a tenant: those that say so, reactions, which belong to a message, and the view of
/// those who may invite.
fn tables_of_tenants() -> BTreeSet<String> {
    let mut tables = BTreeSet::from(["reactions".to_owned(), "inviters".to_owned()]);
    for migration in sources(&["migrations"], &["sql"]) {
        let lines = migration
            .text
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default());
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        for table in text.split("CREATE TABLE ").skip(1) {
            let body = table.split("\n)").next().unwrap_or_default();
            if body.contains("tenant_id ") {
                tables.extend(first_word(table));
            }
        }
    }
    tables
}

/// The name of each statement of a file and its text, the macros in it replaced by what they stand for.
fn statements(source: &Source) -> Vec<(String, String)> {
    let code = source.code(true);
    let macros: Vec<(String, &str)> = code
        .split("macro_rules! ")
        .skip(1)
        .filter_map(|rest| Some((first_word(rest)?, rest.split("\n}").next()?)))
        .collect();
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("Statement::new(") {
        let rest = &code[at + mark.len()..];
        let mut text = rest.split(");\n").next().unwrap_or_default().to_owned();
        let Some(name) = text.split('"').nth(1).map(str::to_owned) else {
            continue;
        };
        // Macros may stand in macros.
        for (name, body) in macros.iter().chain(&macros).chain(&macros) {
            if text.contains(&format!("{name}!")) && !text.contains(body) {
                text.push_str(body);
            }
        }
        found.push((name, text));
    }
    found
}

/// Whether a statement compares a tenant, or writes it.
fn names_tenant(text: &str) -> bool {
    let compares = text.match_indices("tenant_id").any(|(at, word)| {
        let after = text[at + word.len()..].trim_start();
        let before = text[..at].trim_end_matches(|c: char| c.is_alphanumeric() || "_.".contains(c));
        after.starts_with('=') || after.starts_with("IN ") || before.trim_end().ends_with('=')
    });
    let writes = text.split("INSERT INTO ").skip(1).any(|insert| {
        let columns = insert
            .split_once('(')
            .map_or("", |(_, rest)| rest.split(')').next().unwrap_or_default());
        columns.contains("tenant_id")
    });
    compares || writes
}

#[test]
fn statements_on_things_of_tenants_name_the_tenant() {
    let tables = tables_of_tenants();
    assert!(tables.len() >= 8, "the tables were not found: {tables:?}");
    let mut allowed: BTreeMap<_, _> = WITHOUT_TENANT.into_iter().collect();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for source in product() {
        for (name, text) in statements(&source) {
            let words: Vec<_> = text.split_whitespace().collect();
            let touches = words.windows(2).any(|pair| {
                ["FROM", "JOIN", "INTO", "UPDATE", "(UPDATE"]
                    .iter()
                    .any(|verb| pair[0].ends_with(verb))
                    && first_word(pair[1]).is_some_and(|table| tables.contains(&table))
            });
            seen += usize::from(touches);
            if touches && !names_tenant(&text) && allowed.remove(name.as_str()).is_none() {
                broken.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert!(seen > 40, "the statements were not found");
    expect_none(
        "a statement on things of tenants compares or writes `tenant_id`, or is on the list with a reason",
        &broken,
    );
    let idle: Vec<_> = allowed.keys().map(|name| (*name).to_owned()).collect();
    expect_none(
        "the list of statements without a tenant has only such statements",
        &idle,
    );
}

#[test]
fn the_reader_of_statements_reads_statements() {
    for text in [
        "SELECT 1 FROM users WHERE tenant_id = $1",
        "SELECT 1 FROM users u JOIN x ON x.tenant_id = u.tenant_id",
        "INSERT INTO users (id, tenant_id) VALUES ($1, $2)",
        "SELECT 1 WHERE $1 = u.tenant_id",
    ] {
        assert!(names_tenant(text), "{text}");
    }
    for text in [
        "SELECT tenant_id FROM users WHERE id = $1",
        "INSERT INTO users (id) SELECT tenant_id FROM x",
    ] {
        assert!(!names_tenant(text), "{text}");
    }
}
