//! Why a private PostgreSQL does not run. Each message is a line for the operator; the variants let
//! the owner add which of its own settings would help.

use std::path::{Path, PathBuf};

/// A private PostgreSQL could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be made or read.
    #[error("{} is not usable: {source}", path.display())]
    DataDir {
        /// The data directory as it was given.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process holds the data directory.
    #[error("{} is in use by another server, process {holder}", data_dir.display())]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// The process number that the holder has left in the lock file.
        holder: String,
    },
    /// The given directory of programs has none.
    #[error("there are no postgres and initdb in {}", _0.display())]
    NoPrograms(PathBuf),
    /// No programs were given and none were found.
    #[error("no PostgreSQL found")]
    NotFound,
    /// The programs cannot be run, or say nothing sensible.
    #[error("{} does not work: {reason}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system or the program says.
        reason: String,
    },
    /// The programs are too old.
    #[error("the PostgreSQL in {} is version {major}; {major_min} or newer is needed", bin_dir.display())]
    TooOld {
        /// The directory of the programs.
        bin_dir: PathBuf,
        /// Their version.
        major: u32,
        /// The oldest version that serves.
        major_min: u32,
    },
    /// This process is root, and there is no account to run PostgreSQL as.
    #[error(
        "PostgreSQL does not run as root, and there is no account to run it as; make one: useradd --system \
         --no-create-home --shell /usr/sbin/nologin parlance-postgres"
    )]
    NoAccount,
    /// This process is root, and the account that PostgreSQL runs as cannot get to a path.
    #[error(
        "PostgreSQL does not run as root, and the account it runs as, {account}, cannot reach {} because of the \
         permissions of {}",
        path.display(),
        barrier.display()
    )]
    OutOfReach {
        /// The name of the account.
        account: String,
        /// What it has to reach.
        path: PathBuf,
        /// The directory in the way.
        barrier: PathBuf,
    },
    /// There is something else where the data should be.
    #[error("{} is there but holds no PostgreSQL data", _0.display())]
    NoData(PathBuf),
    /// The data is of another version than the programs.
    #[error(
        "the data in {} was written by PostgreSQL {version}, but the programs in {} are version {major}",
        dir.display(),
        bin_dir.display()
    )]
    OtherVersion {
        /// Where the data is.
        dir: PathBuf,
        /// The version that wrote it.
        version: String,
        /// The directory of the programs.
        bin_dir: PathBuf,
        /// The version of the programs.
        major: u32,
    },
    /// A file or directory beside the data could not be made, read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A directory of PostgreSQL's account alone is not that.
    #[error("{} must be a directory of PostgreSQL's account alone", _0.display())]
    NotPrivate(PathBuf),
    /// The data could not be made.
    #[error("the database could not be made: {0}")]
    Initialize(String),
    /// PostgreSQL did not start, or does not respond.
    #[error("{0}")]
    Start(String),
    /// The running server refused or did not respond while the database was made.
    #[error(
        "the private PostgreSQL runs, but the database could not be made: {}",
        with_cause(_0)
    )]
    Connect(#[from] tokio_postgres::Error),
    /// The running server did not take a connection in time.
    #[error("no connection to the private PostgreSQL within {0:?}")]
    ConnectTimeout(std::time::Duration),
}

impl Error {
    /// For `map_err`: names the file that something failed with.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// The driver's own text leaves out what PostgreSQL or the system says.
fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
