//! Searches on a real streaming replica: used while it is well, left at once when it is not, and never believed.

use crate::support::db::{TestDatabase, connect};
use crate::support::postgres::{TestPostgres, catch_up};
use crate::support::{Person, Scrape, TestApp, eventually, stays};
use parlance::config::{Config, Secret};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::Duration;

/// So old that no replica of these tests is left for it.
const NEVER: Duration = Duration::from_hours(1);

struct World {
    app: TestApp,
    primary: TestPostgres,
    replica: TestPostgres,
}

impl World {
    /// A node with a primary and a replica of its own; the replica is in use.
    async fn make(lag_max: Duration) -> Self {
        Self::make_with(|config| config.replica.lag_max = lag_max).await
    }

    async fn make_with(change: impl FnOnce(&mut Config)) -> Self {
        let primary = TestPostgres::primary().await;
        let database = TestDatabase::create_on(&primary.url("postgres")).await;
        let replica = primary.replica().await;
        let url = replica.url(database.name());
        let app = TestApp::on(database, |config| {
            config.replica.url = Some(Secret::new(url));
            change(config);
        })
        .await;
        let world = Self { app, primary, replica };
        world.is_up(true).await;
        world
    }

    /// Waits until the node uses the replica, or does not.
    async fn is_up(&self, wanted: bool) {
        eventually(&format!("the replica is in use: {wanted}"), async || {
            Scrape::of(&self.app).await.value("db_replica_up", &[]) == f64::from(u8::from(wanted))
        })
        .await;
    }

    /// How many reads were made on the primary, and on the replica.
    async fn reads(&self) -> (f64, f64) {
        let scrape = Scrape::of(&self.app).await;
        let on = |target| scrape.value("db_stale_reads_total", &[("target", target)]);
        (on("primary"), on("replica"))
    }

    /// Where a search is made that finds so much.
    async fn search(&self, person: &Person, q: &str, found: usize) -> &'static str {
        let before = self.reads().await;
        assert_eq!(bodies(person, q).await.len(), found, "{q}");
        let after = self.reads().await;
        match (after.0 - before.0, after.1 - before.1) {
            (1.0, 0.0) => "primary",
            (0.0, 1.0) => "replica",
            other => panic!("{other:?}"),
        }
    }

    /// Waits until readiness says this of the replica; what the parts said is repeated for a second.
    async fn is_ill(&self, detail: &str) {
        eventually(detail, async || self.health().await["detail"] == detail).await;
        assert_eq!(self.health().await["status"], "degraded");
    }

    /// What readiness says of the replica.
    async fn health(&self) -> Value {
        let answer = self.app.http().get(self.app.url("/health/ready")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "a node without its replica is ready");
        let body: Value = answer.json().await.unwrap();
        body["parts"]["replica"].clone()
    }
}

