//! The index of words behind the commits: nothing is missed while it is behind, after a crash, an edit or a deletion; it
//! is verified and rebuilt by command.

use crate::support::client::uuid_of;
use crate::support::db::connect;
use crate::support::{Person, TestApp, eventually};
use fail::FailScenario;
use parlance::database::Database;
use parlance::ids::{ConversationId, MessageId};
use parlance::search::{IndexReport, SearchIndex};
use serde_json::json;
use tokio_postgres::Client;

/// The bodies of what is found, and whether that is all.
async fn found(person: &Person, q: &str) -> (Vec<String>, bool) {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", q)
        .finish();
    let page = person.get(&format!("/api/search?{query}")).await.ok();
    let items = page["items"].as_array().unwrap().iter();
    let bodies = items.map(|item| item["message"]["body"].as_str().unwrap().to_owned());
    (bodies.collect(), page["complete"].as_bool().unwrap())
}

async fn say(person: &Person, conversation: ConversationId, body: &str) -> MessageId {
    let id = MessageId::new();
    person.post_message(conversation, id, body).await.ok();
    id
}

/// A connection that keeps every position where it is, so that the index falls behind.
async fn hold(app: &TestApp) -> Client {
    let lock = connect(app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE search_positions IN EXCLUSIVE MODE")
        .await
        .unwrap();
    lock
}

/// How many entries of the index there are.
async fn entries(app: &TestApp) -> i64 {
    app.database.query("SELECT count(*) FROM search_index", &[]).await[0].get(0)
}

#[actix_web::test]
async fn what_is_not_indexed_yet_is_found() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let [edited, deleted] = [
        say(&ann, quay, "old harbour").await,
        say(&ann, quay, "lost harbour").await,
    ];
    app.indexed(quay).await;
    let held = hold(&app).await;
    let of = |id: MessageId| format!("/api/conversations/{quay}/messages/{id}");
    ann.patch(&of(edited), json!({"body": "new lighthouse"})).await.ok();
    ann.delete(&of(deleted)).await.ok();
    say(&ann, quay, "a third harbour").await;
    let apart = ann.create_conversation("Apart").await;
    say(&ann, apart, "a harbour apart").await;
    let both = || ["a harbour apart", "a third harbour"].map(str::to_owned).to_vec();
    assert_eq!(found(&ann, "harbour").await, (both(), true));
    assert_eq!(
        found(&ann, "lighthouse").await,
        (vec!["new lighthouse".to_owned()], true)
    );
    assert_eq!(entries(&app).await, 2, "nothing was indexed meanwhile");
    drop(held);
    app.indexed(quay).await;
    app.indexed(apart).await;
    assert_eq!(found(&ann, "harbour").await, (both(), true));
    assert_eq!(
        found(&ann, "lighthouse").await,
        (vec!["new lighthouse".to_owned()], true)
    );
    assert_eq!(entries(&app).await, 3, "the deleted one is gone");
    app.stop().await;
}

/// More is not indexed than a search reads: it says so.
#[actix_web::test]
async fn too_much_that_is_not_indexed_is_said() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let held = hold(&app).await;
    let sql = "WITH made AS (
                   INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest,
                                         created_at)
                   SELECT $1, n, $2, gen_random_uuid(), $3, 'person', 'harbour ' || n, 10 + n, 10 + n, '', now()
                   FROM generate_series(1, 1001) n RETURNING 1)
               UPDATE conversations SET last_seq = 1001, rev = 1011, last_message_at = now()
               WHERE id = $1 RETURNING (SELECT count(*) FROM made)";
    app.database.query(sql, &[&quay.0, &ann.tenant.0, &ann.id.0]).await;
    assert_eq!(
        found(&ann, "\"harbour 1001\"").await,
        (vec!["harbour 1001".to_owned()], false)
    );
    assert_eq!(found(&ann, "\"harbour 1\"").await, (Vec::new(), false));
    drop(held);
    // Nobody posts: the sweep finds what is behind.
    app.indexed(quay).await;
    assert_eq!(found(&ann, "\"harbour 1\"").await, (vec!["harbour 1".to_owned()], true));
    app.stop().await;
}

