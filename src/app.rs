//! The composition root: everything a node consists of is made here, and handed to the parts that
//! need it.
//!
//! The order: database → bus → Redis → cache → auth, tenants → limits → presence → the directory of
//! sockets, through which conversations notify → commits (observers, writer lanes) → conversations
//! (registry) → sessions → HTTP servers. If it is not here, it does not exist. The same path serves
//! the program and the tests, which bind port 0 and ask for [`App::port`].

use crate::analytics::{Analytics, CountsFollower, Exports, Latencies, LatencyLog};
use crate::auth::{self, Auth};
use crate::bus::{Bus, InProcessBus, RedisBus};
use crate::cache::CacheHandle;
use crate::commit::{CommitHandle, CommitObservers};
use crate::config::{Capacity, Config, SessionsConfig};
use crate::conversations::{
    BusObserver, ConversationDependencies, ConversationsHandle, FirstPageObserver, SlotObserver, SlotTable,
};
use crate::database::{self, Database};
use crate::http::{self, AppState, Assets, FloodGuards, Health, HealthParts, HttpServers, Listener, Listeners};
use crate::ids::NodeId;
use crate::latency::LatencyRecorder;
use crate::onboarding::Onboarding;
use crate::presence::PresenceHandle;
use crate::rate_limit::RateLimitHandle;
use crate::redis::{self, Redis, SealPurpose, Sealer};
use crate::search::{Search, SearchIndex};
use crate::sessions::{Directory, SessionDependencies, SessionsHandle};
use crate::shutdown::Shutdown;
use crate::supervision::ArbiterPool;
use crate::tenants::Tenants;
use std::net::SocketAddr;
use std::sync::Arc;

/// Why a node could not be built; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] database::Error),
    #[error("{0}")]
    Auth(#[from] auth::Error),
    #[error(transparent)]
    Redis(#[from] redis::Error),
    #[error(transparent)]
    Listen(#[from] http::ListenError),
    /// The limit of open files is too low.
    #[error("{0}")]
    Descriptors(String),
}

/// A node: everything of it is made, and its port is bound. It serves once [`App::run_until`] runs.
pub struct App {
    servers: HttpServers,
    shutdown: Shutdown,
}

impl App {
    /// Builds a node that is alone in its process: with `REDIS_URL` on the bus there, without it
    /// with nobody to talk to.
    ///
    /// # Errors
    /// [`Error`], for the operator.
    pub async fn build(config: Config) -> Result<Self, Error> {
        Self::build_on(config, None).await
    }

    /// Builds a node on a bus that it shares with others of the same process; without one, on that
    /// of the configuration.
    ///
    /// # Errors
    /// [`Error`], for the operator.
    pub async fn build_on(config: Config, bus: Option<Arc<dyn Bus>>) -> Result<Self, Error> {
        let (config, capacity) = fit(config)?;
        // The address first: a port that is taken should not start a database.
        let listeners = Listeners {
            main: Listener::bind(config.bind)?,
            metrics: config.metrics.bind.map(Listener::bind).transpose()?,
        };
        // Boxed: it is large, and done once.
        let parts = Box::pin(NodeParts::build(&config, bus)).await?;
        let health = Health::new(HealthParts {
            database: parts.database.clone(),
            bus: parts.bus.clone(),
            cache: parts.cache.clone(),
        });
        let servers = listeners.serve(&config, capacity, parts.app_state(&config, &health))?;
        let (address, measured_at) = (servers.address(), servers.metrics_address());
        let measured_at = measured_at.map(tracing::field::display);
        tracing::info!(node.id = %parts.node, %address, metrics = measured_at, "node is up");
        let shutdown = Shutdown {
            health,
            sessions: parts.sessions,
            servers: servers.handle(),
            commits: parts.commits,
            latencies: parts.latency_log,
            cache: parts.cache,
            auth: parts.auth,
            arbiters: parts.arbiters,
            database: parts.database,
            drain_delay: config.drain_delay,
            timeout: config.shutdown_timeout,
        };
        Ok(Self { servers, shutdown })
    }

    /// Where it listens; port 0 has become another.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.servers.address()
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.servers.address().port()
    }

    /// Where the metrics are, if they have an address of their own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.servers.metrics_address()
    }

    /// Serves until `stop` resolves, then stops everything in order; once `hurry` resolves, without
    /// waiting for anybody.
    ///
    /// # Errors
    /// When the HTTP server fails by itself; everything else is stopped all the same.
    pub async fn run_until(
        self,
        stop: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        self.servers.run_until(stop, self.shutdown.run(hurry)).await
    }
}

/// Everything of a node below HTTP.
struct NodeParts {
    node: NodeId,
    arbiters: ArbiterPool,
    database: Database,
    bus: Arc<dyn Bus>,
    cache: CacheHandle,
    auth: Auth,
    tenants: Tenants,
    limits: RateLimitHandle,
    commits: CommitHandle,
    latency_log: LatencyLog,
    conversations: ConversationsHandle,
    sessions: SessionsHandle,
}