async fn bodies(person: &Person, q: &str) -> Vec<String> {
    let page = person.get(&format!("/api/search?q={q}")).await.ok();
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

/// Makes what was said in a conversation an hour old: what is young is searched on the primary.
async fn age(world: &World, conversation: ConversationId) {
    world.app.indexed(conversation).await;
    for sql in [
        "UPDATE messages SET created_at = created_at - interval '1 hour' WHERE conversation_id = $1 RETURNING 1",
        "UPDATE conversations SET created_at = created_at - interval '2 hours',
                                  last_message_at = last_message_at - interval '1 hour' WHERE id = $1 RETURNING 1",
    ] {
        world.app.database.query(sql, &[&conversation.0]).await;
    }
    age_index(world, conversation).await;
    catch_up(&world.primary, &world.replica).await;
}

/// Waits until all of a conversation is indexed, and makes that an hour old.
async fn age_index(world: &World, conversation: ConversationId) {
    world.app.indexed(conversation).await;
    let sql = "UPDATE search_positions SET indexed_at = indexed_at - interval '1 hour' WHERE conversation_id = $1 RETURNING 1";
    world.app.database.query(sql, &[&conversation.0]).await;
}

#[actix_web::test]
async fn a_replica_is_used_while_it_is_well() {
    let mut world = World::make(Duration::from_millis(500)).await;
    let (ann, quay) = world.app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    age(&world, quay).await;
    world.is_up(true).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "replica");
    eventually("it is well", async || world.health().await["status"] == "ok").await;
    // Nobody writes, and it does not grow old by that.
    stays("the replica is used", Duration::from_millis(1_500), async || {
        world.search(&ann, "harbour", 1).await == "replica"
    })
    .await;

    // It stands still while something is written.
    world.replica.execute("SELECT pg_wal_replay_pause()").await;
    ann.patch("/api/me", json!({"name": "Anna"})).await.ok();
    world.is_up(false).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "primary");
    assert!(Scrape::of(&world.app).await.value("db_replica_lag_seconds", &[]) > 0.5);
    world.is_ill("it is too far behind").await;
    world.replica.execute("SELECT pg_wal_replay_resume()").await;
    world.is_up(true).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "replica");

    // It is killed: whoever asks meanwhile is answered by the primary.
    world.replica.kill_9();
    assert_eq!(world.search(&ann, "harbour", 1).await, "primary");
    world.is_up(false).await;
    world.is_ill("it does not answer").await;
    world.replica.restart().await;
    world.is_up(true).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "replica");

    // It is frozen: connections stay, nothing is answered.
    world.replica.freeze();
    assert_eq!(world.search(&ann, "harbour", 1).await, "primary");
    world.is_up(false).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "primary");
    world.replica.thaw();
    world.is_up(true).await;
    eventually("it is asked again", async || {
        world.search(&ann, "harbour", 1).await == "replica"
    })
    .await;
    world.app.stop().await;
}

/// A replica that knows nothing of what has just happened decides nothing.
#[actix_web::test]
async fn a_replica_is_not_believed() {
    let world = World::make(NEVER).await;
    let ([ann, ben, cem], quay) = world.app.conversation_of(["Ann", "Ben", "Cem"]).await;
    let edited = say(&ann, quay, "harbour edited").await;
    let deleted = say(&ann, quay, "harbour deleted").await;
    say(&ann, quay, "harbour kept").await;
    age(&world, quay).await;
    let all = ["harbour kept", "harbour deleted", "harbour edited"];
    assert_eq!(world.search(&ben, "harbour", 3).await, "replica");
    world.replica.execute("SELECT pg_wal_replay_pause()").await;

    let message = |id: MessageId| format!("/api/conversations/{quay}/messages/{id}");
    ann.patch(&message(edited), json!({"body": "lighthouse"})).await.ok();
    ann.delete(&message(deleted)).await.ok();
    ann.remove_member(quay, ben.id).await.ok();
    let dora = world.app.join("Dora", &ann.invite(quay).await).await;
    // Whoever was removed finds nothing, although the replica has them as a member; whoever is new finds all there is.
    assert_eq!(bodies(&ben, "harbour").await, Vec::<String>::new());
    assert_eq!(bodies(&dora, "harbour").await, all[..1]);
    age_index(&world, quay).await;
    assert_eq!(world.search(&cem, "harbour", 1).await, "replica");
    assert_eq!(bodies(&cem, "deleted").await, Vec::<String>::new());
    // What has just been written is found, wherever.
    say(&cem, quay, "harbour of this moment").await;
    let apart = cem.create_conversation("Apart").await;
    say(&cem, apart, "harbour apart").await;
    assert_eq!(
        bodies(&cem, "harbour").await,
        ["harbour apart", "harbour of this moment", "harbour kept"]
    );
    world.app.stop().await;
}

