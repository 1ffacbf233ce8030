//! The private PostgreSQL's files: the lock, the data, the socket, the log, and the settings it
//! runs with.
//!
//! In the data directory: `lock` (held while an owner runs), `postgres/` (the data),
//! `postgres.log`, `run/` (the socket). The data is made beside its place and moved there when it
//! is complete. A start that was killed in the middle is simply made again. The path of a socket
//! may have 107 bytes (103 on some systems). Where the data directory is too deep for that, the
//! socket has a directory of its own under `/tmp`, named after the data, which nobody else can
//! enter.

use crate::error::Error;
use crate::install::{Account, Install};
use crate::settings::Settings;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// The port only names the socket's file. Nothing listens on TCP.
const PORT: u16 = 5432;

/// The shortest limit of a socket's path among the systems we run on.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A longer log is emptied.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How much of PostgreSQL's log an error message repeats, in bytes.
const LOG_TAIL_BYTES: u64 = 2_048;

/// Settings that suit many short transactions on a small machine, and keep every promise about
/// durability.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=128MB",
    "max_wal_size=1GB",
    // Many short statements never earn back what compiling them costs.
    "jit=off",
    "random_page_cost=1.1",
    // A new installation grows fast, and plans from when its tables were empty are bad ones.
    "autovacuum_naptime=10s",
    "max_logical_replication_workers=0",
    "max_wal_senders=0",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_line_prefix=%m [%p] ",
    "log_checkpoints=off",
    // Values must not come into the log, neither in a statement nor in the detail of an error:
    // people wrote them.
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "logging_collector=off",
    "log_destination=stderr",
];

/// The files of one private PostgreSQL, and how to run it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) install: Install,
    pub(crate) account: Option<Account>,
    pub(crate) dir: PathBuf,
    pub(crate) socket_dir: PathBuf,
    /// The user that owns everything.
    name: String,
    log: PathBuf,
    max_connections: usize,
}

/// Holds a data directory for this process until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDirLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl DataDirLock {
    /// Takes the directory, or fails with the number of the process that has it.
    pub(crate) fn acquire(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(Error::file(&path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(Error::file(&path))?;
            return Err(Error::InUse {
                data_dir: data_dir.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::file(&path))?;
        Ok(Self(file))
    }
}

/// Makes the data directory where it is missing and returns its absolute path.
pub(crate) fn prepare_data_dir(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source: std::io::Error| Error::DataDir {
        path: path.to_owned(),
        source,
    };
    if !path.exists() {
        fs::create_dir_all(path).map_err(failed)?;
        // Whatever the umask: the account that PostgreSQL runs as must get through; what is secret
        // in it has its own mode.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    path.canonicalize().map_err(failed)
}

impl Cluster {
    /// Determines where everything is, without touching the data.
    pub(crate) fn new(install: Install, data_dir: &Path, settings: &Settings) -> Result<Self, Error> {
        let dir = data_dir.join("postgres");
        let account = Account::choose(&dir)?;
        if let Some(account) = &account {
            account.check_reach(&install.bin_dir)?;
            account.check_reach(data_dir)?;
        }
        let cluster = Self {
            install,
            account,
            socket_dir: socket_dir(data_dir, &settings.name),
            name: settings.name.clone(),
            log: data_dir.join("postgres.log"),
            dir,
            max_connections: settings.max_connections,
        };
        cluster.make_private_dir(&cluster.socket_dir)?;
        Ok(cluster)
    }

    /// Makes the data where there is none yet.
    pub(crate) async fn initialize(&self) -> Result<(), Error> {
        if let Ok(version) = fs::read_to_string(self.dir.join("PG_VERSION")) {
            return self.check_version(version.trim());
        }
        if self.dir.exists() {
            return Err(Error::NoData(self.dir.clone()));
        }
        tracing::info!("Making a database in {}", self.dir.display());
        let fresh = self.dir.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(Error::file(&fresh))?;
        }
        self.make_private_dir(&fresh)?;
        let mut complaint = None;
        for locale in locales(self.install.major) {
            complaint = self.make_data(&fresh, locale).await?;
            if complaint.is_none() {
                break;
            }
        }
        if let Some(complaint) = complaint {
            return Err(Error::Initialize(complaint));
        }
        fs::rename(&fresh, &self.dir).map_err(Error::file(&self.dir))
    }

    /// Makes the data in a locale. Returns the complaint of PostgreSQL if there is one; the
    /// directory is empty then.
    async fn make_data(&self, fresh: &Path, locale: &[&str]) -> Result<Option<String>, Error> {
        let mut command = self.install.command("initdb", self.account.as_ref(), Path::new("/"));
        command
            .arg("--pgdata")
            .arg(fresh)
            .args(["--username", &self.name, "--auth=trust", "--encoding=UTF8"])
            .args(["--data-checksums", "--no-instructions"])
            .args(locale);
        let output = command.output().await.map_err(Error::file(&self.install.bin_dir))?;
        let is_made = output.status.success();
        Ok((!is_made).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    fn check_version(&self, version: &str) -> Result<(), Error> {
        if version == self.install.major.to_string() {
            return Ok(());
        }
        Err(Error::OtherVersion {
            dir: self.dir.clone(),
            version: version.to_owned(),
            bin_dir: self.install.bin_dir.clone(),
            major: self.install.major,
        })
    }

    /// The command that runs PostgreSQL in the foreground, in a process group of its own, so that
    /// Ctrl-C does not reach it.
    pub(crate) fn postgres(&self) -> Result<Command, Error> {
        let log = self.open_log()?;
        let errors = log.try_clone().map_err(Error::file(&self.log))?;
        let mut command = self.install.command("postgres", self.account.as_ref(), &self.dir);
        command
            .arg("-D")
            .arg(&self.dir)
            .arg("-k")
            .arg(&self.socket_dir)
            .args(["-p", &PORT.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("max_connections={}", self.max_connections)]);
        if self.install.major >= 18 {
            // Pages are almost always in memory; worker processes for reading would only be idle.
            command.args(["-c", "io_method=sync"]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0);
        Ok(command)
    }

    /// Where to connect to a database in it.
    pub(crate) fn address(&self, database: &str) -> tokio_postgres::Config {
        let mut address = tokio_postgres::Config::new();
        address
            .host_path(&self.socket_dir)
            .port(PORT)
            .user(&self.name)
            .dbname(database);
        address
    }

    /// The same as a URL.
    pub(crate) fn url(&self, database: &str) -> String {
        let host = self.socket_dir.as_os_str().as_encoded_bytes();
        let host: String = host.iter().map(|byte| escape(*byte)).collect();
        format!("postgres://{}@{host}:{PORT}/{database}", self.name)
    }

    /// The process number and the state that a running PostgreSQL notes for others
    /// (`postmaster.pid`).
    pub(crate) fn read_pid_file(&self) -> Option<(i32, String)> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        Some((pid, lines.nth(6).unwrap_or_default().trim().to_owned()))
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.join("postmaster.pid")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{PORT}"))
    }

    pub(crate) fn socket_lock_file(&self) -> PathBuf {
        self.socket().with_extension(format!("{PORT}.lock"))
    }

    /// How long the log is now; what comes after belongs to the next start.
    pub(crate) fn log_len(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The end of what PostgreSQL has logged since `from`.
    pub(crate) fn log_since(&self, from: u64) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let start = from.max(file.metadata()?.len().saturating_sub(LOG_TAIL_BYTES));
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }

    /// Empties the log when it has grown too long. PostgreSQL appends, so it may keep the file
    /// open.
    pub(crate) fn bound_log(&self) {
        if self.log_len() > LOG_BYTES_MAX
            && let Err(error) = OpenOptions::new()
                .write(true)
                .open(&self.log)
                .and_then(|file| file.set_len(0))
        {
            tracing::warn!("{} cannot be shortened: {error}", self.log.display());
        }
    }

    fn open_log(&self) -> Result<File, Error> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log);
        file.map_err(Error::file(&self.log))
    }

    /// Makes a directory that only PostgreSQL's account can enter; refuses one that someone else
    /// has put there.
    fn make_private_dir(&self, path: &Path) -> Result<(), Error> {
        let owner = self
            .account
            .as_ref()
            .map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                let group = self.account.as_ref().map(|account| account.gid);
                std::os::unix::fs::chown(path, Some(owner), group).map_err(Error::file(path))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let metadata = path.symlink_metadata().map_err(Error::file(path))?;
                if metadata.is_dir() && metadata.uid() == owner && metadata.mode() & 0o077 == 0 {
                    return Ok(());
                }
                Err(Error::NotPrivate(path.to_owned()))
            }
            Err(error) => Err(Error::file(path)(error)),
        }
    }
}

