//! What the owner of a private PostgreSQL decides.

use std::path::PathBuf;
use std::time::Duration;

/// Where the private PostgreSQL lives, which programs it runs, and how many connections it takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the database and of the user that owns it; ASCII letters, digits and
    /// underscores. It also begins the name of the socket's directory under `/tmp`, where
    /// `data_dir` is too deep for a socket.
    pub name: String,
    /// Holds the data, the log, the lock and the socket. It is made when it is missing.
    pub data_dir: PathBuf,
    /// The directory of PostgreSQL's programs. Without one they are searched for.
    pub bin_dir: Option<PathBuf>,
    /// Where they are searched for first; after that `pg_config` is asked.
    pub bin_dir_candidates: Vec<PathBuf>,
    /// PostgreSQL's `max_connections`, its own three included.
    pub max_connections: usize,
    /// How long one attempt to connect may take while the database is made.
    pub connect_timeout: Duration,
}