#[actix_web::test]
async fn what_is_no_replica_of_the_database_is_not_read() {
    let world = World::make(NEVER).await;
    let (ann, quay) = world.app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    age(&world, quay).await;
    let elsewhere = TestDatabase::create().await;
    for (url, trouble) in [
        (
            world.app.database.url().to_owned(),
            "it is no replica: it is not in recovery",
        ),
        (
            world.replica.url("postgres"),
            "it is another database of the same system than DATABASE_URL",
        ),
        (
            elsewhere.url().to_owned(),
            "it belongs to another database system than DATABASE_URL",
        ),
        (world.replica.url("nowhere"), "it does not answer"),
    ] {
        let node = world
            .app
            .peer_with(|config| config.replica.url = Some(Secret::new(url)))
            .await;
        eventually(trouble, async || {
            let health = node.http().get(node.url("/health")).send().await.unwrap();
            let health: Value = health.json().await.unwrap();
            health["parts"]["replica"]["detail"] == trouble
        })
        .await;
        assert_eq!(world.search(&ann.at(&node), "harbour", 1).await, "primary");
        node.stop().await;
    }
    elsewhere.remove().await;
    world.app.stop().await;
}

#[actix_web::test]
async fn a_replica_that_takes_over_is_no_replica_any_more() {
    let mut world = World::make(NEVER).await;
    let (ann, quay) = world.app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    age(&world, quay).await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "replica");
    world.primary.kill_9();
    world.replica.execute("SELECT pg_promote()").await;
    eventually("it is a primary", async || !world.replica.is_replica().await).await;
    world.is_up(false).await;
    // The old primary comes back, as nobody has told it: the new one is a stranger, whose log has gone its own way.
    world.primary.restart().await;
    eventually("the node is ready", async || {
        let answer = world.app.http().get(world.app.url("/health/ready")).send().await;
        answer.unwrap().status() == 200
    })
    .await;
    assert_eq!(world.search(&ann, "harbour", 1).await, "primary");
    assert_eq!(
        world.health().await["detail"],
        "it is no replica: it is not in recovery"
    );
    world.app.stop().await;
}

/// What one caller asks for does not take the replica from the others.
#[actix_web::test]
async fn a_slow_search_does_not_condemn_it() {
    let world = World::make(NEVER).await;
    let (ann, quay) = world.app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    world.app.indexed(quay).await;
    // The lock is replayed on the replica, where searches wait for it until their time is up.
    let lock = connect(world.app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE search_index IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    age(&world, quay).await;
    let page = ann.get("/api/search?q=harbour").await.ok();
    assert_eq!((&page["items"], &page["complete"]), (&json!([]), &json!(false)));
    assert_eq!(
        world.reads().await.0,
        0.0,
        "what is too slow there is not repeated on the database"
    );
    let scrape = Scrape::of(&world.app).await;
    assert_eq!(scrape.value("db_replica_failures_total", &[]), 0.0);
    assert_eq!(scrape.value("db_replica_up", &[]), 1.0);
    drop(lock);
    world.app.stop().await;
}

/// A node that has no connection to spare knows of its replica nevertheless.
#[actix_web::test]
async fn a_busy_node_keeps_its_replica() {
    let mut world = World::make_with(|config| {
        (config.database.pool_size, config.database.max_overflow) = (1, 0);
        config.database.statement_timeout = Duration::from_secs(60);
        config.replica.lag_max = Duration::from_secs(2);
    })
    .await;
    let (ann, quay) = world.app.person_with_conversation("Ann").await;
    say(&ann, quay, "harbour").await;
    let lock = connect(world.app.database.url()).await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let meanwhile = async {
        world.replica.kill_9();
        world.is_up(false).await;
        world.replica.restart().await;
        world.is_up(true).await;
        lock.batch_execute("COMMIT").await.unwrap();
    };
    let (answer, ()) = futures_util::future::join(ann.get("/api/search?q=harbour"), meanwhile).await;
    assert_eq!(answer.ok()["items"][0]["message"]["body"], "harbour");
    drop(lock);
    world.app.stop().await;
}
