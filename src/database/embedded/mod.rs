//! The private PostgreSQL that serves when there is no `DATABASE_URL`: it starts and stops with the server.
//!
//! Owned by [`Database`](super::Database), used by nobody else. Its life: take the lock on `DATA_DIR` (a second server is
//! refused and told who holds it), find the binaries, make the data if there is none, take over a PostgreSQL that a
//! killed server left behind or start one, and from then on watch it: when it dies it is started again at once, then
//! with growing pauses up to [`RESTART_PAUSE_MAX`]; meanwhile callers of the database get errors they may retry.
//! `kill -9` of this process loses nothing, because PostgreSQL goes on and commits or rolls back by itself.
//! It listens on a Unix socket in a directory that only its account may enter, which is also its access control.
//! The losers: a database inside the process (another SQL than the one that runs at scale) and starting it through
//! `pg_ctl` (a shell and a second program between us and the process we watch).

use super::Error;
use crate::config::Config;
use cluster::{Cluster, DataDirLock, PORT, USER};
use install::Install;
use postmaster::Postmaster;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

mod cluster;
mod install;
mod postmaster;
mod process;

/// The database in it.
const DATABASE: &str = "parlance";

/// Pauses between attempts to start a PostgreSQL that died and does not come back.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often the length of PostgreSQL's log is looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A private PostgreSQL that runs and is watched. Dropping it asks it to end; [`Embedded::stop`] also waits.
#[derive(Debug)]
pub(super) struct Embedded {
    address: tokio_postgres::Config,
    socket_dir: PathBuf,
    stop: oneshot::Sender<()>,
    watchdog: JoinHandle<()>,
}

impl Embedded {
    /// Starts it, or takes over the one that still runs.
    pub(super) async fn start(config: &Config) -> Result<Self, Error> {
        let data_dir = cluster::prepare_data_dir(&config.data_dir)?;
        let lock = DataDirLock::acquire(&data_dir)?;
        let install = Install::find(&config.database).await?;
        let cluster = Cluster::new(install, &data_dir, config)?;
        cluster.initialize().await?;
        let postmaster = Postmaster::obtain(&cluster).await?;
        let mut address = tokio_postgres::Config::new();
        address
            .host_path(&cluster.socket_dir)
            .port(PORT)
            .user(USER)
            .dbname(DATABASE);
        make_database(&address, config.database.connect_timeout).await?;
        tracing::info!(
            "The private PostgreSQL runs, process {}; look into it with: psql -h {} -U {USER} {DATABASE}",
            postmaster.number(),
            cluster.socket_dir.display()
        );
        let socket_dir = cluster.socket_dir.clone();
        let (stop, stopped) = oneshot::channel();
        let watchdog = tokio::spawn(watch(cluster, postmaster, lock, stopped));
        Ok(Self {
            socket_dir,
            address,
            stop,
            watchdog,
        })
    }

    /// Where to connect.
    pub(super) fn address(&self) -> &tokio_postgres::Config {
        &self.address
    }

    /// Where to connect, as a `DATABASE_URL`.
    pub(super) fn url(&self) -> String {
        // Only what a path may hold and a host may not needs escaping.
        let host: String = self
            .socket_dir
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .map(|byte| escape(*byte))
            .collect();
        format!("postgres://{USER}@{host}:{PORT}/{DATABASE}")
    }

    /// Ends it and returns when it has ended.
    pub(super) async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.watchdog.await {
            tracing::error!("The watchdog of the private PostgreSQL failed: {error}");
        }
    }
}

fn escape(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// Makes the database unless it is there.
async fn make_database(address: &tokio_postgres::Config, connect_timeout: Duration) -> Result<(), Error> {
    match super::connect::connect(address, connect_timeout).await {
        Ok(_) => return Ok(()),
        Err(error) if error.sql_state() == Some(&SqlState::UNDEFINED_DATABASE) => {}
        Err(error) => return Err(error),
    }
    let mut maintenance = address.clone();
    maintenance.dbname("postgres");
    let client = super::connect::connect(&maintenance, connect_timeout).await?;
    Ok(client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?)
}

/// Keeps PostgreSQL running until told to stop, or until the server drops its end. Holds the lock on the data until
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
