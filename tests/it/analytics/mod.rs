//! Analytics: every number is what the messages themselves say, for any zone and range; who may ask, what is wrong, what is
//! cached.

mod commands;
mod exactness;
mod export;
mod latency;
mod rules;

use crate::support::{Person, TestApp, eventually_within};
use parlance::ids::ConversationId;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The routes that answer for a time; the last is everybody's.
pub const ROUTES: [&str; 7] = [
    "/api/analytics/summary",
    "/api/analytics/messages",
    "/api/analytics/users/active",
    "/api/analytics/users/top",
    "/api/analytics/conversations/top",
    "/api/analytics/heatmap",
    "/api/me/usage",
];

/// A message of a history that is put into the database.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    pub conversation: ConversationId,
    pub author: Uuid,
    pub kind: &'static str,
    /// Milliseconds of Unix time.
    pub at: i64,
}

/// Puts messages into conversations, in the order of their times, as a bulk load does.
pub async fn load_history(app: &TestApp, person: &Person, history: &[Past]) {
    let sql = "WITH input AS (
                   SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[]) AS i (conversation_id, author_id, kind, at)
               ), numbered AS (
                   SELECT i.*, c.last_seq + row_number() OVER (PARTITION BY i.conversation_id ORDER BY i.at) AS seq,
                          c.rev + row_number() OVER (PARTITION BY i.conversation_id ORDER BY i.at) AS rev
                   FROM input i JOIN conversations c ON c.id = i.conversation_id
               ), made AS (
                   INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest, created_at)
                   SELECT conversation_id, seq, $1, gen_random_uuid(), author_id, kind, 'x', rev, rev, '',
                          timestamptz 'epoch' + at * interval '1 millisecond'
                   FROM numbered
               )
               UPDATE conversations c SET last_seq = n.seq, rev = n.rev
               FROM (SELECT conversation_id, max(seq) AS seq, max(rev) AS rev FROM numbered GROUP BY 1) n
               WHERE c.id = n.conversation_id RETURNING 1";
    let conversations: Vec<Uuid> = history.iter().map(|past| past.conversation.0).collect();
    let authors: Vec<Uuid> = history.iter().map(|past| past.author).collect();
    let kinds: Vec<&str> = history.iter().map(|past| past.kind).collect();
    let times: Vec<i64> = history.iter().map(|past| past.at).collect();
    app.database
        .query(sql, &[&person.tenant.0, &conversations, &authors, &kinds, &times])
        .await;
}

/// Makes an agent of the tenant.
pub async fn make_agent(app: &TestApp, person: &Person) -> Uuid {
    let id = Uuid::now_v7();
    let sql =
        "INSERT INTO users (id, tenant_id, name, kind, role, tier) VALUES ($1, $2, 'Bot', 'agent', 'member', 'regular')
               RETURNING 1";
    app.database.query(sql, &[&id, &person.tenant.0]).await;
    id
}

/// Waits until everything that is in the database now is counted.
pub async fn counted(app: &TestApp) {
    let now = app.database.query("SELECT clock_timestamp()", &[]).await[0].get::<_, chrono::DateTime<chrono::Utc>>(0);
    let sql = "SELECT coalesce((SELECT data_through FROM analytics_progress) > $1, false)
               AND NOT EXISTS (
                   SELECT FROM conversations c
                   LEFT JOIN analytics_tenants g ON g.tenant_id = c.tenant_id
                   LEFT JOIN analytics_positions p ON p.conversation_id = c.id AND p.generation = coalesce(g.generation, 0)
                   WHERE c.last_seq > coalesce(p.through_seq, 0))";
    eventually_within(Duration::from_secs(60), "everything is counted", async || {
        app.database.query(sql, &[&now]).await[0].get(0)
    })
    .await;
}

/// Asks for a route of analytics.
pub async fn ask(person: &Person, route: &str, parameters: &[(&str, &str)]) -> Value {
    person.get(&path(route, parameters)).await.ok()
}

/// A route of analytics with its parameters.
pub fn path(route: &str, parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("{route}?{query}")
}
