//! Search: what is found, by whom, in which order, and what is shown of it.

use crate::support::client::uuid_of;
use crate::support::db::connect;
use crate::support::{Person, TestApp, eventually};
use futures_util::future::join_all;
use parlance::ids::{ConversationId, MessageId, UserId};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// What a search answers.
async fn search(person: &Person, parameters: &[(&str, &str)]) -> Value {
    person.get(&path(parameters)).await.ok()
}

fn path(parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("/api/search?{query}")
}

/// The bodies of what a search finds.
async fn bodies(person: &Person, q: &str) -> Vec<String> {
    bodies_of(&search(person, &[("q", q)]).await)
}

fn bodies_of(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["message"]["body"].as_str().unwrap().to_owned())
        .collect()
}

async fn say(person: &Person, conversation: ConversationId, body: &str) -> MessageId {
    let id = MessageId::new();
    person.post_message(conversation, id, body).await.ok();
    id
}

/// A snippet with its hits in brackets.
fn snippet(item: &Value) -> String {
    let pieces = item["snippet"].as_array().unwrap().iter();
    let show = |piece: &Value| {
        let text = piece["text"].as_str().unwrap();
        match piece["hit"].as_bool().unwrap() {
            true => format!("[{text}]"),
            false => text.to_owned(),
        }
    };
    pieces.map(show).collect()
}

/// Puts messages into a conversation past the server, from `first` on; with the moment of each.
async fn fill(app: &TestApp, person: &Person, conversation: ConversationId, first: i64, rows: &[(&str, &str)]) {
    let (bodies, times): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let sql = "WITH made AS (
                   INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest,
                                         created_at)
                   SELECT $1, $2 + n - 1, $3, gen_random_uuid(), $4, 'person', body, 1000000 + $2 + n, 1000000 + $2 + n, '',
                          at::timestamptz
                   FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS i (body, at, n)
                   RETURNING seq, created_at)
               UPDATE conversations SET last_seq = (SELECT max(seq) FROM made), rev = 1000000 + (SELECT max(seq) FROM made),
                      created_at = '2020-01-01',
                      last_message_at = (SELECT max(created_at) FROM made) WHERE id = $1 RETURNING 1";
    let (tenant, author) = (person.tenant.0, person.id.0);
    app.database
        .query(sql, &[&conversation.0, &first, &tenant, &author, &bodies, &times])
        .await;
}

#[actix_web::test]
async fn it_finds_words_and_shows_where() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let id = say(&ann, quay, "The harbour is closed at dawn, the Harbour master says.").await;
    say(&ann, quay, "Another matter").await;
    let page = search(&ann, &[("q", "harbour")]).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!((&page["next"], &page["complete"]), (&Value::Null, &json!(true)));
    let item = &page["items"][0];
    assert_eq!(item["message"]["id"], json!(id));
    assert_eq!(item["message"]["author"], json!(ann.id));
    assert_eq!(item["conversation"], json!({"id": quay, "title": "Test"}));
    assert_eq!(
        snippet(item),
        "The [harbour] is closed at dawn, the [Harbour] master says."
    );
    // As elsewhere.
    let history = ann.get(&format!("/api/conversations/{quay}/messages")).await.ok();
    assert_eq!(item["message"], history["items"][0]);
    app.stop().await;
}

