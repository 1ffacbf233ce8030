//! What tests are written with: servers to speak to, people who speak, databases, and faults to put in between.
//!
//! Helpers own the verbs and fail loudly: what a test does not ask about must work. Every wait has an end
//! ([`PATIENCE`]), and waits are for events ([`eventually`]), for a quiet that must
//! last ([`stays`]), or for a time that the server itself has named ([`wait_out`]).

#![allow(
    dead_code,
    unused_imports,
    reason = "a toolbox: not every tool is in use all the time"
)]

pub mod app;
pub mod chaos;
pub mod client;
pub mod db;
pub mod nginx;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod redis;
pub mod redis_cluster;
pub mod scrape;
pub mod socket;
pub mod tls;

pub use app::TestApp;
pub use client::{Answer, Person, RawSocket, Site, Socket};
pub use nginx::Nginx;
pub use process::ServerProcess;
pub use scrape::Scrape;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Long, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Asks again and again until the answer is yes; for state that tells nobody when it changes.
pub async fn eventually(what: &str, check: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, what, check).await;
}

/// The same, for what takes its time.
pub async fn eventually_within(patience: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !check().await {
        assert!(Instant::now() < deadline, "did not happen within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits before something that failed is tried again, as clients do.
pub async fn back_off() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Asserts that something stays true for a time: the quiet in which a fault would show.
pub async fn stays(what: &str, time: Duration, mut check: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + time;
    loop {
        assert!(check().await, "did not stay so for {time:?}: {what}");
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for a time that the server has named or was configured with (a `Retry-After`, a window, a lifetime), where
/// the test is about what holds after it.
pub async fn wait_out(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The rhythm of what the test itself plays: how fast a client types, reads or asks again, and when a fault strikes.
/// Never how long the server is given for something: that is [`eventually`] or [`stays`].
pub async fn pace(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What whoever runs the tests wants.
#[allow(clippy::disallowed_methods, reason = "settings of tests are not the server's")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where this process adds to the log of the whole suite, if that is kept: `scripts/test.sh` searches it for secrets.
pub fn kept_log() -> Option<std::fs::File> {
    let path = PathBuf::from(environment("TEST_LOG_DIR")?).join(format!("{}.log", std::process::id()));
    Some(std::fs::File::options().create(true).append(true).open(path).unwrap())
}

/// A directory that is removed again.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("parlance-{name}-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).unwrap();
        // Where the tests run as root, PostgreSQL runs as another account, which has to get in.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _: Result<(), _> = std::fs::remove_dir_all(&self.0);
    }
}
