//! Connections that are there and of no use: to a server that takes no changes, and those that a firewall has forgotten.

use super::open;
use crate::support::chaos::Proxy;
use crate::support::db::{TestDatabase, connect};
use crate::support::postgres::TestPostgres;
use crate::support::redis::timed;
use crate::support::{Person, TestApp, eventually, wait_out};
use futures_util::future::join_all;
use parlance::database::{Client, Database, Error, Statement};
use parlance::ids::{ConversationId, MessageId};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// A connection is tried after this time without use, and is not taken for a fresh one.
const AGE: Duration = Duration::from_millis(1_100);
/// What the loss of idle connections may cost: a second for a trial, and a busy machine. A trial of each of them would
/// take longer.
const LOSS_MAX: Duration = Duration::from_secs(5);

const BECOME_READ_ONLY: Statement = Statement::new("test.read_only", "SET default_transaction_read_only = on");
const IS_READ_ONLY: Statement = Statement::new(
    "test.is_read_only",
    "SELECT current_setting('transaction_read_only')::boolean",
);
const WRITE: Statement = Statement::new("test.write", "UPDATE users SET id = id WHERE false");

async fn borrow<const N: usize>(database: &Database) -> Vec<Client> {
    let clients = join_all((0..N).map(|_| database.client())).await;
    clients.into_iter().map(Result::unwrap).collect()
}

async fn is_read_only(client: &Client) -> bool {
    client.query_one(&IS_READ_ONLY, &[]).await.unwrap().get(0)
}

/// After a failover the old primary replies to everything and takes nothing.
#[actix_web::test]
async fn a_connection_to_a_read_only_server_is_let_go_with_those_of_its_age() {
    let there = TestDatabase::create().await;
    let database = open(there.url(), |_| ()).await.unwrap();
    let old = borrow::<8>(&database).await;
    for client in &old {
        client.execute(&BECOME_READ_ONLY, &[]).await.unwrap();
    }
    drop(old);
    wait_out(AGE).await;
    let client = database.client().await.unwrap();
    let error = client.execute(&WRITE, &[]).await.unwrap_err();
    assert_eq!(
        error.sql_state().map(tokio_postgres::error::SqlState::code),
        Some("25006")
    );
    assert!(error.is_unavailable());
    drop(client);
    for client in borrow::<8>(&database).await {
        assert!(!is_read_only(&client).await, "one failure is enough");
        client.execute(&WRITE, &[]).await.unwrap();
    }
    database.close().await;
    there.remove().await;
}

/// The readiness does not believe an old connection either: the database may be elsewhere by now.
#[actix_web::test]
async fn readiness_asks_a_new_connection_before_it_calls_the_database_read_only() {
    let there = TestDatabase::create().await;
    let database = open(there.url(), |_| ()).await.unwrap();
    let client = database.client().await.unwrap();
    client.execute(&BECOME_READ_ONLY, &[]).await.unwrap();
    drop(client);
    let error = database.check_writable().await.unwrap_err();
    assert!(matches!(error, Error::NotWritable(_)), "{error}");
    wait_out(AGE).await;
    database.check_writable().await.unwrap();
    database.close().await;
    there.remove().await;
}

#[actix_web::test]
async fn what_an_operator_has_set_for_sessions_is_not_ours() {
    let there = TestDatabase::create().await;
    let name = there.name();
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "idle_session_timeout = 1",
        "idle_in_transaction_session_timeout = 1",
        "synchronous_commit = off",
    ] {
        let client = connect(&crate::support::db::with_database(there.url(), "postgres")).await;
        client
            .batch_execute(&format!("ALTER DATABASE {name} SET {setting}"))
            .await
            .unwrap();
    }
    let database = open(there.url(), |_| ()).await.unwrap();
    let client = database.client().await.unwrap();
    const SETTINGS: Statement = Statement::new(
        "test.settings",
        "SELECT array_agg(setting ORDER BY name) FROM pg_settings WHERE name IN ('default_transaction_isolation',
             'default_transaction_deferrable', 'statement_timeout', 'lock_timeout', 'idle_session_timeout',
             'idle_in_transaction_session_timeout', 'synchronous_commit')",
    );
    let settings: Vec<String> = client.query_one(&SETTINGS, &[]).await.unwrap().get(0);
    assert_eq!(settings, ["off", "read committed", "10000", "0", "0", "5000", "on"]);
    drop(client);
    database.close().await;

    // People who do things at the same time do not notice.
    let app = TestApp::on(there, |_| ()).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    let people = join_all((0..8).map(async |n| app.join(&format!("Person{n}"), &invite).await)).await;
    let mut sends = Vec::new();
    for person in &people {
        for _ in 0..5 {
            sends.push(person.post_message(conversation, MessageId::new(), "at once"));
        }
    }
    for answer in join_all(sends).await {
        answer.ok();
    }
    app.stop().await;
}