/// A directory for the socket whose path is short enough, the same at each start.
fn socket_dir(data_dir: &Path, name: &str) -> PathBuf {
    let near = data_dir.join("run");
    if near.as_os_str().len() + "/.s.PGSQL.5432.lock".len() <= SOCKET_PATH_BYTES_MAX {
        return near;
    }
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(data_dir);
    PathBuf::from(format!("/tmp/{name}-{hash:016x}"))
}

/// Escapes what a path may hold and a host may not.
fn escape(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The locales of new data, the best first; the next is for systems that do not have it. All
/// compare by code point. Search folds case by the character types of the locale, which for C end
/// with ASCII; from 18 on by the built-in provider.
const fn locales(major: u32) -> &'static [&'static [&'static str]] {
    const BUILTIN: &str = "--locale-provider=builtin";
    const C_UTF8: &str = "--builtin-locale=C.UTF-8";
    match major {
        18.. => &[&["--locale=C", BUILTIN, C_UTF8]],
        17 => &[
            &["--locale=C", BUILTIN, C_UTF8, "--lc-ctype=C.UTF-8"],
            &["--locale=C", BUILTIN, C_UTF8],
        ],
        _ => &[&["--locale=C", "--lc-ctype=C.UTF-8"], &["--locale=C"]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_socket_is_always_short() {
        assert_eq!(socket_dir(Path::new("/srv/chat"), "chat"), Path::new("/srv/chat/run"));
        let deep = PathBuf::from(format!("/{}", "deep/".repeat(30)));
        let dir = socket_dir(&deep, "chat");
        assert!(dir.starts_with("/tmp") && dir.as_os_str().len() < 60);
        assert_eq!(dir, socket_dir(&deep, "chat"), "the next start must find it again");
        assert_ne!(dir, socket_dir(&deep.join("other"), "chat"));
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds() {
        let dir = std::env::temp_dir().join(format!("embedded-postgres-lock-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let held = DataDirLock::acquire(&dir).unwrap();
        let refusal = DataDirLock::acquire(&dir).unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("process {}", std::process::id())),
            "{refusal}"
        );
        drop(held);
        drop(DataDirLock::acquire(&dir).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }
}
