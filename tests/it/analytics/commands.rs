//! What operators do with the counts, and what they survive: kills, commands that are broken off, two nodes.

use super::{Past, ask, counted, load_history};
use crate::program::parlance;
use crate::support::db::connect;
use crate::support::{Person, ServerProcess, Site, TestApp, eventually, pace, stays};
use parlance::ids::{ConversationId, MessageId};
use std::process::{Command, Output};
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;

/// Runs `parlance analytics …` on a database.
async fn analytics(database_url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let arguments: Vec<String> = std::iter::once("analytics")
        .chain(arguments.iter().copied())
        .map(str::to_owned)
        .collect();
    let mut environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    environment.push(("DATABASE_URL".to_owned(), database_url.to_owned()));
    let output: Output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        parlance(&arguments, &environment)
    })
    .await
    .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A history of some days in a conversation of two.
async fn history(app: &TestApp, people: [&Person; 2], conversation: ConversationId, days: i64) {
    let start = chrono::Utc::now().timestamp_millis() / DAY_MS * DAY_MS - days * DAY_MS;
    let past = (0..days * 30).map(|n| Past {
        conversation,
        author: people[usize::from(n % 3 == 0)].id.0,
        kind: "person",
        at: start + n * (DAY_MS / 30) + n * n % 977,
    });
    load_history(app, people[0], &past.collect::<Vec<_>>()).await;
}