#[actix_web::test]
async fn queries_of_all_kinds() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    for body in [
        "red fish",
        "blue fish",
        "fish that is red",
        "well-known “quoted” words😀emoji",
        "Größe, ÉCOLE and ПРИВЕТ",
        "我住在東京，很好",
        "見る https://example.org/issues/4711?x=1 mail@example.net v1.2.3",
        "it's -5 degrees",
    ] {
        say(&ann, quay, body).await;
    }
    for (q, found) in [
        ("red fish", &["fish that is red", "red fish"][..]),
        ("RED", &["fish that is red", "red fish"]),
        ("\"red fish\"", &["red fish"]),
        ("fish -red", &["blue fish"]),
        ("blue or that", &["fish that is red", "blue fish"]),
        ("red -\"that is\"", &["red fish"]),
        ("quoted", &["well-known “quoted” words😀emoji"]),
        ("emoji", &["well-known “quoted” words😀emoji"]),
        ("well-known", &["well-known “quoted” words😀emoji"]),
        ("known", &["well-known “quoted” words😀emoji"]),
        ("größe école", &["Größe, ÉCOLE and ПРИВЕТ"]),
        ("gro", &["Größe, ÉCOLE and ПРИВЕТ"]),
        ("привет", &["Größe, ÉCOLE and ПРИВЕТ"]),
        ("東京", &["我住在東京，很好"]),
        ("京東", &[]),
        ("很好 -東京", &[]),
        (
            "4711",
            &["見る https://example.org/issues/4711?x=1 mail@example.net v1.2.3"],
        ),
        (
            "example.net",
            &["見る https://example.org/issues/4711?x=1 mail@example.net v1.2.3"],
        ),
        (
            "https://example.org/issues/4711",
            &["見る https://example.org/issues/4711?x=1 mail@example.net v1.2.3"],
        ),
        ("\"-5 degrees\"", &["it's -5 degrees"]),
        ("it's", &["it's -5 degrees"]),
        // The last word may be the beginning of one, unless it is quoted; the others are whole.
        ("fis", &["fish that is red", "blue fish", "red fish"]),
        ("degree", &["it's -5 degrees"]),
        ("\"degree\"", &[]),
        ("fis red", &[]),
        ("red -fis", &["fish that is red", "red fish"]),
        // Forms, accents and case do not count.
        ("grosse ecole", &["Größe, ÉCOLE and ПРИВЕТ"]),
        ("GRO\u{308}SSE e\u{301}cole", &["Größe, ÉCOLE and ПРИВЕТ"]),
        ("ｆｉｓｈ ｂｌｕｅ", &["blue fish"]),
        // Nothing is asked for.
        ("-red", &[]),
        ("red or -blue", &[]),
        ("!!! ... '' \"\" -", &[]),
        ("\"", &[]),
        ("\0", &[]),
        // Alone it is a word, or the beginning of one.
        (
            "or",
            &["見る https://example.org/issues/4711?x=1 mail@example.net v1.2.3"],
        ),
        (&"é".repeat(128), &[]),
        (&"東".repeat(85), &[]),
        (&"(((&|!:*<->'\\".repeat(19), &[]),
        (&"a or ".repeat(51), &[]),
    ] {
        assert_eq!(bodies(&ann, q).await, found, "{q}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn wrong_input_is_named() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let long = "é".repeat(129);
    for (parameters, field) in [
        (&[][..], "q"),
        (&[("q", "")], "q"),
        (&[("q", &*long)], "q"),
        (&[("q", "x"), ("limit", "0")], "limit"),
        (&[("q", "x"), ("limit", "101")], "limit"),
        (&[("q", "x"), ("before", "noon")], "before"),
        (&[("q", "x"), ("after", "2026-11-22")], "after"),
        (&[("q", "x"), ("author", "Ann")], "author"),
        (&[("q", "x"), ("conversation", "Quay")], "conversation"),
        (&[("q", "x"), ("cursor", "1")], "cursor"),
        (&[("q", "x"), ("colour", "red")], "colour"),
    ] {
        let problem = ann.get(&path(parameters)).await.problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn only_what_the_caller_may_read() {
    let app = TestApp::start().await;
    let ([ann, ben], quay) = app.conversation_of(["Ann", "Ben"]).await;
    let apart = ann.create_conversation("Apart").await;
    let (stranger, elsewhere) = app.person_with_conversation("Stranger").await;
    say(&ann, quay, "harbour of both").await;
    say(&ann, apart, "harbour of Ann").await;
    say(&stranger, elsewhere, "harbour of strangers").await;
    assert_eq!(bodies(&ann, "harbour").await, ["harbour of Ann", "harbour of both"]);
    assert_eq!(bodies(&ben, "harbour").await, ["harbour of both"]);
    assert_eq!(bodies(&stranger, "harbour").await, ["harbour of strangers"]);
    // A conversation is named: one of the caller, with something in it or not, or none of theirs.
    let within = |id: ConversationId| path(&[("q", "harbour"), ("conversation", &id.to_string())]);
    assert_eq!(bodies_of(&ann.get(&within(apart)).await.ok()), ["harbour of Ann"]);
    let empty = ben.create_conversation("Empty").await;
    assert_eq!(bodies_of(&ben.get(&within(empty)).await.ok()), Vec::<String>::new());
    for other in [apart, elsewhere, ConversationId::new()] {
        ben.get(&within(other)).await.problem(404, "not_found");
    }
    // A guest has one conversation, whatever else.
    let guest = app.guest("Guest", &ann.invite(apart).await).await;
    assert_eq!(bodies(&guest, "harbour").await, ["harbour of Ann"]);
    let sql = "INSERT INTO conversation_members (conversation_id, user_id, tenant_id, role, joined_rev, rev)
               VALUES ($1, $2, $3, 'member', 9, 9) RETURNING 1";
    app.database.query(sql, &[&quay.0, &guest.id.0, &guest.tenant.0]).await;
    assert_eq!(bodies(&guest, "harbour").await, ["harbour of Ann"]);
    guest.get(&within(quay)).await.problem(404, "not_found");
    // Whoever is removed finds nothing from then on; who leaves and comes back finds it again.
    ann.remove_member(quay, ben.id).await.ok();
    assert_eq!(bodies(&ben, "harbour").await, Vec::<String>::new());
    ben.get(&within(quay)).await.problem(404, "not_found");
    ann.add_member(quay, ben.id, "member").await.ok();
    assert_eq!(bodies(&ben, "harbour").await, ["harbour of both"]);
    ann.delete(&format!("/api/conversations/{quay}")).await.ok();
    assert_eq!(bodies(&ben, "harbour").await, Vec::<String>::new());
    app.stop().await;
}

#[actix_web::test]
async fn messages_are_found_as_they_are_now() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let edited = say(&ann, quay, "old harbour").await;
    let deleted = say(&ann, quay, "lost harbour").await;
    let of = |id: MessageId| format!("/api/conversations/{quay}/messages/{id}");
    ann.patch(&of(edited), json!({"body": "new lighthouse"})).await.ok();
    ann.delete(&of(deleted)).await.ok();
    assert_eq!(bodies(&ann, "harbour").await, Vec::<String>::new());
    let page = search(&ann, &[("q", "lighthouse")]).await;
    assert_eq!(snippet(&page["items"][0]), "new [lighthouse]");
    assert!(page["items"][0]["message"]["edited_at"].is_string());
    app.stop().await;
}

#[actix_web::test]
async fn by_author_and_time() {
    let app = TestApp::start().await;
    let ([ann, ben], quay) = app.conversation_of(["Ann", "Ben"]).await;
    say(&ben, quay, "harbour of today").await;
    let rows = [
        ("harbour one", "2026-01-01T10:00:00.000Z"),
        ("harbour two", "2026-01-01T10:00:00.001Z"),
        ("harbour three", "2026-01-01T10:00:00.002Z"),
    ];
    let old = ann.create_conversation("Old").await;
    fill(&app, &ann, old, 1, &rows).await;
    let found = async |more: &[(&str, &str)]| {
        let parameters: Vec<_> = [("q", "harbour")].iter().chain(more).copied().collect();
        bodies_of(&search(&ann, &parameters).await)
    };
    let (ann_id, ben_id) = (ann.id.to_string(), ben.id.to_string());
    assert_eq!(found(&[("author", &*ben_id)]).await, ["harbour of today"]);
    let three = ["harbour three", "harbour two", "harbour one"];
    assert_eq!(found(&[("author", &*ann_id)]).await, three);
    assert_eq!(
        found(&[("author", &*UserId::new().to_string())]).await,
        Vec::<String>::new()
    );
    // Both ends are outside.
    assert_eq!(
        found(&[("before", "2026-01-01T10:00:00.002Z")]).await,
        ["harbour two", "harbour one"]
    );
    let after = ("after", "2026-01-01T11:00:00.001+01:00");
    assert_eq!(found(&[after, ("author", &*ann_id)]).await, ["harbour three"]);
    let between = [
        ("after", "2026-01-01T10:00:00Z"),
        ("before", "2026-01-01T10:00:00.002Z"),
    ];
    assert_eq!(found(&between).await, ["harbour two"]);
    assert_eq!(
        found(&[("after", "2026-01-02T00:00:00Z"), ("before", "2026-01-01T00:00:00Z")]).await,
        Vec::<String>::new()
    );
    for extreme in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        search(&ann, &[("q", "harbour"), ("before", extreme), ("after", extreme)]).await;
    }
    app.stop().await;
}

/// Pages of all sizes hold every message once, youngest first, although many were made in the same moment.
#[actix_web::test]
async fn pages_join_without_a_seam() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut expected = 0;
    for n in 0..20 {
        let room = ann.create_conversation(&format!("Room {n}")).await;
        let rows: Vec<_> = (0..n)
            .map(|k| {
                (
                    "harbour",
                    if k % 3 == 0 {
                        "2026-01-01T00:00:00Z"
                    } else {
                        "2026-01-02T00:00:00Z"
                    },
                )
            })
            .collect();
        if !rows.is_empty() {
            fill(&app, &ann, room, 1, &rows).await;
        }
        expected += rows.len();
    }
    for limit in ["1", "7", "100"] {
        let (mut cursor, mut seen) = (None::<String>, Vec::new());
        loop {
            let mut parameters = vec![("q", "harbour"), ("limit", limit)];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = search(&ann, &parameters).await;
            assert_eq!(page["complete"], true);
            for item in page["items"].as_array().unwrap() {
                let message = &item["message"];
                seen.push((
                    message["created_at"].as_str().unwrap().to_owned(),
                    uuid_of(&message["id"]),
                ));
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected, "by {limit}");
        assert!(seen.is_sorted_by(|a: &(String, Uuid), b| a > b), "by {limit}: {seen:?}");
        if limit == "1" {
            // A page with a message each is enough of the small ones.
            assert_eq!(expected, 190);
        }
    }
    app.stop().await;
}

/// A conversation of several slices: what is old is found, and what is common is answered by the first of them.
#[actix_web::test]
async fn a_long_conversation_is_searched_in_slices() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    let sql = "WITH made AS (
                   INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, posted_rev, rev, digest,
                                         created_at)
                   SELECT $1, n, $2, gen_random_uuid(), $3, 'person',
                          CASE WHEN n IN (5, 8191, 8192, 16384, 20000) THEN 'rare number ' || n ELSE 'common' END,
                          n, n, '', timestamptz '2026-01-01' + n * interval '1 second'
                   FROM generate_series(1, 20000) n RETURNING 1)
               UPDATE conversations SET last_seq = 20000, rev = 20000, created_at = '2026-01-01',
                      last_message_at = timestamptz '2026-01-01' + 20000 * interval '1 second'
               WHERE id = $1 RETURNING (SELECT count(*) FROM made)";
    app.database.query(sql, &[&quay.0, &ann.tenant.0, &ann.id.0]).await;
    // A post that the node hears of, and behind which all the others are indexed.
    say(&ann, quay, "the latest").await;
    app.indexed(quay).await;
    let rare = [
        "rare number 20000",
        "rare number 16384",
        "rare number 8192",
        "rare number 8191",
        "rare number 5",
    ];
    assert_eq!(bodies(&ann, "rare").await, rare);
    let page = search(&ann, &[("q", "rare"), ("limit", "2")]).await;
    assert_eq!(bodies_of(&page), rare[..2]);
    let next = page["next"].as_str().unwrap();
    let page = search(&ann, &[("q", "rare"), ("limit", "3"), ("cursor", next)]).await;
    assert_eq!(
        (bodies_of(&page), &page["next"]),
        (rare[2..].iter().map(|&s| s.to_owned()).collect(), &Value::Null)
    );
    // By time, where whole slices are left out.
    let (before, after) = (("before", "2026-01-01T02:16:33Z"), ("after", "2026-01-01T02:16:30Z"));
    assert_eq!(
        bodies_of(&search(&ann, &[("q", "rare"), before]).await),
        ["rare number 8192", "rare number 8191", "rare number 5"]
    );
    assert_eq!(
        bodies_of(&search(&ann, &[("q", "rare"), before, after]).await),
        ["rare number 8192", "rare number 8191"]
    );
    let page = search(&ann, &[("q", "common"), ("limit", "100")]).await;
    assert_eq!(page["items"][0]["message"]["seq"], 19_999);
    assert_eq!(page["items"][99]["message"]["seq"], 19_900);
    assert_eq!(page["complete"], true);
    app.stop().await;
}

