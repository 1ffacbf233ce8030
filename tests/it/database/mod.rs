//! The database as the rest of the server sees it: a pool with limits, answers that end, migrations that may race.

mod commits;
mod embedded;
mod useless;

use crate::support::chaos::{Chaos, Proxy};
use crate::support::db::{TestDatabase, connect};
use crate::support::eventually;
use parlance::config::{Config, Secret};
use parlance::database::{Client, Database, Error, Statement};
use parlance::error::Code;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

const PID: Statement = Statement::new("test.pid", "SELECT pg_backend_pid()");
const NAP: Statement = Statement::new("test.nap", "SELECT pg_sleep(60)");

async fn open(url: &str, change: impl FnOnce(&mut Config)) -> Result<Database, Error> {
    let mut config = Config::default();
    config.database.url = Some(Secret::new(url));
    change(&mut config);
    Database::open(&config).await
}

async fn pid(client: &Client) -> i32 {
    client.query_one(&PID, &[]).await.unwrap().get(0)
}

#[actix_web::test]
async fn the_pool_overflows_as_far_as_it_may_and_shrinks_again() {
    let there = TestDatabase::create().await;
    let patience = Duration::from_millis(300);
    let database = open(there.url(), |config| {
        (config.database.pool_size, config.database.max_overflow) = (2, 2);
        config.database.acquire_timeout = patience;
    })
    .await
    .unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = database.client().await.unwrap();
        pid(&client).await;
        clients.push(client);
    }
    let begun = Instant::now();
    let error = database.client().await.err().unwrap();
    assert!(matches!(error, Error::PoolExhausted(_)), "{error}");
    assert!(error.is_unavailable() && error.code() == Code::Unavailable);
    assert!(
        (patience..patience * 4).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(database.status().connections, 4);

    clients.clear();
    eventually("the overflow is closed", async || there.connections().await == 2).await;
    assert_eq!(database.status().connections, 2);
    // Somebody who waits gets the connection that comes back.
    let held = [database.client().await.unwrap(), database.client().await.unwrap()];
    let more = [database.client().await.unwrap(), database.client().await.unwrap()];
    let waiting = tokio::spawn({
        let database = database.clone();
        async move { database.client().await.map(drop) }
    });
    eventually("somebody waits", async || database.status().waiting == 1).await;
    drop((held, more));
    waiting.await.unwrap().unwrap();
    database.close().await;
    there.remove().await;
}

#[actix_web::test]
async fn a_connection_that_died_is_replaced() {
    let there = TestDatabase::create().await;
    let database = open(there.url(), |_| ()).await.unwrap();
    let killed = pid(&database.client().await.unwrap()).await;
    there.query("SELECT pg_terminate_backend($1)", &[&killed]).await;
    eventually("it is gone", async || there.connections().await == 0).await;
    assert_ne!(pid(&database.client().await.unwrap()).await, killed);
    database.close().await;
    there.remove().await;
}

#[actix_web::test]
async fn a_statement_ends_in_time_and_a_frozen_server_is_given_up() {
    let there = TestDatabase::create().await;
    let proxy = Proxy::start(there.url()).await;
    let database = open(&proxy.url(), |config| {
        config.database.statement_timeout = Duration::from_millis(300);
    })
    .await
    .unwrap();

    // PostgreSQL ends it by itself; the connection is fine.
    let client = database.client().await.unwrap();
    let error = client.query_one(&NAP, &[]).await.unwrap_err();
    assert_eq!(error.sql_state(), Some(&SqlState::QUERY_CANCELED), "{error}");
    let first = pid(&client).await;

    // Nobody answers at all; the connection is not used again.
    proxy.set(Chaos::Freeze);
    let begun = Instant::now();
    let error = client.query_one(&PID, &[]).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { .. }) && error.is_unavailable(),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(client);
    proxy.heal();
    assert_ne!(pid(&database.client().await.unwrap()).await, first);
    database.close().await;
    drop(proxy);
    there.remove().await;
}