impl NodeParts {
    /// Makes the parts, each after those that it needs.
    async fn build(config: &Config, bus: Option<Arc<dyn Bus>>) -> Result<Self, Error> {
        let node = NodeId::new();
        let database = Database::open(config).await?;
        let arbiters = ArbiterPool::start(config.conversations.arbiters);
        let bus = match bus {
            Some(bus) => bus,
            None => bus_of(config, node, &arbiters)?,
        };
        let redis = Redis::open(&config.redis)?;
        let cache = CacheHandle::start(node, bus.clone(), redis.clone(), &config.cache, &arbiters);
        let auth = Auth::start(config, database.clone(), cache.clone()).await?;
        let tenants = Tenants::start(database.clone(), auth.clone(), cache.clone(), &arbiters);
        let lender = redis.map(|redis| (redis, config.redis.timeout));
        let limits = RateLimitHandle::start(&config.limits, lender, &arbiters);
        let presence = PresenceHandle::start(node, bus.clone(), config.sessions.presence_grace, &arbiters);
        let directory = Arc::new(Directory::new(&config.sessions));
        let slots = Arc::new(SlotTable::new(&config.conversations, &config.limits));
        let search_index = SearchIndex::new(database.clone());
        let latencies = LatencyRecorder::default();
        let observers = CommitObservers::new(vec![
            // First, because the author who gets the receipt may list conversations next.
            Arc::new(FirstPageObserver::new(cache.clone())),
            Arc::new(BusObserver::new(node, bus.clone())),
            Arc::new(SlotObserver::new(slots.clone())),
            Arc::new(search_index.observer()),
        ])
        .recording(latencies.clone());
        search_index.start(&arbiters);
        CountsFollower::new(database.clone()).start(&arbiters);
        let latency_log = LatencyLog::start(node, database.clone(), latencies.clone(), &arbiters);
        let lanes = config.conversations.persistence_lanes;
        let commits = CommitHandle::start(database.clone(), lanes, &arbiters, &observers);
        let dependencies = ConversationDependencies {
            node,
            slots,
            commits: commits.clone(),
            database: database.clone(),
            bus: bus.clone(),
            cache: cache.clone(),
            presence: presence.clone(),
            audience: directory.clone(),
            arbiters: arbiters.clone(),
            latencies: latencies.clone(),
        };
        let conversations = ConversationsHandle::start(dependencies, &config.conversations);
        let dependencies = SessionDependencies {
            node,
            directory,
            conversations: conversations.clone(),
            presence,
            auth: auth.clone(),
            limits: limits.clone(),
        };
        let sessions = SessionsHandle::start(dependencies, &config.sessions, &arbiters);
        Ok(Self {
            node,
            arbiters,
            database,
            bus,
            cache,
            auth,
            tenants,
            limits,
            commits,
            latency_log,
            conversations,
            sessions,
        })
    }

    /// The handles that HTTP uses.
    fn app_state(&self, config: &Arc<Config>, health: &Health) -> AppState {
        let analytics = Analytics::new(self.database.clone(), self.cache.clone());
        AppState {
            auth: self.auth.clone(),
            tenants: self.tenants.clone(),
            database: self.database.clone(),
            cache: self.cache.clone(),
            bus: self.bus.clone(),
            commits: self.commits.clone(),
            conversations: self.conversations.clone(),
            onboarding: Onboarding::new(self.auth.clone(), self.conversations.clone()),
            search: Search::new(self.database.clone()),
            latencies: Latencies::new(self.database.clone(), self.latency_log.clone(), analytics.clone()),
            exports: Exports::new(self.database.clone()),
            analytics,
            sessions: self.sessions.clone(),
            flood_guards: FloodGuards::new(&config.limits),
            limits: self.limits.clone(),
            health: health.clone(),
            assets: Assets::load(),
            config: config.clone(),
        }
    }
}

/// What this process can hold; the configuration promises no more from then on.
fn fit(mut config: Config) -> Result<(Arc<Config>, Capacity), Error> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let capacity = Capacity::of(&config, descriptors).map_err(Error::Descriptors)?;
    let wanted = std::mem::replace(&mut config.sessions.connections_max, capacity.sockets);
    if capacity.sockets < wanted && wanted == SessionsConfig::default().connections_max {
        // Nobody has asked for as many: what most systems give is plenty for most.
        tracing::info!(
            sockets = capacity.sockets,
            descriptors,
            "so many sockets are admitted; a higher limit of open files (ulimit -Hn, LimitNOFILE, ulimits) allows more, \
             up to PARLANCE_CONNECTIONS_MAX"
        );
    } else if capacity.sockets < wanted {
        tracing::warn!(
            sockets = capacity.sockets,
            wanted,
            descriptors,
            "the limit of open files does not suffice for PARLANCE_CONNECTIONS_MAX, and fewer sockets are admitted: a \
             socket takes two descriptors; raise the limit (ulimit -Hn, LimitNOFILE, ulimits) or set fewer connections"
        );
    }
    Ok((Arc::new(config), capacity))
}

/// The bus of the configuration.
fn bus_of(config: &Config, node: NodeId, arbiters: &ArbiterPool) -> Result<Arc<dyn Bus>, Error> {
    let secret = auth::load_signing_key(config)?;
    let previous = config.auth.jwt_secret_previous.as_ref();
    let accepted = previous.map(|secret| secret.expose().as_bytes());
    let sealer = Sealer::new(&secret, accepted, SealPurpose::Bus);
    Ok(match RedisBus::start(node, &config.redis, sealer, arbiters)? {
        Some(bus) => Arc::new(bus),
        // A database of the operator's may have other nodes on it; the private one has not.
        None if config.database.url.is_some() => Arc::new(InProcessBus::among_others()),
        None => Arc::new(InProcessBus::default()),
    })
}