/// Whatever a body holds, its snippet is text of it, and only hits are hits.
#[actix_web::test]
async fn snippets_of_hostile_bodies() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    for (body, q, shown) in [
        (
            "<script>alert('needle1')</script>",
            "needle1",
            "<script>alert('[needle1]')</script>",
        ),
        (
            "<b>bold</b> & &lt;needle2&gt;",
            "bold",
            "<b>[bold]</b> & &lt;needle2&gt;",
        ),
        ("a \u{1}needle3\u{2} b", "needle3", "a \u{1}[needle3]\u{2} b"),
        (
            "\u{2}\u{1} fake \u{1}x\u{2} needle4",
            "needle4",
            "\u{2}\u{1} fake \u{1}x\u{2} [needle4]",
        ),
        (
            "StartSel=<, StopSel=\" needle5",
            "stopsel",
            "StartSel=<, [StopSel]=\" needle5",
        ),
        ("\u{202e}needle6\u{202c}", "needle6", "\u{202e}[needle6]\u{202c}"),
        ("東京needle7", "needle7", "東京[needle7]"),
        ("line\nneedle8\r\n\tend", "needle8", "line\n[needle8]\r\n\tend"),
        ("[needle9]", "needle9", "[[needle9]]"),
    ] {
        say(&ann, quay, body).await;
        let page = search(&ann, &[("q", q), ("limit", "1")]).await;
        assert_eq!(snippet(&page["items"][0]), shown, "{q}");
        assert_eq!(page["items"][0]["message"]["body"], body);
    }
    // A long one is cut.
    let long = format!("{} target {}", "<i>é</i> ".repeat(800), "\"x\" ".repeat(2_000));
    say(&ann, quay, &long).await;
    let page = search(&ann, &[("q", "target")]).await;
    let text = snippet(&page["items"][0]);
    assert!(
        text.starts_with('…') && text.ends_with('…') && text.contains("[target]"),
        "{text}"
    );
    assert!(text.chars().count() <= 244, "{text}");
    // Words no index takes, which are refused nowhere.
    say(&ann, quay, &"w".repeat(16_384)).await;
    app.stop().await;
}