#[actix_web::test]
async fn nodes_that_start_together_migrate_once() {
    let there = TestDatabase::create_blank().await;
    let nodes = futures_util::future::join_all((0..6).map(|_| open(there.url(), |_| ()))).await;
    for node in nodes {
        let node = node.unwrap_or_else(|error| panic!("{error}"));
        node.ping().await.unwrap();
        node.close().await;
    }
    let applied = there
        .query("SELECT version FROM refinery_schema_history ORDER BY version", &[])
        .await;
    let versions: Vec<i32> = applied.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        versions,
        (1..=i32::try_from(versions.len()).unwrap()).collect::<Vec<_>>()
    );
    assert!(!versions.is_empty());
    there.remove().await;
}

/// A database as the first migrations left it, up to this one.
async fn as_of(version: i32) -> TestDatabase {
    let (whole, old) = (TestDatabase::create().await, TestDatabase::create_blank().await);
    let client = connect(old.url()).await;
    let entries = std::fs::read_dir("migrations").unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files[..usize::try_from(version).unwrap()] {
        let sql = std::fs::read_to_string(file).unwrap();
        client.batch_execute(&sql).await.unwrap();
    }
    let table = "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255), \
                 applied_on varchar(255), checksum varchar(255))";
    client.batch_execute(table).await.unwrap();
    let known = "SELECT version, name, applied_on, checksum FROM refinery_schema_history WHERE version <= $1";
    for row in whole.query(known, &[&version]).await {
        let (number, texts): (i32, [String; 3]) = (row.get(0), [row.get(1), row.get(2), row.get(3)]);
        let [name, applied_on, checksum] = &texts;
        let insert = "INSERT INTO refinery_schema_history VALUES ($1, $2, $3, $4)";
        client
            .execute(insert, &[&number, name, applied_on, checksum])
            .await
            .unwrap();
    }
    drop(client);
    whole.remove().await;
    old
}

/// A backup holds its locks for hours. Those who come meanwhile wait no longer than the migration does.
#[actix_web::test]
async fn a_migration_that_gets_no_lock_lets_others_pass_and_says_who_is_in_the_way() {
    // As before the migration that drops an index of messages.
    let there = as_of(5).await;
    let holder = connect(there.url()).await;
    // What posting takes; dropping an index waits for it.
    let lock = "BEGIN; SET LOCAL lock_timeout = 0; LOCK TABLE messages IN ROW EXCLUSIVE MODE";
    holder.batch_execute(lock).await.unwrap();
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let migrating = actix_web::rt::spawn({
        let url = there.url().to_owned();
        let short = |config: &mut Config| config.database.migration_lock_timeout = Duration::from_millis(500);
        async move { open(&url, short).await.map(drop) }
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass";
    let looking = connect(there.url()).await;
    eventually("the migration waits", async || {
        looking.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    // Behind the migration, and done before the holder is.
    let other = connect(there.url()).await;
    other.batch_execute(lock).await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    let error = migrating.await.unwrap().unwrap_err().to_string();
    for part in [
        &*format!("the process {pid} of"),
        "messages",
        "6 attempts",
        "pg_stat_activity",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    holder.batch_execute("COMMIT").await.unwrap();
    open(there.url(), |_| ()).await.unwrap().close().await;
    drop((holder, looking, other));
    there.remove().await;
}

/// It would take the first emoji for a fault of ours.
#[actix_web::test]
async fn a_database_in_another_encoding_is_refused_before_anything_is_written() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let there = TestDatabase::create_in(encoding).await;
        let error = open(there.url(), |_| ()).await.err().unwrap().to_string();
        for part in [there.name(), encoding, "ENCODING 'UTF8'", "DATABASE_URL"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let tables = there
            .query("SELECT FROM pg_tables WHERE schemaname = current_schema()", &[])
            .await;
        assert!(tables.is_empty());
        there.remove().await;
    }
}

#[actix_web::test]
async fn an_address_that_cannot_be_used_is_refused_in_one_sentence() {
    let error = open("postgres://x@127.0.0.1:1/x", |_| ()).await.err().unwrap();
    assert!(error.to_string().contains("no connection to the database"), "{error}");
    let error = open("postgres://x@127.0.0.1:1/x?sslmode=on", |_| ())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("sslmode is one of"), "{error}");
    let error = open("nonsense", |_| ()).await.err().unwrap();
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
}
