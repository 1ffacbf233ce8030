//! Telling a living PostgreSQL from what a dead one left behind.
//!
//! A process number alone says little. The process may have ended without its parent having
//! noticed, or the number may belong to another program by now. PostgreSQL works in its data
//! directory, so the working directory tells them apart. Where that cannot be seen (another system
//! than Linux, or no right to), a process counts as living.

use crate::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A process that is, or was, the main process of a cluster.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    cluster_dir: PathBuf,
    socket: PathBuf,
}

impl Process {
    pub(crate) fn new(pid: Pid, cluster: &Cluster) -> Self {
        Self {
            pid,
            cluster_dir: cluster.dir.clone(),
            socket: cluster.socket(),
        }
    }

    /// The one that the cluster's `postmaster.pid` names, if it still lives.
    pub(crate) fn find(cluster: &Cluster) -> Option<Self> {
        let (number, _) = cluster.read_pid_file()?;
        let process = Self::new(Pid::from_raw(number)?, cluster);
        process.lives().then_some(process)
    }

    pub(crate) fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it lives and is still this PostgreSQL.
    pub(crate) fn lives(&self) -> bool {
        if test_kill_process(self.pid).is_err() {
            return false;
        }
        match working_dir(self.number()) {
            Ok(dir) => dir == self.cluster_dir,
            // Not to be seen (no procfs, or no right to): then whether someone listens decides.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied || !Path::new("/proc/self").exists() => {
                UnixStream::connect(&self.socket).is_ok()
            }
            Err(_) => false,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.lives()
            && let Err(error) = kill_process(self.pid, signal)
        {
            tracing::warn!("PostgreSQL (process {}) could not be signalled: {error}", self.number());
        }
    }
}

fn working_dir(number: i32) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{number}/cwd"))
}

/// Removes the lock files of a dead PostgreSQL, but only where it is certain that no process works
/// in the data directory.
///
/// After a restart of the machine, say, its number may belong to another program of the same
/// account. Or it is still listed, because its parent has not collected it. PostgreSQL would take
/// either for one that runs, and refuse to start.
pub(crate) fn remove_stale_lock_files(cluster: &Cluster) {
    for path in [cluster.pid_file(), cluster.socket_lock_file()] {
        let Some(number) = read_number(&path) else { continue };
        let another = working_dir(number).is_ok_and(|dir| dir != cluster.dir);
        if (another || has_ended(number)) && !anyone_works_in(&cluster.dir) {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::debug!("Removed the stale {}", path.display()),
                Err(error) => tracing::warn!("{}: {error}", path.display()),
            }
        }
    }
}

/// The process number that begins a lock file.
fn read_number(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether a process has ended and is only waiting for its parent to notice.
fn has_ended(number: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold some itself.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether any process of the directory's owner works in it. Where that cannot be seen for sure, it
/// counts as yes.
fn anyone_works_in(dir: &Path) -> bool {
    let (Ok(owner), Ok(entries)) = (
        dir.metadata().map(|metadata| metadata.uid()),
        std::fs::read_dir("/proc"),
    ) else {
        return true;
    };
    let theirs = entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == owner));
    let mut numbers = theirs.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.any(|number| match working_dir(number) {
        Ok(found) => found == dir,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    })
}
