//! Who may ask for numbers, what is wrong, whose titles are shown, and what may be kept.

use super::{ask, counted, path};
use crate::keys::key_of;
use crate::support::TestApp;
use crate::support::db::connect;
use parlance::database::Statement;
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ROUTES: [&str; 6] = [
    "/api/analytics/summary",
    "/api/analytics/messages",
    "/api/analytics/users/active",
    "/api/analytics/users/top",
    "/api/analytics/conversations/top",
    "/api/analytics/heatmap",
];
const USAGE: &str = "/api/me/usage";

#[actix_web::test]
async fn who_may_not_ask_is_refused_whatever_the_parameters() {
    let app = TestApp::start().await;
    let ([boss, ben], hall) = app.conversation_of(["Boss", "Ben"]).await;
    let guest = app.guest("Guest", &boss.invite(hall).await).await;
    counted(&app).await;
    let (chat, _) = key_of(&boss, &["chat"]).await;
    for route in ROUTES {
        for refused in [&ben, &guest, &chat] {
            refused
                .get(&format!("{route}?nonsense=&from=x"))
                .await
                .problem(403, "forbidden");
        }
        app.request(Method::GET, route, None, None)
            .await
            .problem(401, "unauthenticated");
    }
    for scope in ["analytics:read", "admin"] {
        let (key, _) = key_of(&boss, &[scope]).await;
        for route in ROUTES.into_iter().chain([USAGE]) {
            key.get(route).await.ok();
        }
    }
    for person in [&boss, &ben, &guest, &chat] {
        person.get(USAGE).await.ok();
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_is_wrong_is_named() {
    let app = TestApp::start().await;
    let (boss, _) = app.person_with_conversation("Boss").await;
    counted(&app).await;
    let year = [("from", "2025-01-01"), ("to", "2026-12-31")];
    for route in ROUTES.into_iter().chain([USAGE]) {
        for (query, field) in [
            ("colour=red", "colour"),
            ("from=", "from"),
            ("to=", "to"),
            ("tz=", "tz"),
            ("from=2026-01-01&from=2026-01-02", "from"),
            ("from=2026-02-30", "from"),
            ("from=2026-01-01T00:00:00", "from"),
            ("from=0000-01-01&to=0000-01-02", "to"),
            ("tz=CEST", "tz"),
            ("tz=%2B02:00", "tz"),
            ("tz=europe/berlin", "tz"),
            ("from=2026-01-02&to=2026-01-01", "from"),
            ("from=2026-01-01&to=2026-01-01", "from"),
            ("from=2024-01-01&to=2026-01-03", "from"),
        ] {
            let problem = boss.get(&format!("{route}?{query}")).await.problem(400, "bad_request");
            assert_eq!(problem["errors"][0]["field"], field, "{route} {query} {problem}");
        }
    }
    for (route, query, field) in [
        (ROUTES[1], "granularity=minute", "granularity"),
        (ROUTES[1], "granularity=", "granularity"),
        (ROUTES[1], "group_by=colour", "group_by"),
        (ROUTES[1], "limit=0", "limit"),
        (ROUTES[1], "limit=51", "limit"),
        (ROUTES[1], "limit=", "limit"),
        (ROUTES[2], "granularity=hour", "granularity"),
        (ROUTES[2], "group_by=user", "group_by"),
        (ROUTES[3], "limit=x", "limit"),
        (ROUTES[3], "sort=recent", "sort"),
        (ROUTES[4], "sort=name", "sort"),
        (ROUTES[0], "granularity=day", "granularity"),
        (ROUTES[5], "limit=1", "limit"),
    ] {
        let problem = boss.get(&format!("{route}?{query}")).await.problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{route} {query} {problem}");
    }
    for route in [ROUTES[1], USAGE] {
        let hours = [year[0], year[1], ("granularity", "hour")];
        let problem = boss.get(&path(route, &hours)).await.problem(400, "bad_request");
        assert!(problem["detail"].as_str().unwrap().contains("`day`"), "{problem}");
        boss.get(&path(route, &[year[0], year[1], ("granularity", "day")]))
            .await
            .ok();
    }
    app.stop().await;
}

#[actix_web::test]
async fn numbers_are_the_workspaces_and_words_are_their_members() {
    let app = TestApp::start().await;
    let ([boss, ben], hall) = app.conversation_of(["Boss", "Ben"]).await;
    let secret = ben.create_conversation("Secret").await;
    let gone = boss.create_conversation("Gone").await;
    for (person, conversation) in [(&boss, hall), (&ben, secret), (&boss, gone)] {
        person.post_message(conversation, MessageId::new(), "x").await.ok();
    }
    let (stranger, other) = app.person_with_conversation("Stranger").await;
    stranger.post_message(other, MessageId::new(), "x").await.ok();
    boss.delete(&format!("/api/conversations/{gone}")).await.ok();
    counted(&app).await;
    let titles = async |who: &crate::support::Person| {
        let answer = ask(who, ROUTES[4], &[]).await;
        let mut titles: Vec<Value> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["conversation"]["title"].clone())
            .collect();
        titles.sort_by_key(Value::to_string);
        let answer = ask(who, ROUTES[1], &[("group_by", "conversation")]).await;
        let mut labels: Vec<Value> = answer["series"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["label"].clone())
            .collect();
        labels.sort_by_key(Value::to_string);
        assert_eq!(titles, labels);
        titles
    };
    let hall_title = boss.get(&format!("/api/conversations/{hall}")).await.ok()["title"].clone();
    assert_eq!(titles(&boss).await, [hall_title.clone(), Value::Null, Value::Null]);
    let (numbers, _) = key_of(&boss, &["analytics:read"]).await;
    assert_eq!(titles(&numbers).await, [Value::Null, Value::Null, Value::Null]);
    let (both, _) = key_of(&boss, &["analytics:read", "chat"]).await;
    assert_eq!(titles(&both).await, [hall_title, Value::Null, Value::Null]);
    let users = ask(&numbers, ROUTES[3], &[]).await;
    assert_eq!(users["items"][0]["user"]["name"], "Boss");
    let summary = ask(&stranger, ROUTES[0], &[]).await;
    assert_eq!(summary["current"]["messages"], 1);
    app.stop().await;
}

#[actix_web::test]
async fn what_is_over_has_a_tag_and_what_goes_on_has_none() {
    let app = TestApp::start().await;
    let ([boss, ben], hall) = app.conversation_of(["Boss", "Ben"]).await;
    boss.post_message(hall, MessageId::new(), "x").await.ok();
    counted(&app).await;
    let now = chrono::Utc::now();
    let over = (now - Duration::from_secs(5)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    for route in ROUTES.into_iter().chain([USAGE]) {
        let open = boss.get(route).await;
        assert_eq!(open.header("etag"), None);
        let generated = open.body["generated_at"].as_str().unwrap();
        let through = open.body["data_through"].as_str().unwrap();
        let moment = |text| chrono::DateTime::parse_from_rfc3339(text).unwrap();
        let age = chrono::Utc::now().signed_duration_since(moment(through));
        assert!(
            age.num_milliseconds() < 5_000 && moment(through) <= moment(generated),
            "{age}"
        );
        let path = path(route, &[("to", &over)]);
        let closed = boss.get(&path).await;
        let tag = closed.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20, "{tag}");
        assert_eq!(closed.header("cache-control"), Some("private, max-age=60"));
        let again = async |tag: &str| {
            let request = app
                .http()
                .get(app.url(&path))
                .bearer_auth(&boss.token)
                .header("if-none-match", tag);
            crate::support::Site::read(request.send().await.unwrap()).await.unwrap()
        };
        let unchanged = again(&tag).await;
        assert_eq!(
            (
                unchanged.status,
                unchanged.body,
                unchanged.headers["etag"].to_str().unwrap()
            ),
            (304, Value::Null, &*tag)
        );
        assert_eq!(again("\"other\"").await.status, 200);
    }
    // A name is part of the tag.
    let yesterday = now.timestamp_millis() - 86_400_000;
    let past = super::Past {
        conversation: hall,
        author: ben.id.0,
        kind: "person",
        at: yesterday,
    };
    super::load_history(&app, &boss, &[past]).await;
    counted(&app).await;
    let path = path(
        ROUTES[3],
        &[(
            "to",
            &(now - Duration::from_secs(4)).format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )],
    );
    let before = boss.get(&path).await;
    assert_eq!(before.body["items"][0]["user"]["name"], "Ben");
    ben.patch("/api/me", json!({"name": "Renamed"})).await.ok();
    let after = boss.get(&path).await;
    assert_eq!(after.body["items"][0]["user"]["name"], "Renamed");
    assert_ne!(after.header("etag"), before.header("etag"));
    app.stop().await;
}

/// A commit that takes long holds the moment back, and is in the answers from before it on.
#[actix_web::test]
async fn a_slow_commit_is_waited_for() {
    let app = TestApp::start().await;
    let (boss, hall) = app.person_with_conversation("Boss").await;
    boss.post_message(hall, MessageId::new(), "x").await.ok();
    counted(&app).await;
    let slow = connect(app.database.url()).await;
    slow.batch_execute("BEGIN").await.unwrap();
    slow.query(
        "SELECT id FROM conversations WHERE id = $1 FOR NO KEY UPDATE",
        &[&hall.0],
    )
    .await
    .unwrap();
    let sql = "INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest, created_at)
               SELECT id, last_seq + 1, tenant_id, gen_random_uuid(), user_id, 'person', 'late', rev + 1, rev + 1, '',
                      date_trunc('milliseconds', statement_timestamp()) FROM conversations WHERE id = $1 RETURNING created_at";
    let late: chrono::DateTime<chrono::Utc> = slow.query_one(sql, &[&hall.0]).await.unwrap().get(0);
    let moment =
        |answer: &Value| chrono::DateTime::parse_from_rfc3339(answer["data_through"].as_str().unwrap()).unwrap();
    let held = async || ask(&boss, ROUTES[0], &[]).await;
    crate::support::stays(
        "the moment is before the late message",
        Duration::from_secs(4),
        async || {
            let answer = held().await;
            moment(&answer) <= late && answer["current"]["messages"] == 1
        },
    )
    .await;
    slow.execute(
        "UPDATE conversations SET last_seq = last_seq + 1, rev = rev + 1 WHERE id = $1",
        &[&hall.0],
    )
    .await
    .unwrap();
    slow.batch_execute("COMMIT").await.unwrap();
    crate::support::eventually("the late message is counted", async || {
        let answer = held().await;
        assert_eq!(
            answer["current"]["messages"],
            if moment(&answer) > late { 2 } else { 1 }
        );
        moment(&answer) > late
    })
    .await;
    drop(slow);
    app.stop().await;
}

/// A statement that nobody waits for any more is ended in PostgreSQL.
#[actix_web::test]
async fn a_question_that_is_given_up_ends_its_statement() {
    const LONG: Statement = Statement::new("test.long", "SELECT pg_sleep(4)");
    let app = TestApp::start().await;
    let database = app.open_database().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()
               AND query = 'SELECT pg_sleep(4)'";
    let running = async || app.database.query(sql, &[]).await[0].get::<_, i64>(0);
    let client = database.cancelling_client().await.unwrap();
    let question = tokio::spawn(async move { client.query_one(&LONG, &[]).await.map(drop) });
    crate::support::eventually("it is at work", async || running().await == 1).await;
    question.abort();
    // Sooner than it would end by itself.
    crate::support::eventually_within(Duration::from_secs(2), "it is ended", async || running().await == 0).await;
    database.close().await;
    app.stop().await;
}

/// One question at a time; who waits too long is told so.
#[actix_web::test]
async fn a_workspace_has_one_question_at_a_time() {
    let app = TestApp::start().await;
    let (boss, _) = app.person_with_conversation("Boss").await;
    let (other, _) = app.person_with_conversation("Other").await;
    counted(&app).await;
    let lock = connect(app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE analytics_blocks IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let ask = |route: &'static str| {
        let request = app.http().get(app.url(route)).bearer_auth(&boss.token).send();
        tokio::spawn(async move { crate::support::Site::read(request.await.unwrap()).await.unwrap() })
    };
    let first = ask(ROUTES[5]);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()
               AND query LIKE 'SELECT cells FROM analytics_blocks%'";
    let waiting = async || app.database.query(sql, &[]).await[0].get::<_, i64>(0);
    crate::support::eventually("the first is at work", async || waiting().await == 1).await;
    ask(ROUTES[3]).await.unwrap().problem(503, "overloaded");
    let others = app.http().get(app.url(ROUTES[3])).bearer_auth(&other.token).send();
    let others = tokio::spawn(others);
    crate::support::eventually("another workspace is at work", async || waiting().await == 2).await;
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(others.await.unwrap().unwrap().status(), 200);
    first.await.unwrap().ok();
    boss.get(ROUTES[3]).await.ok();
    drop(lock);
    app.stop().await;
}
