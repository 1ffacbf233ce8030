//! The real program in a process of its own, with its private PostgreSQL, so that it can be killed.

use super::client::Site;
use super::{PATIENCE, TempDir};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server process. Its data and port outlive a kill and a restart.
pub struct ServerProcess {
    site: Site,
    child: Child,
    environment: Vec<(String, String)>,
    files_max: Option<u32>,
    data: TempDir,
}

impl Deref for ServerProcess {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl ServerProcess {
    /// Starts one with new data and returns when it serves.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        Self::try_start(environment).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts one with new data; an error is what it complained about.
    pub fn try_start(environment: &[(&str, &str)]) -> Result<Self, String> {
        Self::try_start_within(None, environment)
    }

    /// The same, with a limit on its open files that it cannot raise.
    pub fn try_start_within(files_max: Option<u32>, environment: &[(&str, &str)]) -> Result<Self, String> {
        let environment: Vec<_> = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let data = TempDir::new("server");
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (child, address) = spawn(&data, bind, files_max, &environment)?;
        Ok(Self {
            site: Site::new(address),
            child,
            environment,
            files_max,
            data,
        })
    }

    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("server.log")).unwrap_or_default()
    }

    /// The address of its private PostgreSQL, for a look past the server.
    pub fn database_url(&self) -> String {
        let directory = self.data_dir().join("run").to_string_lossy().replace('/', "%2F");
        format!("postgres://parlance@{directory}:5432/parlance")
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The main process of its PostgreSQL, if one runs.
    pub fn postgres_pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data_dir().join("postgres/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        test_kill_process(pid).is_ok().then_some(pid)
    }

    /// `kill -9`. Its PostgreSQL goes on.
    pub fn kill_9(&mut self) {
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// `kill -9` of PostgreSQL's main process, which also ends the others.
    pub fn kill_9_postgres(&self) {
        if let Some(pid) = self.postgres_pid() {
            // It may just have ended by itself.
            let _: Result<(), _> = kill_process(pid, Signal::KILL);
        }
    }

    /// Starts it again, after its end, on the same data and port; returns when it serves.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Starts it again with more in its environment, for this life only.
    pub fn restart_with(&mut self, more: &[(&str, &str)]) {
        let mut environment = self.environment.clone();
        environment.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let (child, address) = spawn(&self.data, self.site.address, self.files_max, &environment)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(address, self.site.address);
        self.child = child;
    }

    /// Starts a second server on the same data, another port; answers what it complained about.
    pub fn second_server(&self) -> Result<(), String> {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (mut child, _) = spawn(&self.data, bind, self.files_max, &self.environment)?;
        child.kill().unwrap();
        child.wait().unwrap();
        Ok(())
    }

    /// Sends SIGTERM.
    pub fn begin_stop(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the server did not end within {patience:?}: {}",
                self.log()
            );
            nap(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and asserts an orderly end that leaves no PostgreSQL behind.
    pub fn terminate(mut self) {
        self.begin_stop();
        let status = self.wait(Duration::from_secs(30));
        assert!(status.success(), "{status}: {}", self.log());
        assert_eq!(self.postgres_pid(), None, "PostgreSQL was left running");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "--- the end of the server's log\n{}",
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
        if let Some(mut kept) = super::kept_log() {
            // A test that has failed says so itself.
            let _: Result<(), _> = kept.write_all(self.log().as_bytes());
        }
        // Whatever has ended already is fine.
        let _: Result<(), _> = self.child.kill();
        let _: Result<_, _> = self.child.wait();
        if let Some(pid) = self.postgres_pid() {
            let _: Result<(), _> = kill_process(pid, Signal::QUIT);
            let deadline = Instant::now() + PATIENCE;
            while test_kill_process(pid).is_ok() && Instant::now() < deadline {
                nap(Duration::from_millis(10));
            }
        }
    }
}

/// Starts the program and waits for the line with its address; an error is what it said at its end.
fn spawn(
    data: &TempDir,
    bind: SocketAddr,
    files_max: Option<u32>,
    environment: &[(String, String)],
) -> Result<(Child, SocketAddr), String> {
    let log_path = data.path().join("server.log");
    let log = File::options().create(true).append(true).open(&log_path).unwrap();
    let program = env!("CARGO_BIN_EXE_parlance");
    let mut command = Command::new(if files_max.is_some() { "sh" } else { program });
    if let Some(files) = files_max {
        command.args([
            "-c",
            "ulimit -n \"$1\" && exec \"$0\" serve",
            program,
            &files.to_string(),
        ]);
    } else {
        command.arg("serve");
    }
    let mut child = command
        .env_remove("DATABASE_URL")
        .env("BIND", bind.to_string())
        .env("DATA_DIR", data.path().join("data"))
        // All people of a test are at one address and in a hurry.
        .env("RATE_LIMIT_ENABLED", "false")
        .env("PARLANCE_CONNECTIONS_PER_ADDRESS", "100000")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let Some(address) = line.trim().strip_prefix("Parlance is at http://") else {
        let status = child.wait().unwrap();
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        return Err(format!(
            "{status}: {}",
            log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
        ));
    };
    Ok((child, address.parse().unwrap()))
}

/// Lets time pass where there is no runtime: between two kills, and between looks at another process.
#[allow(clippy::disallowed_methods, reason = "the thread is the test's own")]
pub fn nap(duration: Duration) {
    std::thread::sleep(duration);
}
