//! Latencies: what is counted, that nodes add up, and what a crash and an outage leave.

use crate::support::chaos::Chaos;
use crate::support::{Person, ServerProcess, Site, TestApp, eventually};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};

const LATENCY: &str = "/api/analytics/latency";

/// The sum of the counts of all points.
fn total(answer: &Value) -> i64 {
    let points = answer["points"].as_array().unwrap().iter();
    points.map(|point| point["count"].as_i64().unwrap()).sum()
}

async fn count(person: &Person, query: &str) -> i64 {
    total(&person.get(&format!("{LATENCY}?{query}")).await.ok())
}

#[actix_web::test]
async fn messages_and_deliveries_are_counted_with_their_percentiles() {
    let app = TestApp::start().await;
    let ([ann, bo], conversation) = app.conversation_of(["Ann", "Bo"]).await;
    let mut sockets = [ann.connect().await, bo.connect().await];
    for socket in &mut sockets {
        socket.subscribe(conversation, None).await;
    }
    let id = MessageId::new();
    for id in [id, MessageId::new(), MessageId::new(), id] {
        ann.post_message(conversation, id, "hello").await;
    }
    for socket in &mut sockets {
        for _ in 0..3 {
            socket.expect("message").await;
        }
    }
    // Edits and reactions are neither.
    sockets[0]
        .ask(json!({"type": "edit", "conversation": conversation, "id": id, "body": "other"}))
        .await;
    let counted = async |query: &str, n: i64| {
        eventually(&format!("{query}: {n}"), async || count(&ann, query).await == n).await;
    };
    counted("of=append&granularity=hour", 3).await;
    counted("of=deliver&granularity=month", 6).await;
    counted("of=ttft", 0).await;
    let answer = ann
        .get(&format!("{LATENCY}?of=append&granularity=day&tz=Asia/Kathmandu"))
        .await
        .ok();
    let points = answer["points"].as_array().unwrap();
    assert_eq!(points.len(), 30);
    for point in points {
        assert!(
            point["at"].as_str().unwrap().ends_with("T00:00:00.000+05:45"),
            "{point}"
        );
        let of = |name: &str| point[name].as_f64();
        match point["count"].as_i64().unwrap() {
            0 => assert_eq!([of("p50_ms"), of("p95_ms"), of("p99_ms"), of("max_ms")], [None; 4]),
            _ => {
                let [p50, p99, max] = [of("p50_ms"), of("p99_ms"), of("max_ms")].map(Option::unwrap);
                assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max < 10_000.0, "{point}");
            }
        }
    }
    let moment = |name: &str| chrono::DateTime::parse_from_rfc3339(answer[name].as_str().unwrap()).unwrap();
    let behind = moment("generated_at") - moment("data_through");
    assert_eq!(behind.num_seconds(), 60);
    // Another workspace has nothing of it, and members see no numbers.
    let stranger = app.register("Cy").await;
    assert_eq!(count(&stranger, "of=append").await, 0);
    bo.get(&format!("{LATENCY}?of=nonsense"))
        .await
        .problem(403, "forbidden");
    ann.get(&format!("{LATENCY}?of=nonsense"))
        .await
        .problem(400, "bad_request");
    for socket in sockets {
        socket.close().await;
    }
    app.stop().await;
}

/// What each node has stored adds up, also after both have stopped.
#[actix_web::test]
async fn nodes_add_up_and_store_when_they_stop() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let there = ann.at(&peer);
    for person in [&ann, &there, &there] {
        person.post_message(conversation, MessageId::new(), "hello").await.ok();
    }
    peer.stop().await;
    // The stopped node's are stored; this one stores its own before it answers.
    eventually("all three", async || count(&ann, "of=append").await == 3).await;
    let sql = "SELECT count(DISTINCT node_id), count(*) FROM latency_histograms WHERE kind = 'append'";
    let row = &app.database.query(sql, &[]).await[0];
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1) >= 4),
        (2, true),
        "two nodes, each a quarter and an hour"
    );
    app.stop().await;
}

/// While the database is away nothing is lost or counted twice.
#[actix_web::test]
async fn an_outage_loses_no_latency_and_counts_none_twice() {
    let (app, proxy) = TestApp::behind_proxy().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    for _ in 0..3 {
        ann.post_message(conversation, MessageId::new(), "hello").await.ok();
    }
    eventually("three", async || count(&ann, "of=append").await == 3).await;
    ann.post_message(conversation, MessageId::new(), "hello").await.ok();
    proxy.set(Chaos::LoseAnswers);
    // Asked while the database is away: the batch under way is kept.
    ann.get(&format!("{LATENCY}?of=append")).await;
    proxy.heal();
    eventually("four", async || {
        let answer = ann.get(&format!("{LATENCY}?of=append")).await;
        answer.status == 200 && total(&answer.ok()) == 4
    })
    .await;
    app.stop().await;
}

/// After `kill -9` what was stored is there, and numbers go on.
#[tokio::test]
async fn a_crash_leaves_what_was_stored() {
    let mut server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    for _ in 0..5 {
        ann.post_message(conversation, MessageId::new(), "hello").await.ok();
    }
    eventually("five", async || count(&ann, "of=append").await == 5).await;
    server.kill_9();
    server.restart();
    // Not over connections of before.
    let ann = ann.at(&Site::new(server.address));
    ann.post_message(conversation, MessageId::new(), "again").await.ok();
    eventually("six", async || count(&ann, "of=append").await == 6).await;
    let nobody = ann.site.request(Method::GET, LATENCY, None, None).await;
    nobody.problem(401, "unauthenticated");
}
