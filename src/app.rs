//! The composition root: everything a node consists of is made here, in this order, and handed to whoever needs it.
//!
//! database → bus → redis → cache → auth, tenants → limits → presence → the table of sockets, which conversations notify
//! through → commits (writer lanes, observers) → conversations (registry) → sessions → HTTP server. If it is not here, it does
//! not exist. The same path serves the program and the tests, which bind port 0 and ask for [`App::port`].

use crate::auth::{self, Auth};
use crate::bus::{Bus, InProcessBus, RedisBus};
use crate::cache::CacheHandle;
use crate::commit::{CommitHandle, CommitObservers};
use crate::config::{Capacity, Config};
use crate::conversations::{
    BusObserver, ConversationDependencies, ConversationsHandle, FirstPageObserver, SlotObserver, SlotTable,
};
use crate::database::{self, Database};
use crate::http::{self, Assets, Connections, Health};
use crate::ids::NodeId;
use crate::presence::PresenceHandle;
use crate::rate_limit::RateLimitHandle;
use crate::redis::{self, Redis};
use crate::search::Search;
use crate::sessions::{self, Directory, SessionDependencies, Sessions, Socket};
use crate::shutdown::Shutdown;
use crate::supervision::ArbiterPool;
use crate::tenants::Tenants;
use actix_web::dev::Server;
use actix_web::rt::net::TcpStream;
use actix_web::{HttpServer, web};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Connections that the kernel keeps while workers are busy.
const BACKLOG: i32 = 4_096;

