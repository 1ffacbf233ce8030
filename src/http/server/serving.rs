//! The HTTP servers of a node: the one for everybody, and where `METRICS_BIND` is set, the one for
//! scrapers, which answers to health too, whatever happens to the other.
//!
//! Bounds: connections of each worker, by what the limit of open files allows;
//! `METRICS_CONNECTIONS_MAX` for scrapers. Beyond them connections wait in the kernel; before that,
//! idle ones give way (`connections.rs`).

use super::application;
use super::connections::ConnectionBounds;
use super::deadlines::ConnectionDeadlines;
use super::descriptor::DuplicateDescriptor;
use super::listener::{ListenError, Listener};
use super::upgrade::{ConnectionOptions, http_service};
use crate::config::{Capacity, Config};
use crate::http::state::AppState;
use crate::ids::Network;
use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer, web};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Connections to the listener of the metrics: scrapers, and people who look.
const METRICS_CONNECTIONS_MAX: usize = 64;
/// How long workers have, when nothing more is accepted, to begin with what was. The library does not
/// say when they have; what a worker has not begun by then is dropped.
const ACCEPTED_GRACE: Duration = Duration::from_millis(100);
/// How long connections that do nothing are kept when the server stops: long enough for a request
/// that is on its way, short enough that nobody waits for the stop.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// The listeners of a node, bound and not yet served.
pub struct Listeners {
    pub main: Listener,
    /// Only for metrics, if they have an address of their own.
    pub metrics: Option<Listener>,
}

/// The servers of a node, which serve while [`HttpServers::run_until`] runs.
pub struct HttpServers {
    address: SocketAddr,
    main: Server,
    closing: Arc<watch::Sender<bool>>,
    metrics: Option<(SocketAddr, Server)>,
}

/// Stops the servers. Cheap to clone.
#[derive(Clone)]
pub struct HttpServersHandle {
    main: ServerHandle,
    /// Ends connections that do nothing.
    closing: Arc<watch::Sender<bool>>,
    metrics: Option<ServerHandle>,
}

impl Listeners {
    /// Makes the servers. `capacity` is how many connections each worker may have.
    ///
    /// # Errors
    /// [`ListenError`] if an address cannot be served.
    pub fn serve(self, config: &Config, capacity: Capacity, state: AppState) -> Result<HttpServers, ListenError> {
        let state = web::Data::new(state);
        let metrics = self.metrics.map(|listener| {
            let address = listener.address;
            serve_metrics(listener, state.clone()).map(|server| (address, server))
        });
        let (closing, is_closing) = watch::channel(false);
        Ok(HttpServers {
            address: self.main.address,
            metrics: metrics.transpose()?,
            main: serve(config, capacity, self.main, state, is_closing)?,
            closing: Arc::new(closing),
        })
    }
}

impl HttpServers {
    /// Where everybody is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the metrics are, if they have an address of their own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// What stops them.
    #[must_use]
    pub fn handle(&self) -> HttpServersHandle {
        HttpServersHandle {
            main: self.main.handle(),
            closing: self.closing.clone(),
            metrics: self.metrics.as_ref().map(|(_, server)| server.handle()),
        }
    }

    /// Serves until `stop` has resolved and `shutdown` is done.
    ///
    /// # Errors
    /// When the main server fails by itself; `shutdown` is run all the same. A node whose metrics
    /// cannot be read any more still serves.
    pub async fn run_until(
        self,
        stop: impl Future<Output = ()>,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let mut main = actix_web::rt::spawn(self.main);
        let metrics = self.metrics.map(|(_, metrics)| actix_web::rt::spawn(metrics));
        let result = tokio::select! {
            ended = &mut main => ended.map_err(std::io::Error::other).flatten(),
            () = stop => Ok(()),
        };
        shutdown.await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        result
    }
}

impl HttpServersHandle {
    /// Takes no new connections, waits for the requests under way, and ends idle connections a
    /// moment later: a request that was sent just before should have its response.
    pub async fn stop(&self) {
        // A worker that stops drops what was accepted for it and not yet begun.
        self.main.pause().await;
        tokio::time::sleep(ACCEPTED_GRACE).await;
        let mut stopping = pin!(self.main.stop(true));
        if tokio::time::timeout(IDLE_GRACE, &mut stopping).await.is_err() {
            self.closing.send_replace(true);
            stopping.await;
        }
    }

    /// Stops serving metrics at once, if they have an address of their own.
    pub async fn stop_metrics(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.stop(false).await;
        }
    }
}

fn serve(
    config: &Config,
    capacity: Capacity,
    listener: Listener,
    state: web::Data<AppState>,
    is_closing: watch::Receiver<bool>,
) -> Result<Server, ListenError> {
    let bounds = ConnectionBounds::of(
        capacity.connections_per_worker * config.http.workers.max(1),
        capacity.sockets,
    );
    let deadlines = ConnectionDeadlines::start(&config.http, bounds);
    let proxies: Arc<[IpNet]> = config.limits.trusted_proxies.as_slice().into();
    let options = ConnectionOptions {
        keep_alive: config.http.keep_alive,
        request_timeout: config.http.request_timeout,
        on_connect: Some(Arc::new(move |stream, data| {
            if let Some(descriptor) = DuplicateDescriptor::of(stream) {
                let peer = stream.peer_addr().ok().map(|peer| peer.ip().to_canonical());
                let client = peer.filter(|peer| !proxies.iter().any(|proxy| proxy.contains(peer)));
                data.insert(deadlines.add(descriptor, client.map(Network::from)));
            }
        })),
        closing: Some(is_closing),
    };
    let service = move || {
        let state = state.clone();
        http_service(move |app| application::configure(app, state.clone()), options.clone())
    };
    let address = listener.address;
    let server = Server::build()
        .workers(config.http.workers)
        // Of a worker, and of plain connections as well.
        .max_concurrent_connections(capacity.connections_per_worker)
        // A request may take as long as its commit; the deadline of the shutdown ends it before
        // this does.
        .shutdown_timeout(config.shutdown_timeout.as_secs() + 1)
        .disable_signals()
        .listen("http", listener.socket, service);
    Ok(server.map_err(|source| ListenError { address, source })?.run())
}

/// One thread is plenty for scrapers, and nothing of theirs is limited.
fn serve_metrics(listener: Listener, state: web::Data<AppState>) -> Result<Server, ListenError> {
    let factory = move || App::new().configure(|app| application::configure_metrics(app, state.clone()));
    let server = HttpServer::new(factory)
        .workers(1)
        .max_connections(METRICS_CONNECTIONS_MAX)
        .disable_signals();
    let address = listener.address;
    let server = server.listen(listener.socket);
    Ok(server.map_err(|source| ListenError { address, source })?.run())
}
