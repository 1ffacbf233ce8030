//! PostgreSQL servers of a test's own: a primary and its streaming replica, open to every fault.
//!
//! The programs are those of `POSTGRES_BIN_DIR`, or what `scripts/postgres.sh` has put into `.dev`. Where the tests run as
//! root, the servers run as an unprivileged account, as they insist. They listen on Unix sockets in a directory of the
//! test, keep nothing safe (`fsync` is off), and end with it.

use super::{PATIENCE, TempDir, db, environment, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Who owns everything.
const USER: &str = "parlance";

/// A PostgreSQL server.
pub struct TestPostgres {
    child: Option<Child>,
    data: PathBuf,
    port: u16,
    directory: Arc<TempDir>,
}

impl TestPostgres {
    /// Makes a primary and starts it.
    pub async fn primary() -> Self {
        let directory = Arc::new(TempDir::new("pg"));
        if let Some((uid, gid)) = account() {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = directory.path().join("primary");
        let options = [
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ];
        run(program("initdb")
            .args(["--username", USER])
            .args(options)
            .arg("--pgdata")
            .arg(&data));
        Self::start(data, 5432, directory).await
    }

    /// Makes a streaming replica and starts it.
    pub async fn replica(&self) -> Self {
        let data = self.directory.path().join("replica");
        run(program("pg_basebackup")
            .args([
                "--username",
                USER,
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--port",
            ])
            .arg(self.port.to_string())
            .arg("--host")
            .arg(self.directory.path())
            .arg("--pgdata")
            .arg(&data));
        Self::start(data, self.port + 1, self.directory.clone()).await
    }

    async fn start(data: PathBuf, port: u16, directory: Arc<TempDir>) -> Self {
        let mut server = Self {
            child: None,
            data,
            port,
            directory,
        };
        server.restart().await;
        server
    }

    /// Starts it, again after a kill; returns when it answers.
    pub async fn restart(&mut self) {
        self.kill_9();
        // Left over from a kill; PostgreSQL looks whether the process it names is still there, and may find another's.
        let _: Result<(), _> = fs::remove_file(self.data.join("postmaster.pid"));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("{}.log", self.port)))
            .unwrap();
        let child = program("postgres")
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "wal_level=replica"])
            .args(["-c", "max_connections=60", "-c", "shared_buffers=32MB"])
            .args([
                "-c",
                "wal_receiver_status_interval=1s",
                "-c",
                "wal_retrieve_retry_interval=200ms",
            ])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let url = self.url("postgres");
        eventually("PostgreSQL answers", async || {
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok()
        })
        .await;
    }

    /// The address of a database on it.
    pub fn url(&self, database: &str) -> String {
        let host = self.directory.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://{USER}@{host}:{}/{database}", self.port)
    }

    /// Tells it to do something.
    pub async fn execute(&self, sql: &str) {
        let client = db::connect(&self.url("postgres")).await;
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Whether it follows a primary.
    pub async fn is_replica(&self) -> bool {
        let client = db::connect(&self.url("postgres")).await;
        client
            .query_one("SELECT pg_is_in_recovery()", &[])
            .await
            .unwrap()
            .get(0)
    }

    /// `kill -9` of all its processes; the address stays.
    pub fn kill_9(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        for pid in processes(&child) {
            // Some have followed their parent already.
            let _: Result<(), _> = kill_process(pid, Signal::KILL);
        }
        child.wait().unwrap();
    }

    /// Stops all its processes in their tracks: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for pid in processes(self.child.as_ref().expect("PostgreSQL runs")) {
            // One may just have ended.
            let _: Result<(), _> = kill_process(pid, signal);
        }
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// The main process, and its children after it: stopped first, it makes no more of them.
fn processes(child: &Child) -> Vec<Pid> {
    let parent = Pid::from_child(child);
    let of_parent = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name may hold anything but ends with the last bracket; the state and the parent follow.
        let its_parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (its_parent == parent.as_raw_nonzero().get()).then(|| Pid::from_raw(pid))?
    };
    let children = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of_parent(entry.ok()?));
    std::iter::once(parent).chain(children).collect()
}

/// A program of PostgreSQL, to be run as somebody who may.
fn program(name: &str) -> Command {
    let bin = environment("POSTGRES_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".dev/postgres/bin"),
        PathBuf::from,
    );
    // Through the link, as the way over the checkout may be closed to the account.
    let bin = bin
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; `scripts/postgres.sh` fetches a PostgreSQL", bin.display()));
    let mut command = Command::new(bin.join(name));
    command.current_dir("/").stdin(Stdio::null());
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The account that PostgreSQL runs as where we are root.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((fields.next()?, fields.next()?))
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("an account for PostgreSQL"),
    )
}

/// Waits until a replica has replayed what its primary has written.
pub async fn catch_up(primary: &TestPostgres, replica: &TestPostgres) {
    let (here, there) = (
        db::connect(&primary.url("postgres")).await,
        db::connect(&replica.url("postgres")).await,
    );
    let written: String = here
        .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
        .await
        .unwrap()
        .get(0);
    eventually(
        &format!("the replica has replayed everything, within {PATIENCE:?}"),
        async || {
            let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
            there.query_one(sql, &[&written]).await.unwrap().get(0)
        },
    )
    .await;
}
