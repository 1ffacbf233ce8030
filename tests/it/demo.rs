//! The demo year: the server takes what was put past it for what it has written itself.

use crate::program::parlance;
use crate::support::TestApp;
use crate::support::db::TestDatabase;
use parlance::demo::{self, DemoPlan, Loaded};
use parlance::ids::{ConversationId, MessageId, UserId};
use reqwest::Method;
use serde_json::{Value, json};

const MESSAGES: u64 = 3_000;

fn plan() -> DemoPlan {
    DemoPlan {
        seed: 11,
        messages: MESSAGES,
        people: 24,
        until: chrono::Utc::now(),
    }
}

/// A node on a year, and the token of its owner.
async fn app_of_a_year() -> (TestApp, String) {
    let app = TestApp::start().await;
    let database = app.open_database().await;
    let mut last = 0;
    let loaded = demo::load(&database, &plan(), |written| last = written).await.unwrap();
    assert!(
        matches!(
            loaded,
            Loaded::Made {
                messages: MESSAGES,
                people: 24,
                ..
            }
        ),
        "{loaded:?}"
    );
    assert_eq!(last, MESSAGES);
    assert_eq!(demo::load(&database, &plan(), |_| ()).await.unwrap(), Loaded::Found);
    database.close().await;
    let log_in = json!({"email": demo::EMAIL, "password": demo::PASSWORD});
    let answer = app.request(Method::POST, "/auth/login", None, Some(log_in)).await.ok();
    (app, answer["access_token"].as_str().unwrap().to_owned())
}

async fn get(app: &TestApp, token: &str, path: &str) -> Value {
    app.request(Method::GET, path, Some(token), None).await.ok()
}