#[actix_web::test]
async fn counts_are_verified_and_made_anew() {
    let app = TestApp::start().await;
    let ([ann, ben], hall) = app.conversation_of(["Ann", "Ben"]).await;
    let (stranger, _) = app.person_with_conversation("Stranger").await;
    history(&app, [&ann, &ben], hall, 40).await;
    counted(&app).await;
    let url = app.database.url().to_owned();
    let all = [("from", "2000-01-01"), ("to", "2002-01-01")];
    let month = async || ask(&ann, "/api/analytics/users/top", &[]).await["items"].clone();
    let before = month().await;
    assert_eq!(before.as_array().unwrap().len(), 2);
    let (code, said, _) = analytics(&url, &["verify"], &[]).await;
    assert_eq!((code, said.contains("all right")), (0, true), "{said}");
    // Another day's block, the people, and a cell that is not there.
    let sql = "WITH day AS (DELETE FROM analytics_blocks WHERE tenant_id = $1 AND day = (SELECT min(day) + 3 FROM analytics_blocks WHERE tenant_id = $1) RETURNING 1),
                    people AS (UPDATE analytics_people SET first_at = first_at - interval '1 day' WHERE tenant_id = $1 AND user_id = $2 RETURNING 1)
               SELECT count(*) FROM (SELECT * FROM day UNION ALL SELECT * FROM people) changed";
    app.database.query(sql, &[&ann.tenant.0, &ben.id.0]).await;
    let (code, said, error) = analytics(&url, &["verify"], &[]).await;
    assert_eq!(code, 1, "{said} {error}");
    assert!(
        said.contains("counted 0 messages") && said.contains(&format!("first post of {}", ben.id)),
        "{said}"
    );
    assert!(error.contains("parlance analytics rebuild"), "{error}");
    let own = ann.tenant.to_string();
    let other = stranger.tenant.to_string();
    assert_eq!(analytics(&url, &["verify", "--tenant", &other], &[]).await.0, 0);
    assert_eq!(analytics(&url, &["rebuild", "--tenant", &other], &[]).await.0, 0);
    assert_eq!(analytics(&url, &["verify", "--tenant", &own], &[]).await.0, 1);
    let (code, said, _) = analytics(&url, &["rebuild", "--tenant", &own], &[]).await;
    assert_eq!((code, said.as_str()), (0, "1200 messages counted\n"));
    let (code, said, _) = analytics(&url, &["verify"], &[]).await;
    assert_eq!((code, said.contains("all right")), (0, true), "{said}");
    // What is posted from then on is counted in the new generation.
    ben.post_message(hall, MessageId::new(), "on").await.ok();
    counted(&app).await;
    assert_eq!(analytics(&url, &["rebuild"], &[]).await.0, 0);
    assert_eq!(analytics(&url, &["verify"], &[]).await.0, 0);
    assert_eq!(
        ask(&ann, "/api/analytics/summary", &all).await["current"]["messages"],
        0
    );
    for wrong in [
        &["verify", "--tenant", "x"][..],
        &["verify", "--tenant", "019ab2c4-0000-7000-8000-000000000000"],
        &["rebuild", "--tenant", "019ab2c4-0000-7000-8000-000000000000"],
        &["recount"],
        &["verify", "--all"],
        &[],
    ] {
        let (code, said, error) = analytics(&url, wrong, &[]).await;
        assert_eq!((code, said.is_empty()), (2, true), "{wrong:?} {error}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_rebuild_that_is_broken_off_goes_on_and_a_second_one_waits() {
    let app = TestApp::start().await;
    let ([ann, ben], hall) = app.conversation_of(["Ann", "Ben"]).await;
    history(&app, [&ann, &ben], hall, 10).await;
    counted(&app).await;
    let url = app.database.url().to_owned();
    let (code, _, _) = analytics(&url, &["rebuild"], &[("FAILPOINTS", "analytics::rebuild=panic")]).await;
    assert_ne!(code, 0);
    assert_eq!(
        analytics(&url, &["verify"], &[]).await.0,
        0,
        "what is answered is as it was"
    );
    let (code, said, _) = analytics(&url, &["rebuild"], &[]).await;
    assert_eq!(
        (code, said.as_str()),
        (0, "0 messages counted\n"),
        "all was counted before it was broken off"
    );
    assert_eq!(analytics(&url, &["verify"], &[]).await.0, 0);
    let first = connect(&url).await;
    first
        .query("SELECT pg_advisory_lock(x'7265636f756e74'::bigint)", &[])
        .await
        .unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_parlance"))
        .args(["analytics", "rebuild"])
        .env("DATABASE_URL", &url)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    stays("it waits", Duration::from_secs(3), async || {
        second.try_wait().unwrap().is_none()
    })
    .await;
    drop(first);
    eventually("it ends", async || {
        second.try_wait().unwrap().is_some_and(|status| status.success())
    })
    .await;
    assert_eq!(analytics(&url, &["verify"], &[]).await.0, 0);
    app.stop().await;
}

/// A rebuild while people post, over two nodes of which one dies.
#[actix_web::test]
async fn nothing_is_lost_or_doubled_while_nodes_and_generations_change() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let ([ann, ben], hall) = app.conversation_of(["Ann", "Ben"]).await;
    history(&app, [&ann, &ben], hall, 10).await;
    let url = app.database.url().to_owned();
    let there = ben.at(&peer);
    let posting = async {
        for n in 0..120 {
            let author = if n % 2 == 0 { &ann } else { &there };
            author.post_message(hall, MessageId::new(), "x").await.ok();
        }
    };
    let rebuilding = async {
        for _ in 0..2 {
            assert_eq!(analytics(&url, &["rebuild"], &[]).await.0, 0);
        }
    };
    futures_util::future::join(posting, rebuilding).await;
    counted(&app).await;
    // The node with the lease ends; the other one takes over.
    app.stop().await;
    for _ in 0..5 {
        there.post_message(hall, MessageId::new(), "on").await.ok();
    }
    counted(&peer).await;
    let (code, said, _) = analytics(&url, &["verify"], &[]).await;
    assert_eq!((code, said.as_str()), (0, "425 messages compared, all right\n"));
    peer.stop().await;
}

#[tokio::test]
async fn counts_survive_kills() {
    let mut server = ServerProcess::start(&[]);
    let site = Site::new(server.address);
    let (ann, hall) = site.person_with_conversation("Ann").await;
    for round in 0..4 {
        let site = Site::new(server.address);
        let ann = ann.at(&site);
        eventually("it is back", async || {
            let body = serde_json::json!({"id": MessageId::new(), "body": "x"});
            let path = format!("/api/conversations/{hall}/messages");
            site.try_request(reqwest::Method::POST, &path, Some(&ann.token), Some(body))
                .await
                .is_ok_and(|answer| answer.status == 201)
        })
        .await;
        for _ in 0..20 {
            ann.post_message(hall, MessageId::new(), "x").await.ok();
        }
        // Some are counted by then, and some are not.
        pace(Duration::from_millis(300 * round)).await;
        if round % 2 == 0 {
            server.kill_9_postgres();
        } else {
            server.kill_9();
            server.restart();
        }
    }
    let url = server.database_url();
    let client = connect(&url).await;
    let sql = "SELECT coalesce((SELECT data_through FROM analytics_progress) > (SELECT max(created_at) FROM messages), false)";
    eventually("everything is counted", async || {
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    let (code, said, error) = analytics(&url, &["verify"], &[]).await;
    assert_eq!(code, 0, "{said} {error}");
    drop(client);
    server.terminate();
}

/// PostgreSQL counts sequential scans itself.
#[actix_web::test]
async fn nothing_scans_all_messages() {
    let app = TestApp::start().await;
    let ([ann, ben], hall) = app.conversation_of(["Ann", "Ben"]).await;
    history(&app, [&ann, &ben], hall, 40).await;
    counted(&app).await;
    app.indexed(hall).await;
    let client = connect(app.database.url()).await;
    client.batch_execute("ANALYZE messages").await.unwrap();
    let scans = async || -> i64 {
        let sql = "SELECT pg_stat_clear_snapshot()::text, seq_scan FROM pg_stat_user_tables WHERE relname = 'messages'";
        client.query_one(sql, &[]).await.unwrap().get(1)
    };
    let scan = async || {
        let before = scans().await;
        client
            .query(
                "SELECT count(body), pg_stat_force_next_flush()::text FROM messages",
                &[],
            )
            .await
            .unwrap();
        eventually("a scan is counted", async || scans().await > before).await;
    };
    scan().await;
    let before = scans().await;
    let cut = [("from", "2000-01-01T00:07:00Z"), ("to", "2001-12-31T23:59:59.999Z")];
    let now = chrono::Utc::now();
    let recent = (now - chrono::TimeDelta::days(20))
        .format("%Y-%m-%dT10:07:00Z")
        .to_string();
    for route in [
        "summary",
        "messages",
        "users/active",
        "users/top",
        "conversations/top",
        "heatmap",
    ] {
        let route = format!("/api/analytics/{route}");
        ask(&ann, &route, &cut).await;
        ask(&ann, &route, &[("from", &recent)]).await;
    }
    for group in ["conversation", "user", "kind"] {
        ask(
            &ann,
            "/api/analytics/messages",
            &[("group_by", group), ("granularity", "hour")],
        )
        .await;
    }
    ask(&ann, "/api/me/usage", &[("from", &recent)]).await;
    ben.post_message(hall, MessageId::new(), "x").await.ok();
    counted(&app).await;
    let url = app.database.url().to_owned();
    assert_eq!(analytics(&url, &["rebuild"], &[]).await.0, 0);
    assert_eq!(analytics(&url, &["verify"], &[]).await.0, 0);
    // Longer than a connection keeps its numbers to itself.
    stays("no scan of all messages", Duration::from_secs(12), async || {
        scans().await == before
    })
    .await;
    scan().await;
    drop(client);
    app.stop().await;
}
