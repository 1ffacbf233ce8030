//! The life of the private server.
//!
//! A start takes the lock on the data directory; a second owner is refused with the number of the
//! first. Then it finds the programs and makes the data if there is none. It takes over a
//! PostgreSQL that a killed owner left behind, or starts one, and from then on watches it. When
//! PostgreSQL dies, it is started again at once, then with growing pauses up to
//! [`RESTART_PAUSE_MAX`]; connections fail meanwhile. `kill -9` of the owner loses nothing:
//! PostgreSQL goes on and commits or rolls back by itself.
//!
//! PostgreSQL listens on a Unix socket in a directory that only its account may enter. That is also
//! its access control.
//!
//! Not chosen: a database inside the process, which speaks another SQL than the one that runs at
//! scale; `pg_ctl`, which puts a shell and a second program between us and the process that is
//! watched.

use crate::cluster::{self, Cluster, DataDirLock};
use crate::error::Error;
use crate::install::Install;
use crate::postmaster::Postmaster;
use crate::settings::Settings;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

/// Pauses between attempts to start a PostgreSQL that died and does not come back.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often the length of PostgreSQL's log is checked.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A private PostgreSQL that runs and is watched. Dropping it makes PostgreSQL end;
/// [`EmbeddedPostgres::stop`] also waits.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    address: tokio_postgres::Config,
    url: String,
    stop: oneshot::Sender<()>,
    watchdog: JoinHandle<()>,
}

impl EmbeddedPostgres {
    /// Starts it, or takes over the one that still runs; returns when its database is there. The
    /// task that watches it runs on the runtime that calls this.
    ///
    /// # Errors
    /// [`Error`], a line for the operator.
    pub async fn start(settings: &Settings) -> Result<Self, Error> {
        let data_dir = cluster::prepare_data_dir(&settings.data_dir)?;
        let lock = DataDirLock::acquire(&data_dir)?;
        let install = Install::find(settings).await?;
        let cluster = Cluster::new(install, &data_dir, settings)?;
        cluster.initialize().await?;
        let postmaster = Postmaster::obtain(&cluster).await?;
        make_database(&cluster, settings).await?;
        tracing::info!(
            "The private PostgreSQL runs, process {}; look into it with: psql -h {} -U {2} {2}",
            postmaster.number(),
            cluster.socket_dir.display(),
            settings.name
        );
        let (address, url) = (cluster.address(&settings.name), cluster.url(&settings.name));
        let (stop, stopped) = oneshot::channel();
        let watchdog = tokio::spawn(watch(cluster, postmaster, lock, stopped));
        Ok(Self {
            address,
            url,
            stop,
            watchdog,
        })
    }

    /// The address of its database.
    #[must_use]
    pub fn address(&self) -> &tokio_postgres::Config {
        &self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it and returns when it has ended.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.watchdog.await {
            tracing::error!("The watchdog of the private PostgreSQL failed: {error}");
        }
    }
}

/// Makes the database unless it is there.
async fn make_database(cluster: &Cluster, settings: &Settings) -> Result<(), Error> {
    match connect(cluster, &settings.name, settings.connect_timeout).await {
        Ok(_) => return Ok(()),
        Err(Error::Connect(error)) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {}
        Err(error) => return Err(error),
    }
    let client = connect(cluster, "postgres", settings.connect_timeout).await?;
    Ok(client
        .batch_execute(&format!("CREATE DATABASE {}", settings.name))
        .await?)
}

/// Opens a connection that ends with its client.
async fn connect(cluster: &Cluster, database: &str, patience: Duration) -> Result<tokio_postgres::Client, Error> {
    let address = cluster.address(database);
    match tokio::time::timeout(patience, address.connect(NoTls)).await {
        Ok(Ok((client, connection))) => {
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!("A connection to the private PostgreSQL was lost: {error}");
                }
            });
            Ok(client)
        }
        Ok(Err(error)) => Err(Error::Connect(error)),
        Err(_) => Err(Error::ConnectTimeout(patience)),
    }
}

/// Keeps PostgreSQL running until the owner stops or drops it. Holds the lock on the data until
/// PostgreSQL has ended.
async fn watch(cluster: Cluster, mut postmaster: Postmaster, lock: DataDirLock, mut stop: oneshot::Receiver<()>) {
    let mut log_check = tokio::time::interval(LOG_INTERVAL);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = log_check.tick() => cluster.bound_log(),
            () = postmaster.wait() => {
                tracing::error!("The private PostgreSQL died; starting it again");
                tokio::select! {
                    _ = &mut stop => return,
                    started = start_again(&cluster) => postmaster = started,
                }
                tracing::info!("The private PostgreSQL runs again, process {}", postmaster.number());
            }
        }
    }
    postmaster.shut_down().await;
    drop(lock);
}

async fn start_again(cluster: &Cluster) -> Postmaster {
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        match Postmaster::obtain(cluster).await {
            Ok(postmaster) => return postmaster,
            Err(error) => tracing::error!("The private PostgreSQL did not start: {error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
    }
}
