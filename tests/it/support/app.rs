//! A node in the test's own process, on a free port, with a database of its own; or several nodes on one.

use super::chaos::Proxy;
use super::client::{Person, Site};
use super::db::TestDatabase;
use super::redis::Redises;
use super::{PATIENCE, TempDir};
use parlance::app::App;
use parlance::bus::{Bus, InProcessBus};
use parlance::config::{Config, LogFormat, RedisConfig, Secret};
use parlance::database::Database;
use parlance::ids::ConversationId;
use parlance::telemetry::{self, Terminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing_subscriber::fmt::TestWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A node.
pub struct TestApp {
    site: Site,
    pub database: Arc<TestDatabase>,
    /// What the node was built with; port 0 stands in it.
    pub config: Config,
    pub bus: Arc<InProcessBus>,
    /// Where the metrics are, if they have an address of their own.
    pub metrics: Option<Site>,
    directory: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<std::io::Result<()>>>,
}

impl Deref for TestApp {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl TestApp {
    /// Starts a node.
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// Starts a node with another configuration.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(TestDatabase::create().await, change).await
    }

    /// Starts a node that reaches its database through a proxy.
    pub async fn behind_proxy() -> (Self, Proxy) {
        Self::behind_proxy_with(|_| ()).await
    }

    /// The same with another configuration.
    pub async fn behind_proxy_with(change: impl FnOnce(&mut Config)) -> (Self, Proxy) {
        let database = TestDatabase::create().await;
        let proxy = Proxy::start(database.url()).await;
        let through_proxy = |config: &mut Config| {
            config.database.url = Some(Secret::new(proxy.url()));
            change(config);
        };
        let app = Self::on(database, through_proxy).await;
        (app, proxy)
    }

    /// Starts a node on a database with another configuration.
    pub async fn on(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        log();
        let directory = Arc::new(TempDir::new("it"));
        let mut config = Config {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: directory.path().to_owned(),
            shutdown_timeout: Duration::from_secs(10),
            ..Config::default()
        };
        config.database.url = Some(Secret::new(database.url()));
        // Many nodes share the test's PostgreSQL.
        (config.database.pool_size, config.database.max_overflow) = (5, 5);
        // The same on all nodes, as it has to be.
        config.auth.jwt_secret = Some(Secret::new(uuid::Uuid::new_v4().to_string()));
        (config.http.workers, config.conversations.arbiters) = (2, 2);
        // Tests write whatever host they like; those of hosts list their own.
        config.http.public_hosts = vec!["*".to_owned()];
        // All people of a test are at one address and in a hurry; the tests of the limits turn them on.
        config.limits.enabled = false;
        config.sessions.connections_per_address = 100_000;
        change(&mut config);
        Self::run(config, Arc::new(database), directory, Arc::new(InProcessBus::default())).await
    }

    /// Waits until the index of search has all of a conversation.
    pub async fn indexed(&self, conversation: ConversationId) {
        let sql = "SELECT coalesce((SELECT through_rev FROM search_positions WHERE conversation_id = $1), 0)
                          >= (SELECT rev FROM conversations WHERE id = $1)";
        // Behind a lot that was put there at once, or a sweep.
        super::eventually_within(Duration::from_secs(60), "it is indexed", async || {
            self.database.query(sql, &[&conversation.0]).await[0].get::<_, bool>(0)
        })
        .await;
    }

    /// Gives a tenant the premium plan, as an operator does.
    pub async fn give_premium(&self, person: &Person) {
        let sql = "UPDATE tenants SET plan = 'premium' WHERE id = $1 RETURNING 1";
        assert_eq!(self.database.query(sql, &[&person.tenant.0]).await.len(), 1);
    }

    /// The database of this node, opened once more, as by a command of an operator.
    pub async fn open_database(&self) -> Database {
        Database::open(&self.config).await.unwrap()
    }

    /// Starts another node on the same database and bus.
    pub async fn peer(&self) -> Self {
        self.peer_with(|_| ()).await
    }

    /// Starts another node on the same database and bus, with another configuration.
    pub async fn peer_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::run(config, self.database.clone(), self.directory.clone(), self.bus.clone()).await
    }

    /// Starts another node on the same database that the others cannot reach.
    pub async fn peer_without_bus(&self) -> Self {
        let alone = Arc::new(InProcessBus::default());
        Self::run(
            self.config.clone(),
            self.database.clone(),
            self.directory.clone(),
            alone,
        )
        .await
    }

    /// Starts another node on the same database that speaks to the others through `way`, a bus around [`Self::bus`].
    pub async fn peer_through(&self, way: Arc<dyn Bus>) -> Self {
        self.peer_through_with(way, |_| ()).await
    }

    /// The same with another configuration.
    pub async fn peer_through_with(&self, way: Arc<dyn Bus>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        let parts = (config, self.database.clone(), self.directory.clone());
        Self::run_on(parts, self.bus.clone(), Some(way)).await
    }

    /// Starts a node on the bus of a real Redis.
    pub async fn over(redis: &impl Redises) -> Self {
        let app = Self::start().await;
        let peer = app.peer_over(redis).await;
        app.stop().await;
        peer
    }

    /// Starts another node on the same database and on the bus of a real Redis.
    pub async fn peer_over(&self, redis: &impl Redises) -> Self {
        self.peer_over_config(redis.config()).await
    }

    /// Starts another node on the same database and on the bus of the Redis that a configuration names.
    pub async fn peer_over_config(&self, redis: RedisConfig) -> Self {
        let mut config = self.config.clone();
        config.redis = redis;
        let parts = (config, self.database.clone(), self.directory.clone());
        Self::run_on(parts, self.bus.clone(), None).await
    }

    async fn run(config: Config, database: Arc<TestDatabase>, directory: Arc<TempDir>, bus: Arc<InProcessBus>) -> Self {
        Self::run_on((config, database, directory), bus.clone(), Some(bus)).await
    }

    async fn run_on(
        (config, database, directory): (Config, Arc<TestDatabase>, Arc<TempDir>),
        bus: Arc<InProcessBus>,
        shared: Option<Arc<dyn Bus>>,
    ) -> Self {
        // Boxed: it is large, and so would be every test.
        let app = Box::pin(App::build_on(config.clone(), shared))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let site = Site::new(app.address());
        let metrics = app.metrics_address().map(Site::new);
        let (stop, stopped) = oneshot::channel::<()>();
        let told = async {
            // Dropped without a word means the same.
            let _: Result<(), _> = stopped.await;
        };
        let running = actix_web::rt::spawn(app.run_until(told, std::future::pending()));
        Self {
            site,
            database,
            config,
            bus,
            metrics,
            directory,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Tells it to stop, as SIGTERM does, without waiting.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it in order. The last node of a database also asserts that nothing of it is left: no connection to the
    /// database (a pool, a writer, a listener that goes on).
    pub async fn stop(mut self) {
        self.begin_stop();
        let running = self.running.take().unwrap();
        let patience = self.config.shutdown_timeout + PATIENCE;
        let ended = tokio::time::timeout(patience, running)
            .await
            .expect("the node did not stop in time");
        ended.expect("the node panicked").expect("the node ended with an error");
        if Arc::strong_count(&self.database) == 1 {
            self.database.remove().await;
        }
    }
}

/// Lets the nodes' log show beside a failing test: warnings, or what `RUST_LOG` says. Where the whole suite's log is kept
/// (to be searched for what should not be in it), it goes there too, with more of it.
fn log() {
    let kept = super::kept_log();
    let usual = if kept.is_some() {
        "info,parlance=debug"
    } else {
        "warn,parlance=info"
    };
    let filter = super::environment("RUST_LOG").unwrap_or_else(|| usual.to_owned());
    let output = TestWriter::new();
    let subscriber = match kept {
        Some(file) => telemetry::subscriber(LogFormat::Pretty, &filter, Terminal::Plain, output.and(file)),
        None => telemetry::subscriber(LogFormat::Pretty, &filter, Terminal::Plain, output),
    };
    // Another test of this process may have done it.
    let _: Result<(), _> = subscriber.unwrap().try_init();
}
