//! The main process of the private PostgreSQL: starting it, taking over one that still runs, ending
//! it.
//!
//! Two cases look alike and are not. After a `kill -9` of the owner, PostgreSQL runs on without a
//! parent. It is taken over as it is, and watched by checking whether it still lives. After a `kill
//! -9` of PostgreSQL, its processes may live a moment longer and hold its shared memory. PostgreSQL
//! itself refuses to start beside them, which protects the data. So the start is tried again until
//! they are gone. `postmaster.pid` is never removed while any process works in the data directory.
//! Every wait here has an end.

use crate::cluster::Cluster;
use crate::error::Error;
use crate::process::{Process, remove_stale_lock_files};
use rustix::process::{Pid, Signal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

/// How often it is checked whether a start is complete.
const START_INTERVAL: Duration = Duration::from_millis(5);

/// How often it is checked whether a process that is not our child lives.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// How long a start may take; recovery after a crash reads at most `max_wal_size`, which takes
/// seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an orderly end may take, and then an immediate one.
const FAST_SHUTDOWN: Duration = Duration::from_secs(15);
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(5);

/// The main process of a running PostgreSQL. Dropping it makes it end, without waiting.
#[derive(Debug)]
pub(crate) struct Postmaster {
    process: Process,
    /// `None` where it was taken over from an owner that died.
    child: Option<Child>,
    ended: bool,
}

/// Why a PostgreSQL cannot be used.
enum StartFailure {
    /// It ended, or another one's remains are in the way; starting again may help.
    Ended,
    /// Starting again would not help.
    Failed(String),
}

impl Postmaster {
    /// Takes over the PostgreSQL that runs in the cluster, or starts one; returns when it accepts
    /// connections.
    pub(crate) async fn obtain(cluster: &Cluster) -> Result<Self, Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let outcome = match Process::find(cluster) {
                Some(process) => {
                    Self {
                        process,
                        child: None,
                        ended: false,
                    }
                    .take_over(cluster, deadline)
                    .await
                }
                None => {
                    remove_stale_lock_files(cluster);
                    let log_start = cluster.log_len();
                    Self::spawn(cluster)?.become_ready(cluster, deadline, log_start).await
                }
            };
            match outcome {
                Ok(running) => return Ok(running),
                Err(StartFailure::Ended) if Instant::now() < deadline => sleep(START_INTERVAL * 10).await,
                Err(StartFailure::Ended) => return Err(Error::Start("PostgreSQL does not stay up".to_owned())),
                Err(StartFailure::Failed(reason)) => return Err(Error::Start(reason)),
            }
        }
    }

    async fn take_over(mut self, cluster: &Cluster, deadline: Instant) -> Result<Self, StartFailure> {
        tracing::info!(
            "Taking over the PostgreSQL that a server left running, process {}",
            self.process.number()
        );
        while Instant::now() < deadline {
            if !self.process.lives() {
                self.ended = true;
                return Err(StartFailure::Ended);
            }
            if accepts_connections(cluster).await {
                return Ok(self);
            }
            sleep(START_INTERVAL * 4).await;
        }
        Err(StartFailure::Failed(format!(
            "a PostgreSQL (process {}) runs in {} but does not respond; end it and start again",
            self.process.number(),
            cluster.dir.display()
        )))
    }

    fn spawn(cluster: &Cluster) -> Result<Self, Error> {
        let failed = |reason: &str| Error::Start(format!("PostgreSQL could not be started: {reason}"));
        let child = cluster
            .postgres()?
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .ok_or_else(|| failed("it ended"))?;
        Ok(Self {
            process: Process::new(pid, cluster),
            child: Some(child),
            ended: false,
        })
    }

    async fn become_ready(
        mut self,
        cluster: &Cluster,
        deadline: Instant,
        log_start: u64,
    ) -> Result<Self, StartFailure> {
        let number = self.process.number();
        while Instant::now() < deadline {
            if let Some(end) = self.take_end() {
                // Killed from outside, it says nothing about itself, and another try may go better.
                let killed = end.is_some_and(|status| status.signal().is_some());
                return Err(if killed {
                    StartFailure::Ended
                } else {
                    explain(&cluster.log_since(log_start))
                });
            }
            // Asking before it is ready would cost it a process each time.
            if cluster
                .read_pid_file()
                .is_some_and(|(pid, state)| pid == number && state == "ready")
                && accepts_connections(cluster).await
            {
                return Ok(self);
            }
            sleep(START_INTERVAL).await;
        }
        Err(StartFailure::Failed(format!(
            "PostgreSQL was not ready within {START_TIMEOUT:?}: {}",
            cluster.log_since(log_start)
        )))
    }

    /// Whether our child has ended, and how as far as it can be known.
    fn take_end(&mut self) -> Option<Option<ExitStatus>> {
        let end = match self.child.as_mut()?.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => Some(status),
            Err(_) => None,
        };
        self.ended = true;
        Some(end)
    }

    pub(crate) fn number(&self) -> i32 {
        self.process.number()
    }

    /// Returns when it has ended.
    pub(crate) async fn wait(&mut self) {
        match &mut self.child {
            Some(child) => {
                if let Err(error) = child.wait().await {
                    tracing::error!("Waiting for PostgreSQL failed: {error}");
                }
            }
            None => {
                while self.process.lives() {
                    sleep(WATCH_INTERVAL).await;
                }
            }
        }
        self.ended = true;
    }

    /// Ends it: orderly, so that the next start has nothing to recover; at once if that takes too
    /// long.
    pub(crate) async fn shut_down(mut self) {
        for (signal, patience) in [(Signal::INT, FAST_SHUTDOWN), (Signal::QUIT, IMMEDIATE_SHUTDOWN)] {
            self.process.signal(signal);
            if timeout(patience, self.wait()).await.is_ok() {
                return;
            }
            tracing::warn!("PostgreSQL did not end within {patience:?}");
        }
        // What was committed is on disk all the same. The next start takes the process over.
        self.ended = true;
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if !self.ended {
            self.process.signal(Signal::INT);
        }
    }
}

/// Whether PostgreSQL accepts connections.
async fn accepts_connections(cluster: &Cluster) -> bool {
    match timeout(CONNECT_TIMEOUT, cluster.address("postgres").connect(NoTls)).await {
        Ok(Ok(_)) => true,
        // Starting, ending, or out of connections: the last one lives.
        Ok(Err(error)) => error.code() == Some(&tokio_postgres::error::SqlState::TOO_MANY_CONNECTIONS),
        Err(_) => false,
    }
}

/// Why a start failed, from what PostgreSQL logged.
fn explain(log: &str) -> StartFailure {
    let remains = ["pre-existing shared memory block", "FATAL:  lock file"]
        .iter()
        .any(|text| log.contains(text));
    if remains {
        StartFailure::Ended
    } else {
        StartFailure::Failed(format!("PostgreSQL does not start: {log}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_remains_of_another_are_worth_another_try() {
        assert!(matches!(
            explain("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use"),
            StartFailure::Ended
        ));
        assert!(matches!(
            explain("FATAL:  lock file \"postmaster.pid\" already exists"),
            StartFailure::Ended
        ));
        assert!(matches!(
            explain("FATAL:  could not map anonymous shared memory"),
            StartFailure::Failed(_)
        ));
    }
}