#[actix_web::test]
async fn it_costs_as_an_expensive_route() {
    let app = TestApp::with(|config| config.limits.enabled = true).await;
    let ann = app.register("Ann").await;
    for _ in 0..10 {
        search(&ann, &[("q", "x")]).await;
    }
    let refused = ann.get("/api/search?q=x").await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(429, "rate_limited");
    ann.get("/api/me").await.ok();
    app.stop().await;
}

/// Looking through that takes too long ends with what there is.
#[actix_web::test]
async fn what_takes_too_long_is_not_complete() {
    let app = TestApp::start().await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    app.indexed(quay).await;
    // The rounds wait for the index until their time is up.
    let lock = connect(app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE search_index IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let page = search(&ann, &[("q", "harbour")]).await;
    assert_eq!(page, json!({"items": [], "next": null, "complete": false}));
    drop(lock);
    app.stop().await;
}

/// Searches that wait for the database leave its connections to others.
#[actix_web::test]
async fn many_searches_do_not_take_everything() {
    let app = TestApp::with(|config| config.database.statement_timeout = Duration::from_secs(60)).await;
    let (ann, quay) = app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    app.indexed(quay).await;
    let lock = connect(app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let path = path(&[("q", "harbour")]);
    // As many as there are connections.
    let searches = join_all((0..10).map(|_| ann.get(&path)));
    let observer = connect(app.database.url()).await;
    let release = async {
        eventually("as many of one user as may are searching", async || {
            let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'messages'::regclass AND NOT granted";
            observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        // Those that are refused are so while the table is locked, and the database is there for others.
        ann.get(&path).await.problem(503, "overloaded");
        ann.get("/api/me").await.ok();
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(searches, release).await;
    let answered = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(answered >= 1, "{answered}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.problem(503, "overloaded");
    }
    assert_eq!(bodies(&ann, "harbour").await, ["harbour"]);
    drop((lock, observer));
    app.stop().await;
}
