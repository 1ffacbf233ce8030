//! The real program in a process of its own, with its private PostgreSQL, so that it can be killed.

use super::client::Site;
use super::nginx::free_address;
use super::{PATIENCE, TempDir};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server process. Its data and port outlive a kill and a restart.
pub struct ServerProcess {
    site: Site,
    child: Child,
    environment: Vec<(String, String)>,
    /// What a shell does first that then becomes the server.
    prelude: Option<String>,
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
        Self::try_start_after(files_max.map(|files| format!("ulimit -n {files}")), environment)
    }

    /// The same, by a shell that does something first.
    pub fn try_start_after(prelude: Option<String>, environment: &[(&str, &str)]) -> Result<Self, String> {
        let environment = owned(environment);
        let data = TempDir::new("server");
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut child = command(&data, bind, prelude.as_deref(), &environment).spawn().unwrap();
        let address = address_of(&mut child, &data)?;
        Ok(Self {
            site: Site::new(address),
            child,
            environment,
            prelude,
            data,
        })
    }

    /// Starts one whose standard output and error are these; returns when it serves.
    pub fn start_unheard(stdout: Stdio, stderr: Stdio, environment: &[(&str, &str)]) -> Self {
        let environment = owned(environment);
        let data = TempDir::new("server");
        // It cannot say which one it has taken.
        let bind = free_address();
        let mut command = command(&data, bind, None, &environment);
        let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        let deadline = Instant::now() + 4 * PATIENCE;
        while !serves(bind) {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}");
            }
            assert!(Instant::now() < deadline, "the server does not serve");
            nap(Duration::from_millis(10));
        }
        Self {
            site: Site::new(bind),
            child,
            environment,
            prelude: None,
            data,
        }
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

    /// How much memory it has in use.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1_024
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
        let mut command = command(&self.data, self.site.address, self.prelude.as_deref(), &environment);
        let mut child = command.spawn().unwrap();
        let address = address_of(&mut child, &self.data).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(address, self.site.address);
        self.child = child;
    }

    /// Starts a second server on the same data, another port; answers what it complained about.
    pub fn second_server(&self) -> Result<(), String> {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut child = command(&self.data, bind, self.prelude.as_deref(), &self.environment)
            .spawn()
            .unwrap();
        address_of(&mut child, &self.data)?;
        child.kill().unwrap();
        child.wait().unwrap();
        Ok(())
    }

    /// Sends SIGTERM.
    pub fn begin_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
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
    pub fn terminate(self) {
        self.begin_stop();
        self.ended();
    }

    /// Asserts an orderly end, soon, that leaves no PostgreSQL behind.
    pub fn ended(mut self) {
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

/// Whether there is an answer. It listens long before, while its database is made.
fn serves(address: SocketAddr) -> bool {
    let ask = || {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_millis(500)))?;
        connection.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        connection.read(&mut [0; 64])
    };
    ask().is_ok_and(|count| count > 0)
}

fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    environment.iter().map(owned).collect()
}

/// The command that starts the program, with its log in a file.
fn command(data: &TempDir, bind: SocketAddr, prelude: Option<&str>, environment: &[(String, String)]) -> Command {
    let log = File::options()
        .create(true)
        .append(true)
        .open(data.path().join("server.log"))
        .unwrap();
    let program = env!("CARGO_BIN_EXE_parlance");
    let mut command = Command::new(if prelude.is_some() { "sh" } else { program });
    if let Some(prelude) = prelude {
        command.args(["-c", &format!("{prelude} && exec \"$0\" serve"), program]);
    } else {
        command.arg("serve");
    }
    command
        .env_remove("DATABASE_URL")
        .env("BIND", bind.to_string())
        .env("DATA_DIR", data.path().join("data"))
        // All people of a test are at one address and in a hurry.
        .env("RATE_LIMIT_ENABLED", "false")
        .env("PARLANCE_CONNECTIONS_PER_ADDRESS", "100000")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    command
}

/// Waits for the line with the address of a server; an error is what it said at its end.
fn address_of(child: &mut Child, data: &TempDir) -> Result<SocketAddr, String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let Some(address) = line.trim().strip_prefix("Parlance is at http://") else {
        let status = child.wait().unwrap();
        let log = std::fs::read_to_string(data.path().join("server.log")).unwrap_or_default();
        return Err(format!(
            "{status}: {}",
            log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
        ));
    };
    Ok(address.parse().unwrap())
}

/// Lets time pass where there is no runtime: between two kills, and between looks at another process.
#[allow(clippy::disallowed_methods, reason = "the thread is the test's own")]
pub fn nap(duration: Duration) {
    std::thread::sleep(duration);
}
