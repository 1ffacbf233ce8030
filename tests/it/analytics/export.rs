//! Exports: every row once and in order, in both forms, in pieces, and nothing of others.

use crate::support::{Answer, Person, TestApp, eventually};
use parlance::demo::{self, DemoPlan};
use parlance::ids::{ConversationId, MessageId};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

const EXPORT: &str = "/api/analytics/export";

/// The lines of an export, without the last, and what that says.
struct Lines {
    rows: Vec<Value>,
    next: Option<String>,
}

async fn fetch(app: &TestApp, token: &str, query: &str) -> String {
    let request = app.http().get(app.url(&format!("{EXPORT}?{query}"))).bearer_auth(token);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

async fn ndjson(app: &TestApp, token: &str, query: &str) -> Lines {
    let text = fetch(app, token, query).await;
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = rows.pop().unwrap();
    let next = last["next"].as_str().map(str::to_owned);
    assert_eq!(last, json!({"next": next}), "the last line says what is next");
    Lines { rows, next }
}

/// An export in pieces of `limit` rows.
async fn in_pieces(app: &TestApp, token: &str, query: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let piece = ndjson(app, token, &format!("{query}&limit={limit}{cursor}")).await;
        assert!(
            piece.rows.len() == limit || piece.next.is_none(),
            "{} rows",
            piece.rows.len()
        );
        rows.extend(piece.rows);
        match piece.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// A workspace of a year, and its owner's token.
async fn year(app: &TestApp) -> String {
    let database = app.open_database().await;
    let plan = DemoPlan {
        seed: 5,
        messages: 2_500,
        people: 20,
        until: chrono::Utc::now(),
    };
    demo::load(&database, &plan, |_| ()).await.unwrap();
    database.close().await;
    let log_in = json!({"email": demo::EMAIL, "password": demo::PASSWORD});
    let answer = app.request(Method::POST, "/auth/login", None, Some(log_in)).await.ok();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// The last 400 days, in a zone.
fn range(tz: &str) -> String {
    let from = (chrono::Utc::now() - chrono::TimeDelta::days(400)).format("%Y-%m-%d");
    format!("from={from}&tz={tz}")
}

#[actix_web::test]
async fn every_message_is_exported_once_oldest_first() {
    let app = TestApp::start().await;
    let token = year(&app).await;
    let query = format!("kind=messages&{}", range("UTC"));
    let all = ndjson(&app, &token, &query).await;
    let sql = "SELECT json_build_object('conversation', conversation_id, 'seq', seq, 'id', id, 'author', author_id,
                   'kind', kind, 'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
                   'bytes', coalesce(octet_length(body), 0), 'edited', edited_at IS NOT NULL,
                   'deleted', deleted_at IS NOT NULL)
               FROM messages ORDER BY created_at, conversation_id, seq";
    let stored: Vec<Value> = app
        .database
        .query(sql, &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!((all.rows.len(), &all.next), (2_500, &None));
    assert!(all.rows == stored, "the rows of the database, in their order");
    for limit in [999, 2_500] {
        assert!(
            in_pieces(&app, &token, &query, limit).await == stored,
            "in pieces of {limit}"
        );
    }
    // The same in CSV, by its columns.
    let csv = fetch(&app, &token, &format!("{query}&format=csv&limit=50")).await;
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(
        columns,
        [
            "conversation",
            "seq",
            "id",
            "author",
            "kind",
            "created_at",
            "bytes",
            "edited",
            "deleted"
        ]
    );
    for (line, row) in lines.by_ref().take(50).zip(&stored) {
        let values: Vec<String> = columns.iter().map(|column| plain(&row[*column])).collect();
        assert_eq!(line, values.join(","));
    }
    assert!(lines.next().unwrap().starts_with("# next: m."));
    assert_eq!(lines.next(), None);
    app.stop().await;
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[actix_web::test]
async fn counts_are_those_of_the_messages_in_the_hours_of_the_zone() {
    let app = TestApp::start().await;
    let token = year(&app).await;
    for tz in ["UTC", "Asia/Kathmandu", "America/New_York"] {
        let query = format!("kind=counts&{}", range(tz));
        let all = ndjson(&app, &token, &query).await;
        assert_eq!(all.next, None);
        let sql = "SELECT date_trunc('hour', created_at, $1) AS hour, conversation_id::text, author_id::text, kind,
                          count(*) AS messages
                   FROM messages GROUP BY 1, 2, 3, 4";
        let expected: BTreeMap<_, i64> = app
            .database
            .query(sql, &[&tz])
            .await
            .iter()
            .map(|row| {
                let hour: chrono::DateTime<chrono::Utc> = row.get(0);
                (
                    (
                        hour.timestamp(),
                        row.get::<_, String>(1),
                        row.get::<_, String>(2),
                        row.get::<_, String>(3),
                    ),
                    row.get(4),
                )
            })
            .collect();
        let found: Vec<_> = all
            .rows
            .iter()
            .map(|row| {
                let hour = chrono::DateTime::parse_from_rfc3339(row["hour"].as_str().unwrap()).unwrap();
                let key = (
                    hour.timestamp(),
                    plain(&row["conversation"]),
                    plain(&row["user"]),
                    plain(&row["kind"]),
                );
                (key, row["messages"].as_i64().unwrap())
            })
            .collect();
        assert!(
            found.is_sorted_by(|one, other| one.0 < other.0),
            "by hour, conversation, user, kind"
        );
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected, "{tz}");
        if tz == "Asia/Kathmandu" {
            assert!(all.rows[0]["hour"].as_str().unwrap().ends_with("+05:45"));
            assert!(in_pieces(&app, &token, &query, 700).await == all.rows);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_piece_goes_on_within_an_hour_and_within_a_moment() {
    let app = TestApp::start().await;
    let ([ann, bo], conversation) = app.conversation_of(["Ann", "Bo"]).await;
    let other = ann.create_conversation("other").await;
    for n in 0..6 {
        ann.post_message(conversation, MessageId::new(), "hello").await.ok();
        bo.post_message(conversation, MessageId::new(), "hello").await.ok();
        ann.post_message(other, MessageId::new(), &format!("{n}")).await.ok();
    }
    // All at one moment.
    let sql = "UPDATE messages SET created_at = '2026-05-05T10:20:30.400Z' RETURNING 1";
    assert_eq!(app.database.query(sql, &[]).await.len(), 18);
    let of = |kind: &str| format!("kind={kind}&from=2026-05-05T10:20:30.400Z&to=2026-05-05T10:20:30.401Z");
    for limit in [1, 4, 5, 18] {
        let messages = in_pieces(&app, &ann.token, &of("messages"), limit).await;
        let ids: HashSet<String> = messages.iter().map(|row| plain(&row["id"])).collect();
        assert_eq!((messages.len(), ids.len()), (18, 18));
        let counts = in_pieces(&app, &ann.token, &of("counts"), limit).await;
        let numbers: Vec<i64> = counts.iter().map(|row| row["messages"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [6, 6, 6], "in pieces of {limit}");
        assert!(counts.iter().all(|row| row["hour"] == "2026-05-05T10:00:00.000+00:00"));
    }
    for before in ["2026-05-05T10:20:30.400Z", "2026-05-05"] {
        let query = format!("kind=messages&from=2026-05-01&to={before}");
        assert_eq!(ndjson(&app, &ann.token, &query).await.rows.len(), 0, "half open");
    }
    app.stop().await;
}

#[actix_web::test]
async fn an_export_is_for_admins_and_of_their_own_workspace() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    ann.post_message(conversation, MessageId::new(), "=HYPERLINK(\"x\")")
        .await
        .ok();
    let invite = ann.invite(conversation).await;
    let (bo, guest) = (app.join("Bo", &invite).await, app.guest("Gus", &invite).await);
    for person in [&bo, &guest] {
        person
            .get(&format!("{EXPORT}?kind=nonsense"))
            .await
            .problem(403, "forbidden");
    }
    let stranger = app.register("Cy").await;
    assert_eq!(ndjson(&app, &stranger.token, "kind=messages").await.rows.len(), 0);
    assert_eq!(ndjson(&app, &stranger.token, "kind=counts").await.rows.len(), 0);
    let key = async |scope: &str| {
        let made = ann
            .post("/api/keys", json!({"name": scope, "scopes": [scope]}))
            .await
            .ok();
        made["secret"].as_str().unwrap().to_owned()
    };
    let numbers = key("analytics:read").await;
    let lines = ndjson(&app, &numbers, "kind=messages").await;
    assert_eq!(lines.rows.len(), 1);
    // Nothing that somebody wrote is in it.
    assert!(
        !fetch(&app, &numbers, "kind=messages&format=csv")
            .await
            .contains("HYPERLINK")
    );
    let chat = key("chat").await;
    app.request(Method::GET, EXPORT, Some(&chat), None)
        .await
        .problem(403, "forbidden");
    app.stop().await;
}

async fn refused(ann: &Person, query: &str, field: &str) {
    let answer: Answer = ann.get(&format!("{EXPORT}?{query}")).await;
    let problem = answer.problem(400, "bad_request");
    assert_eq!(problem["errors"][0]["field"], field, "{query}: {problem}");
}

#[actix_web::test]
async fn what_is_wrong_is_named_and_does_not_count_as_expensive() {
    let app = TestApp::with(|config| config.limits.enabled = true).await;
    let ann = app.register("Ann").await;
    for (query, field) in [
        ("kind=bodies", "kind"),
        ("format=xml", "format"),
        ("limit=0", "limit"),
        ("limit=1000001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=m.1.2.3", "cursor"),
        ("kind=counts&cursor=m.1.00000000000000000000000000000001.1", "cursor"),
        ("from=2026-02-30", "from"),
        ("from=2026-03-02&to=2026-03-01", "from"),
        ("tz=Mars/Olympus", "tz"),
        ("granularity=day", "granularity"),
        ("kind=counts&kind=counts", "kind"),
    ] {
        refused(&ann, query, field).await;
    }
    for _ in 0..10 {
        ndjson(&app, &ann.token, "kind=counts").await;
    }
    let limited = ann.get(EXPORT).await;
    assert!(limited.header("retry-after").is_some());
    limited.problem(429, "rate_limited");
    app.stop().await;
}

/// Whoever goes away ends the export.
#[actix_web::test]
async fn a_client_that_goes_ends_its_export() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let conversation = ann.create_conversation("long").await;
    fill(&app, &ann, conversation, 200_000).await;
    let url = app.url(&format!(
        "{EXPORT}?kind=messages&limit=1000000&from=2026-01-01&to=2026-12-31"
    ));
    let mut response = app.http().get(url).bearer_auth(&ann.token).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND state = 'active' AND query LIKE '%octet_length%'
                 AND pid <> pg_backend_pid()";
    let active = async || app.database.query(sql, &[]).await[0].get::<_, i64>(0);
    eventually("nothing is read any more", async || active().await == 0).await;
    app.stop().await;
}

/// Puts many messages into a conversation past the server.
async fn fill(app: &TestApp, person: &Person, conversation: ConversationId, n: i64) {
    let sql =
        "INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest,
                                     created_at)
               SELECT $1, n, $2, gen_random_uuid(), $3, 'person', 'hello ' || n, n + 1, n + 1, '\\x00',
                      '2026-02-01'::timestamptz + n * interval '1 minute'
               FROM generate_series(1, $4::bigint) n RETURNING 1";
    let ids = (conversation.0, person.tenant.0, person.id.0);
    assert_eq!(
        app.database.query(sql, &[&ids.0, &ids.1, &ids.2, &n]).await.len() as i64,
        n
    );
    let sql = "UPDATE conversations SET last_seq = $2::bigint, rev = $2::bigint + 1 WHERE id = $1 RETURNING 1";
    app.database.query(sql, &[&ids.0, &n]).await;
}
