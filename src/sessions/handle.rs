//! The way into the sessions: for the route that opens sockets, and for those who count or stop
//! them.

use super::connection::Connection;
use super::dependencies::SessionDependencies;
use super::directory::AdmissionError;
use super::{credentials, drain, sweep};
use crate::config::SessionsConfig;
use crate::metrics::{Surface, metrics};
use crate::supervision::ArbiterPool;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sessions of this node. Cheap to clone.
#[derive(Clone)]
pub struct SessionsHandle {
    pub(super) dependencies: Arc<SessionDependencies>,
    /// Between two pings of a connection.
    pub(super) heartbeat: Duration,
}

impl SessionsHandle {
    /// Starts the sweep and the task that handles revocations. Sockets are opened with
    /// [`super::open`].
    #[must_use]
    pub fn start(dependencies: SessionDependencies, config: &SessionsConfig, arbiters: &ArbiterPool) -> Self {
        let dependencies = Arc::new(dependencies);
        sweep::start(&dependencies.directory, config, arbiters);
        credentials::start(&dependencies, arbiters);
        Self {
            dependencies,
            heartbeat: config.heartbeat,
        }
    }

    /// Whether a new socket may be opened, as far as the node is concerned.
    ///
    /// # Errors
    /// [`AdmissionError::Draining`], [`AdmissionError::NodeFull`].
    pub fn check_capacity(&self) -> Result<(), AdmissionError> {
        self.dependencies.directory.check_capacity()
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.dependencies.directory.len()
    }

    /// Says goodbye to every socket, lets what was accepted be replied to, and closes them with
    /// 4203. Returns when all are gone or the deadline has come.
    pub async fn drain(&self, deadline: Instant) {
        drain::run(&self.dependencies.directory, deadline).await;
    }

    /// Admits a socket that has just been opened.
    pub(super) fn connected(&self, connection: &Arc<Connection>) -> Result<(), AdmissionError> {
        let admitted = self.dependencies.directory.insert(connection);
        if matches!(admitted, Err(AdmissionError::UserFull | AdmissionError::NetworkFull)) {
            metrics().rate_limited(connection.payer().tier(), Surface::Connections);
        }
        admitted?;
        self.dependencies.presence.connected(connection.user_id);
        Ok(())
    }

    /// A socket is gone, whether it had been admitted or not.
    pub(super) fn disconnected(&self, connection: &Connection) {
        if self.dependencies.directory.remove(connection) {
            self.dependencies.presence.disconnected(connection.user_id);
        }
    }
}