/// Connections to the listener of the metrics: scrapers, and people who look.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// Why a node could not be built; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// Keys, or what was revoked.
    #[error("{0}")]
    Auth(#[from] auth::Error),
    /// The address of Redis.
    #[error(transparent)]
    Redis(#[from] redis::Error),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The limit of open files.
    #[error("{0}")]
    Descriptors(String),
}

/// A node.
pub struct App {
    address: SocketAddr,
    server: Server,
    metrics: Option<(SocketAddr, Server)>,
    shutdown: Shutdown,
    /// How long the node still serves when it is told to stop, and how long stopping may take then.
    shutdown_times: (Duration, Duration),
}

impl App {
    /// Builds a node that is alone in its process: with `REDIS_URL` on the bus there, without it with nobody to talk to.
    ///
    /// # Errors
    /// [`Error`], for the operator.
    pub async fn build(config: Config) -> Result<Self, Error> {
        Self::build_on(config, None).await
    }

    /// Builds a node on a bus that it shares with others of the same process; without one, on that of the configuration.
    ///
    /// # Errors
    /// [`Error`], for the operator.
    pub async fn build_on(config: Config, bus: Option<Arc<dyn Bus>>) -> Result<Self, Error> {
        let (config, capacity) = fit(config)?;
        // The address first: a port that is taken should not start a database.
        let (listener, address) = listen(config.bind)?;
        let metrics_listener = config.metrics.bind.map(listen).transpose()?;
        let node = NodeId::new();
        let database = Database::open(&config).await?;
        let arbiters = ArbiterPool::start(config.conversations.arbiters);
        let bus = bus.unwrap_or_else(|| bus_of(&config, node, &arbiters));
        let redis = Redis::open(&config.redis)?;
        let cache = CacheHandle::start(node, bus.clone(), redis.clone(), &config.cache, &arbiters);
        let auth = Auth::start(&config, database.clone(), cache.clone()).await?;
        let tenants = Tenants::start(database.clone(), auth.clone(), cache.clone(), &arbiters);
        let lender = redis.map(|redis| (redis, config.redis.timeout));
        let limits = RateLimitHandle::start(&config.limits, lender, &arbiters);
        let presence = PresenceHandle::start(node, bus.clone(), config.sessions.presence_grace, &arbiters);
        let directory = Arc::new(Directory::new(&config.sessions));
        let slots = Arc::new(SlotTable::new(&config.conversations));
        let observers = CommitObservers::new(vec![
            // First, because whoever waits for the receipt may list conversations next.
            Arc::new(FirstPageObserver::new(cache.clone())),
            Arc::new(BusObserver::new(node, bus.clone())),
            Arc::new(SlotObserver::new(slots.clone())),
        ]);
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
        };
        let conversations = ConversationsHandle::start(dependencies, &config.conversations);
        let dependencies = SessionDependencies {
            node,
            directory,
            conversations: conversations.clone(),
            presence,
            auth: auth.clone(),
            limits: limits.clone(),
            arbiters: arbiters.clone(),
        };
        let sessions = Sessions::start(dependencies, &config.sessions);
        let health = Health::new(parts_of(&database, &bus, &cache));
        let state = web::Data::new(http::AppState {
            auth: auth.clone(),
            tenants,
            database: database.clone(),
            cache: cache.clone(),
            bus,
            commits: commits.clone(),
            conversations,
            search: Search::new(database.clone()),
            sessions: sessions.clone(),
            guards: http::Guards::new(&config.limits),
            limits,
            health: health.clone(),
            assets: Assets::load(),
            config: config.clone(),
        });
        let metrics = serve_metrics(metrics_listener, &state)?;
        let server = serve(&config, capacity, listener, state).map_err(|error| Error::Listen(address, error))?;
        let measured_at = metrics.as_ref().map(|(address, _)| tracing::field::display(address));
        tracing::info!(node.id = %node, %address, metrics = measured_at, "node is up");
        let shutdown = Shutdown {
            health,
            sessions,
            server: server.handle(),
            metrics: metrics.as_ref().map(|(_, server)| server.handle()),
            commits,
            cache,
            auth,
            arbiters,
            database,
        };
        Ok(Self {
            address,
            server,
            metrics,
            shutdown,
            shutdown_times: (config.drain_delay, config.shutdown_timeout),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on; tells what port 0 became.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where the metrics are, if they have an address of their own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// Serves until `stop` resolves, then stops everything in order.
    ///
    /// # Errors
    /// When the HTTP server fails by itself; everything else is stopped all the same.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let mut server = actix_web::rt::spawn(self.server);
        // A node that cannot be measured any more still serves.
        let metrics = self.metrics.map(|(_, metrics)| actix_web::rt::spawn(metrics));
        let result = tokio::select! {
            ended = &mut server => ended.map_err(std::io::Error::other).flatten(),
            () = stop => Ok(()),
        };
        let (delay, timeout) = self.shutdown_times;
        self.shutdown.run(delay, timeout).await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        result
    }
}

/// What this process can hold; the configuration promises no more from then on.
fn fit(mut config: Config) -> Result<(Arc<Config>, Capacity), Error> {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let capacity = Capacity::of(&config, descriptors).map_err(Error::Descriptors)?;
    let wanted = std::mem::replace(&mut config.sessions.connections_max, capacity.sockets);
    if capacity.sockets < wanted {
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

/// A listener, and where it really is.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = try_listen(address).map_err(|error| Error::Listen(address, error))?;
    let actual = listener.local_addr().map_err(|error| Error::Listen(address, error))?;
    Ok((listener, actual))
}

fn try_listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restarted server takes its port back from connections that linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn serve(
    config: &Config,
    capacity: Capacity,
    listener: TcpListener,
    state: web::Data<http::AppState>,
) -> std::io::Result<Server> {
    let connections = Connections::start(&config.http);
    let factory = move || actix_web::App::new().configure(|app| http::configure(app, state.clone()));
    let server = HttpServer::new(factory)
        .workers(config.http.workers)
        // A frame should leave when it is written; joining writes is our business.
        .tcp_nodelay(true)
        .h1_write_buffer_size(sessions::transport::WRITE_BUFFER_BYTES)
        // Of a worker, and of plain connections as well.
        .max_connections(capacity.connections_per_worker)
        .keep_alive(config.http.keep_alive)
        .client_request_timeout(config.http.request_timeout)
        // A request may take as long as its commit; the deadline of the shutdown ends it before this does.
        .shutdown_timeout(config.shutdown_timeout.as_secs() + 1)
        .disable_signals()
        .on_connect(move |connection, extensions| {
            if let Some(socket) = connection.downcast_ref::<TcpStream>().and_then(Socket::duplicate) {
                let socket = Arc::new(socket);
                extensions.insert(connections.watch(socket.clone()));
                extensions.insert(socket);
            }
        });
    Ok(server.listen(listener)?.run())
}

/// The bus of the configuration.
fn bus_of(config: &Config, node: NodeId, arbiters: &ArbiterPool) -> Arc<dyn Bus> {
    match RedisBus::start(node, &config.redis, arbiters) {
        Some(bus) => Arc::new(bus),
        // A database of the operator's may have other nodes on it; the private one has not.
        None if config.database.url.is_some() => Arc::new(InProcessBus::among_others()),
        None => Arc::new(InProcessBus::default()),
    }
}

/// The listener for a scraper, if there is one: one thread is plenty, and nothing of it is limited.
fn serve_metrics(
    listener: Option<(TcpListener, SocketAddr)>,
    state: &web::Data<http::AppState>,
) -> Result<Option<(SocketAddr, Server)>, Error> {
    let Some((listener, address)) = listener else {
        return Ok(None);
    };
    let state = state.clone();
    let factory = move || actix_web::App::new().configure(|app| http::configure_metrics(app, state.clone()));
    let server = HttpServer::new(factory)
        .workers(1)
        .max_connections(METRICS_CONNECTIONS_MAX)
        .disable_signals();
    let bound = server.listen(listener).map_err(|error| Error::Listen(address, error))?;
    Ok(Some((address, bound.run())))
}

/// What readiness depends on.
fn parts_of(database: &Database, bus: &Arc<dyn Bus>, cache: &CacheHandle) -> Vec<http::Part> {
    let (answering, migrated, speaking) = (database.clone(), database.clone(), bus.clone());
    let cache = cache.clone();
    let redis = cache.remote().map(|_| http::Part {
        need: http::Need::Optional,
        ..http::Part::required("redis", move || {
            let cache = cache.clone();
            async move { cache.check().await }
        })
    });
    let required = [
        http::Part::required("database", move || {
            let database = answering.clone();
            async move { database.ping().await.map_err(|error| error.code().to_string()) }
        }),
        http::Part::required("migrations", move || {
            let database = migrated.clone();
            async move {
                database.check_schema().await.map_err(|error| match error {
                    database::Error::Migration(reason) => reason,
                    other => other.code().to_string(),
                })
            }
        }),
        http::Part {
            kind: Some(bus.name()),
            need: http::Need::Optional,
            ..http::Part::required("bus", move || {
                std::future::ready(speaking.trouble().map_or(Ok(()), |trouble| Err(trouble.to_owned())))
            })
        },
    ];
    let copied = database.clone();
    let replica = database.replica_status().map(|_| http::Part {
        need: http::Need::Optional,
        ..http::Part::required("replica", move || {
            let trouble = copied.replica_status().and_then(|replica| replica.trouble);
            std::future::ready(trouble.map_or(Ok(()), Err))
        })
    });
    required.into_iter().chain(redis).chain(replica).collect()
}