async fn database_part(app: &TestApp) -> (u16, Value) {
    let answer = app.request(Method::GET, "/health/ready", None, None).await;
    (answer.status, answer.body["parts"]["database"].clone())
}

async fn until_ready(app: &TestApp) {
    eventually("the node is ready", async || database_part(app).await.0 == 200).await;
}

async fn send(person: &Person, conversation: ConversationId) -> u16 {
    person
        .post_message(conversation, MessageId::new(), "hello")
        .await
        .status
}

#[actix_web::test]
async fn a_database_that_becomes_read_only_makes_the_node_unready_until_it_is_not() {
    let postgres = TestPostgres::primary().await;
    let there = TestDatabase::create_on(&postgres.url("postgres")).await;
    let app = TestApp::on(there, |_| ()).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    assert_eq!(send(&ann, conversation).await, 201);
    postgres
        .execute("ALTER SYSTEM SET default_transaction_read_only = on")
        .await;
    postgres.execute("SELECT pg_reload_conf()").await;
    eventually("readiness notices", async || {
        database_part(&app).await == (503, json!({"status": "failing", "detail": "it is read-only"}))
    })
    .await;
    // What can be read is read.
    let answer = ann.get(&format!("/api/conversations/{conversation}/messages")).await;
    assert_eq!(answer.ok()["items"].as_array().map(Vec::len), Some(1));
    postgres
        .execute("ALTER SYSTEM RESET default_transaction_read_only")
        .await;
    postgres.execute("SELECT pg_reload_conf()").await;
    until_ready(&app).await;
    assert_eq!(send(&ann, conversation).await, 201);
    app.stop().await;
}

#[actix_web::test]
async fn a_full_disk_makes_the_node_unready_until_there_is_room() {
    let postgres = TestPostgres::primary().await;
    let there = TestDatabase::create_on(&postgres.url("postgres")).await;
    let url = there.url().to_owned();
    let app = TestApp::on(there, |_| ()).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let operator = connect(&url).await;
    // What PostgreSQL says where a file cannot grow.
    operator
        .batch_execute(
            "CREATE FUNCTION no_space() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$;
             CREATE FUNCTION no_space_here() RETURNS trigger LANGUAGE plpgsql AS
                 $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$;
             CREATE TRIGGER no_space BEFORE INSERT ON messages EXECUTE FUNCTION no_space_here();
             CREATE EVENT TRIGGER no_space ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS')
                 EXECUTE FUNCTION no_space()",
        )
        .await
        .unwrap();
    assert_eq!(send(&ann, conversation).await, 503);
    for _ in 0..2 {
        wait_out(AGE).await;
        assert_eq!(
            database_part(&app).await,
            (503, json!({"status": "failing", "detail": "its disk is full"}))
        );
    }
    operator
        .batch_execute("DROP EVENT TRIGGER no_space; DROP TRIGGER no_space ON messages")
        .await
        .unwrap();
    drop(operator);
    until_ready(&app).await;
    assert_eq!(send(&ann, conversation).await, 201);
    app.stop().await;
}

#[actix_web::test]
async fn connections_that_a_firewall_has_forgotten_cost_a_second_together() {
    let there = TestDatabase::create().await;
    let proxy = Proxy::start(there.url()).await;
    let database = open(&proxy.url(), |_| ()).await.unwrap();
    drop(borrow::<8>(&database).await);
    proxy.forget();
    let (clients, took) = timed(async {
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(database.client().await.unwrap());
        }
        clients
    })
    .await;
    assert!(took < LOSS_MAX, "{took:?}");
    for client in &clients {
        assert!(!is_read_only(client).await);
    }
    drop(clients);
    database.close().await;
    proxy.cut_once();
    there.remove().await;
}

#[actix_web::test]
async fn a_message_after_a_firewall_has_forgotten_everything_costs_a_second() {
    let (app, proxy) = TestApp::behind_proxy().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    for _ in 0..4 {
        assert_eq!(send(&ann, conversation).await, 201);
    }
    wait_out(AGE).await;
    proxy.forget();
    let (status, took) = timed(send(&ann, conversation)).await;
    assert_eq!(status, 201);
    assert!(took < LOSS_MAX, "{took:?}");
    // Behind the firewall they are still there.
    proxy.cut_once();
    app.stop().await;
}