/// Every item of a list, by pages.
async fn all(app: &TestApp, token: &str, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(app, token, &format!("{path}?limit=100{cursor}")).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

#[actix_web::test]
async fn the_server_serves_a_demo_year_like_its_own() {
    let (app, token) = app_of_a_year().await;
    let list = all(&app, &token, "/api/conversations").await;
    let general = list
        .iter()
        .find(|item| item["title"].as_str().unwrap().starts_with("General"))
        .unwrap();
    let times: Vec<_> = list
        .iter()
        .map(|item| item["last_message_at"].as_str().unwrap_or_default())
        .collect();
    assert!(
        times.is_sorted_by(|earlier, later| earlier >= later),
        "newest activity first: {times:?}"
    );
    let mut socket = crate::support::Socket::connect(&app, &token).await;
    for item in &list {
        let id = ConversationId(item["id"].as_str().unwrap().parse().unwrap());
        let (last_seq, rev) = (item["last_seq"].as_i64().unwrap(), item["rev"].as_i64().unwrap());
        assert_eq!(
            item["unread"].as_i64().unwrap(),
            last_seq - item["read_seq"].as_i64().unwrap()
        );
        // A replay of everything has each message once, and ends where the list says.
        let replayed = socket.subscribe(id, Some(0)).await;
        assert_eq!(replayed.subscribed["rev"].as_i64().unwrap(), rev);
        let of = |kind: &str| replayed.frames.iter().filter(|frame| frame["type"] == kind).count();
        assert_eq!(i64::try_from(of("message")).unwrap(), last_seq);
        assert_eq!(
            of("member"),
            usize::try_from(item["member_count"].as_i64().unwrap()).unwrap()
        );
        socket.ask(json!({"type": "unsubscribe", "conversation": id})).await;
    }
    let id = ConversationId(general["id"].as_str().unwrap().parse().unwrap());
    goes_on(&app, &token, id, general).await;
    is_found(&app, &token, id).await;
    socket.close().await;
    app.stop().await;
}

/// Pages are whole, replies lead to messages, and the next message is the next one.
async fn goes_on(app: &TestApp, token: &str, id: ConversationId, listed: &Value) {
    let last_seq = listed["last_seq"].as_i64().unwrap();
    let (mut after, mut replies, mut reactions) = (0, 0, 0);
    while after < last_seq {
        let page = get(
            app,
            token,
            &format!("/api/conversations/{id}/messages?after={after}&limit=100"),
        )
        .await;
        for message in page["items"].as_array().unwrap() {
            after += 1;
            assert_eq!(message["seq"], after);
            reactions += usize::from(message.get("reactions").is_some());
            if message["reply_to"].is_string() {
                replies += 1;
            }
        }
    }
    assert!(
        replies > 5 && reactions > 5,
        "{replies} replies, {reactions} with reactions"
    );
    let body = json!({"id": MessageId::new(), "body": "the next one"});
    let path = format!("/api/conversations/{id}/messages");
    let ack = app.request(Method::POST, &path, Some(token), Some(body)).await.ok();
    assert_eq!(ack["seq"].as_i64().unwrap(), last_seq + 1);
    assert_eq!(ack["rev"].as_i64().unwrap(), listed["rev"].as_i64().unwrap() + 1);
}

/// The index of search follows what was loaded.
async fn is_found(app: &TestApp, token: &str, id: ConversationId) {
    app.indexed(id).await;
    let found = get(app, token, "/api/search?q=review&limit=100").await;
    let hits = found["items"].as_array().unwrap();
    assert!(
        hits.len() > 10
            && hits.iter().all(|hit| hit["message"]["body"]
                .as_str()
                .unwrap()
                .to_lowercase()
                .contains("review"))
    );
}

#[actix_web::test]
async fn every_row_of_a_year_fits_the_others() {
    let (app, _) = app_of_a_year().await;
    let count = async |sql: &str| app.database.query(sql, &[]).await[0].get::<_, i64>(0);
    for (wrong, sql) in [
        (
            "sequence numbers with holes",
            "SELECT count(*) FROM conversations c WHERE last_seq <> (SELECT count(*) FROM messages m
                 WHERE m.conversation_id = c.id AND m.seq BETWEEN 1 AND c.last_seq)",
        ),
        (
            "the last moment",
            "SELECT count(*) FROM conversations c WHERE last_message_at IS DISTINCT FROM
                 (SELECT created_at FROM messages m WHERE m.conversation_id = c.id AND m.seq = c.last_seq)",
        ),
        (
            "two things with one revision",
            "SELECT count(*) FROM (SELECT conversation_id, rev FROM messages UNION ALL
                 SELECT conversation_id, rev FROM conversation_members) r GROUP BY conversation_id, rev HAVING count(*) > 1
             UNION ALL SELECT 0",
        ),
        (
            "revisions beyond the conversation's",
            "SELECT count(*) FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.rev > c.rev",
        ),
        (
            "member counts",
            "SELECT count(*) FROM conversations c WHERE member_count <>
                 (SELECT count(*) FROM conversation_members m WHERE m.conversation_id = c.id)",
        ),
        (
            "authors who are no members, or came later",
            "SELECT count(*) FROM messages m LEFT JOIN conversation_members o
                 ON o.conversation_id = m.conversation_id AND o.user_id = m.author_id AND o.joined_rev < m.posted_rev
             WHERE o.user_id IS NULL",
        ),
        (
            "replies to what is not there before",
            "SELECT count(*) FROM messages m WHERE reply_to IS NOT NULL AND NOT EXISTS (SELECT FROM messages t
                 WHERE t.tenant_id = m.tenant_id AND t.id = m.reply_to AND t.conversation_id = m.conversation_id
                   AND t.seq < m.seq)",
        ),
        (
            "reactions on what was deleted, or of who is no member",
            "SELECT count(*) FROM reactions r JOIN messages m USING (conversation_id, seq)
             LEFT JOIN conversation_members o ON o.conversation_id = r.conversation_id AND o.user_id = r.user_id
             WHERE m.deleted_at IS NOT NULL OR o.user_id IS NULL",
        ),
        (
            "messages in the future, or before their conversation",
            "SELECT count(*) FROM messages m JOIN conversations c ON c.id = m.conversation_id
             WHERE m.created_at > now() OR m.created_at < c.created_at
                OR m.created_at <> date_trunc('milliseconds', m.created_at)",
        ),
    ] {
        assert_eq!(count(sql).await, 0, "{wrong}");
    }
    // As long as a year, and as rich.
    assert!(count("SELECT count(DISTINCT date_trunc('week', created_at)) FROM messages").await >= 50);
    assert!(count("SELECT count(*) FROM messages WHERE edited_at IS NOT NULL").await > 20);
    assert!(count("SELECT count(*) FROM messages WHERE deleted_at IS NOT NULL").await > 5);
    assert!(count("SELECT count(*) FROM messages WHERE kind = 'agent'").await > 0);
    assert!(count("SELECT count(DISTINCT last_seq) FROM conversations").await > 15);
    app.stop().await;
}

#[actix_web::test]
async fn a_database_with_other_workspaces_gets_no_demo() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let database = app.open_database().await;
    let refused = demo::load(&database, &plan(), |_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("DATA_DIR"), "{refused}");
    database.close().await;
    let people = app.database.query("SELECT id FROM users", &[]).await;
    assert_eq!(
        people.iter().map(|row| UserId(row.get(0))).collect::<Vec<_>>(),
        [ann.id]
    );
    app.stop().await;
}

#[actix_web::test]
async fn the_program_makes_a_year_and_says_how_to_log_in() {
    let database = TestDatabase::create().await;
    let arguments = ["demo", "--messages", "1000", "--people", "10", "--load-only"];
    let url = database.url().to_owned();
    let output = actix_web::web::block(move || parlance(&arguments, &[("DATABASE_URL", &url)]))
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains("1000 messages of 10 people") && said.contains(demo::EMAIL),
        "{said}"
    );
    database.remove().await;
}