/// Every word of the longest message is found, in any script, and phrases wherever they stand.
#[actix_web::test]
async fn long_texts_are_found_to_their_end() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let thai = format!("{} เรือใบ", "ภาษาไทย ".repeat(700));
    let log = (1..=320).map(|n| format!("info request {n} served in time\n"));
    let log = format!("{}warn request 321 served too late", log.collect::<String>());
    let chinese = format!("{}港口關閉", "今天天氣很好".repeat(880));
    for body in [&thai, &log, &chinese] {
        assert!(body.len() > 10_000 && body.len() <= 16_384, "{}", body.len());
        say(&ann, quay, body).await;
    }
    for indexed in [false, true] {
        if indexed {
            app.indexed(quay).await;
        }
        for (q, body) in [
            ("เรือใบ", &thai),
            ("\"served too late\"", &log),
            ("\"request 321 served\"", &log),
            ("港口關閉", &chinese),
        ] {
            assert_eq!(found(&ann, q).await, (vec![body.clone()], true), "{q}");
        }
        for q in ["เรือไฟ", "\"request 322\"", "港口開"] {
            assert_eq!(found(&ann, q).await, (Vec::new(), true), "{q}");
        }
    }
    app.stop().await;
}

/// A phrase whose words are everywhere, but hardly ever beside each other, is found behind many candidates.
#[actix_web::test]
async fn a_rare_phrase_of_common_words() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    say(&ann, quay, "the far harbour").await;
    let sql = "WITH made AS (
                   INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest,
                                         created_at)
                   SELECT $1, n, $2, gen_random_uuid(), $3, 'person', 'harbour so far', 1000 + n, 1000 + n, '', now()
                   FROM generate_series(2, 900) n RETURNING 1)
               UPDATE conversations SET last_seq = 900, rev = 2000, last_message_at = now()
               WHERE id = $1 RETURNING (SELECT count(*) FROM made)";
    app.database.query(sql, &[&quay.0, &ann.tenant.0, &ann.id.0]).await;
    say(&ann, quay, "the latest").await;
    app.indexed(quay).await;
    assert_eq!(
        found(&ann, "\"far harbour\"").await,
        (vec!["the far harbour".to_owned()], true)
    );
    app.stop().await;
}

/// The task dies in the middle of a batch, and its successor goes on where it was.
#[actix_web::test]
async fn a_crash_of_the_task_loses_nothing() {
    let faults = FailScenario::setup();
    fail::cfg("search::index", "1*panic(on purpose)").unwrap();
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    app.indexed(quay).await;
    assert_eq!(found(&ann, "harbour").await, (vec!["harbour".to_owned()], true));
    assert_eq!(entries(&app).await, 1);
    app.stop().await;
    faults.teardown();
}

#[actix_web::test]
async fn a_deleted_conversation_leaves_the_index() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    app.indexed(quay).await;
    assert_eq!(entries(&app).await, 1);
    ann.delete(&format!("/api/conversations/{quay}")).await.ok();
    eventually("its words are gone", async || entries(&app).await == 0).await;
    app.stop().await;
}

/// Verifying finds each kind of difference, and rebuilding mends all of them, while the node serves.
#[actix_web::test]
async fn verify_and_rebuild() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    for n in 0..5 {
        say(&ann, quay, &format!("harbour number {n}")).await;
    }
    say(&ann, quay, "😀").await;
    let gone = say(&ann, quay, "gone").await;
    app.indexed(quay).await;
    let database = app.open_database().await;
    let index = SearchIndex::new(database.clone());
    let verify = async || index.verify(|_| {}).await.unwrap();
    let right = IndexReport {
        total: 7,
        messages: 7,
        ..IndexReport::default()
    };
    assert_eq!(verify().await, right);
    for sql in [
        "DELETE FROM search_index WHERE conversation_id = $1 AND seq = 2 RETURNING 1",
        "UPDATE search_index SET words = 'wrong' WHERE conversation_id = $1 AND seq = 4 RETURNING 1",
        "UPDATE messages SET body = NULL, deleted_at = now() WHERE conversation_id = $1 AND seq = 7 RETURNING 1",
    ] {
        assert_eq!(app.database.query(sql, &[&quay.0]).await.len(), 1, "{sql}");
    }
    let report = verify().await;
    assert_eq!((report.wrong, report.superfluous), (2, 1));
    assert_eq!(
        report.first.map(|(conversation, seq)| (conversation, seq.0)),
        Some((quay, 2))
    );
    let mut pages = 0;
    index.rebuild(|_| pages += 1).await.unwrap();
    assert!(pages > 0);
    assert_eq!(verify().await, right);
    assert_eq!(entries(&app).await, 5);
    let page = ann.get("/api/search?q=number").await.ok();
    assert!(
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| uuid_of(&item["message"]["id"]) != gone.0)
    );
    Database::close(database).await;
    app.stop().await;
}
