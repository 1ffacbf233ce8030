//! A real nginx with the files of `nginx/`, rendered as they are shipped, in front of nodes of the test.
//!
//! The program is the one that `scripts/nginx.sh` finds or fetches; `scripts/test.sh` passes it on as `NGINX_SERVER`. It has
//! a directory of its own for configuration, logs and process id, and a free port: nginx cannot be given port 0 and
//! asked what became of it, so one is picked and, should somebody else have been faster, another. It ends with its value.

use super::client::Site;
use super::process::nap;
use super::{PATIENCE, TempDir};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often another port is tried.
const ATTEMPTS: usize = 5;

/// An nginx. It is also the site that it is in front of.
pub struct Nginx {
    site: Site,
    /// Where `stub_status` is.
    pub status: Site,
    child: Child,
    directory: TempDir,
    settings: Vec<(String, String)>,
}

impl Deref for Nginx {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// A port of the loopback address that nobody has at this moment.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn program() -> String {
    super::environment("NGINX_SERVER").unwrap_or_else(|| "nginx".to_owned())
}

impl Nginx {
    /// Starts one in front of these nodes, without its limits; returns when it takes connections.
    pub fn before(nodes: &[&Site]) -> Self {
        Self::with(nodes, &[])
    }

    /// Starts one with settings of `nginx/parlance.env`.
    pub fn with(nodes: &[&Site], settings: &[(&str, &str)]) -> Self {
        let addresses: Vec<_> = nodes.iter().map(|node| node.address.to_string()).collect();
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match Self::try_start(&addresses.join(" "), settings) {
                Ok(nginx) => return nginx,
                Err(error) if error.contains("in use") => last = error,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no port was free for nginx: {last}");
    }

    fn try_start(nodes: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        let directory = TempDir::new("nginx");
        let (address, status) = (free_address(), free_address());
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let usual = [
            ("NGINX_LISTEN", address.to_string()),
            ("NGINX_STATUS_LISTEN", status.to_string()),
            ("NGINX_NODES", nodes.to_owned()),
            ("NGINX_RUN_DIR", path("run")),
            ("NGINX_ERROR_LOG", path("error.log")),
            ("NGINX_STATIC_ROOT", path("www")),
            ("NGINX_WORKERS", "2".to_owned()),
            // All people of a test are at one address and in a hurry.
            ("NGINX_LIMITS", "off".to_owned()),
        ];
        let mut all: Vec<(String, String)> = usual.map(|(name, value)| (name.to_owned(), value)).into();
        all.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        render(directory.path(), &all)?;
        let child = start(directory.path());
        let mut nginx = Self {
            site: Site::new(address),
            status: Site::new(status),
            child,
            directory,
            settings: all,
        };
        let deadline = Instant::now() + PATIENCE;
        // It takes them one after the other, this one last.
        while TcpStream::connect(address).is_err() || TcpStream::connect(status).is_err() {
            if let Some(ended) = nginx.child.try_wait().unwrap() {
                return Err(format!("nginx ended with {ended}: {}", nginx.error_log()));
            }
            assert!(
                Instant::now() < deadline,
                "nginx does not listen: {}",
                nginx.error_log()
            );
            nap(Duration::from_millis(10));
        }
        Ok(nginx)
    }

    /// The process that reads the configuration and has the workers.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its workers: those of this configuration, and those before it that still have connections.
    pub fn workers(&self) -> Vec<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Renders again with other settings and reloads.
    pub fn reload(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push(((*name).to_owned(), (*value).to_owned()));
        }
        render(self.directory.path(), &self.settings).unwrap_or_else(|error| panic!("{error}"));
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Where the page's files are looked for.
    pub fn static_root(&self) -> PathBuf {
        self.directory.path().join("www")
    }

    /// A file of its rendered configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("conf").join(name)
    }

    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }

    /// The access log as it is written.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("run/access.log")).unwrap_or_default()
    }

    /// The first line of the access log that is wanted, once it is there.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        super::eventually(what, async || {
            let log = self.access_log();
            // The last line may be half there.
            let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut lines = lines.map(|line| {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"))
            });
            found = lines.find(&wanted);
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx's error log\n{}", self.error_log());
        }
        if let Some(mut kept) = super::kept_log() {
            // Both logs are the suite's too, and are searched for secrets. A test that has failed says so itself.
            let _: Result<(), _> = kept.write_all((self.access_log() + &self.error_log()).as_bytes());
        }
        // Fast: sockets and all. The master ends its workers, so it is waited for.
        let _: Result<(), _> = kill_process(self.pid(), Signal::TERM);
        let _: Result<_, _> = self.child.wait();
    }
}

/// Renders the shipped files; an error is what the renderer complained about.
pub fn render(directory: &Path, settings: &[(String, String)]) -> Result<(), String> {
    let rendered = Command::new("nginx/render")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg(directory.join("conf"))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    if rendered.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&rendered.stderr).into_owned())
}

/// Whether nginx takes what was rendered, and what it says.
pub fn check(directory: &Path) -> (bool, String) {
    let program = program();
    let said = Command::new(&program)
        .args(["-t", "-c"])
        .arg(directory.join("conf/nginx.conf"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `scripts/nginx.sh` fetches one"));
    (
        said.status.success(),
        String::from_utf8_lossy(&said.stderr).into_owned(),
    )
}

fn start(directory: &Path) -> Child {
    let program = program();
    Command::new(&program)
        .args(["-e", "stderr", "-g", "daemon off;", "-c"])
        .arg(directory.join("conf/nginx.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(
            File::options()
                .create(true)
                .append(true)
                .open(directory.join("error.log"))
                .unwrap(),
        )
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `scripts/nginx.sh` fetches one, NGINX_SERVER names one"))
}
