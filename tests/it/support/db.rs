//! A database for each test, copied from a migrated template, and a look into it past the server.

use parlance::config::{Config, Secret};
use parlance::database::{Database, migrations};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

/// One lock for everybody who makes the template.
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61_7465;

/// A database of one test.
pub struct TestDatabase {
    name: String,
    url: String,
    server: String,
}

impl TestDatabase {
    /// Makes a migrated, empty one.
    pub async fn create() -> Self {
        let template = template().await;
        let name = format!("it_{}", uuid::Uuid::now_v7().simple());
        let server = server();
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self {
            url: with_database(&server, &name),
            name,
            server,
        }
    }

    /// Makes one that has never been migrated.
    pub async fn create_blank() -> Self {
        let name = format!("it_{}", uuid::Uuid::now_v7().simple());
        let server = server();
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self {
            url: with_database(&server, &name),
            name,
            server,
        }
    }

    /// Makes one in another encoding, which has never been migrated.
    pub async fn create_in(encoding: &str) -> Self {
        let name = format!("it_{}", uuid::Uuid::now_v7().simple());
        let server = server();
        let how = format!("TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'");
        run(&server, &format!("CREATE DATABASE {name} {how}")).await;
        Self {
            url: with_database(&server, &name),
            name,
            server,
        }
    }

    /// Makes one on a server of the test's own; whoever opens it first migrates it.
    pub async fn create_on(server: &str) -> Self {
        let name = format!("it_{}", uuid::Uuid::now_v7().simple());
        run(server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self {
            url: with_database(server, &name),
            name,
            server: server.to_owned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks it something, over a connection for this question.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        let client = connect(&self.url).await;
        client
            .query(sql, params)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// How many connections others have to it.
    pub async fn connections(&self) -> i64 {
        let client = connect(&self.server).await;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'";
        client.query_one(sql, &[&self.name]).await.unwrap().get(0)
    }

    /// Removes it; fails when somebody still has a connection to it: a server that was stopped left something behind.
    pub async fn remove(&self) {
        super::eventually("all connections to the test's database are closed", async || {
            self.connections().await == 0
        })
        .await;
        run(&self.server, &format!("DROP DATABASE {}", self.name)).await;
    }
}

/// The PostgreSQL that all tests share.
fn server() -> String {
    super::environment("TEST_DATABASE_URL").unwrap_or_else(|| {
        panic!(
            "TEST_DATABASE_URL is not set: these tests share a PostgreSQL; `make test-it` starts one and runs them, \
             `scripts/test.sh it NAME` runs some of them"
        )
    })
}

/// Makes the template of this schema, unless another test has.
async fn template() -> String {
    let server = server();
    let name = format!("it_template_{}", migrations::fingerprint());
    let client = connect(&server).await;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&TEMPLATE_LOCK])
        .await
        .unwrap();
    let known = client
        .query("SELECT FROM pg_database WHERE datname = $1", &[&name])
        .await
        .unwrap();
    if known.is_empty() {
        // Under another name until it is complete, in case this test is killed in the middle.
        let draft = format!("{name}_draft");
        client
            .batch_execute(&format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)"))
            .await
            .unwrap();
        client
            .batch_execute(&format!("CREATE DATABASE {draft} TEMPLATE template0"))
            .await
            .unwrap();
        let mut config = Config::default();
        config.database.url = Some(Secret::new(with_database(&server, &draft)));
        Database::open(&config).await.unwrap().close().await;
        let gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = $1";
        super::eventually("the migration's connections are closed", async || {
            client.query_one(gone, &[&draft]).await.unwrap().get(0)
        })
        .await;
        client
            .batch_execute(&format!("ALTER DATABASE {draft} RENAME TO {name}"))
            .await
            .unwrap();
    }
    name
}

/// The same server, another database.
pub fn with_database(url: &str, name: &str) -> String {
    let (address, options) = url
        .split_once('?')
        .map_or((url, String::new()), |(a, o)| (a, format!("?{o}")));
    let (host, _) = address
        .rsplit_once('/')
        .expect("TEST_DATABASE_URL is a postgres:// address that names a database");
    format!("{host}/{name}{options}")
}

/// A connection of the test's own.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    tokio::spawn(connection);
    client
}

async fn run(url: &str, sql: &str) {
    connect(url)
        .await
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
