//! The nginx that is shipped, in front of a server that is measured.
//!
//! It is rendered by `nginx/render`, on a free port, with a folder of its own. Only its limits are
//! off, because everybody comes from this machine.

use crate::context::Context;
use crate::error::{Error, Result, io};
use crate::installation::child::{ChildProcess, pause};
use crate::installation::server::free_address;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long nginx may take to listen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The programs that it takes.
#[derive(Clone, Debug)]
pub(crate) struct NginxPrograms {
    pub nginx: PathBuf,
    /// The script that makes its configuration.
    pub render: PathBuf,
}

/// Stopped when it is dropped.
pub(crate) struct Proxy {
    process: ChildProcess,
    address: SocketAddr,
}

impl Proxy {
    /// Starts one in front of nodes, with its files in `folder`.
    pub(crate) fn start(programs: &NginxPrograms, folder: &Path, nodes: &[SocketAddr]) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(io("nginx's folder"))?;
        // nginx takes relative paths for relative to its own prefix.
        let folder = folder.canonicalize().map_err(io("nginx's folder"))?;
        let address = free_address()?;
        let nodes: Vec<_> = nodes.iter().map(SocketAddr::to_string).collect();
        let rendered = Command::new(&programs.render)
            .arg(&folder)
            .env("NGINX_LISTEN", address.to_string())
            .env("NGINX_STATUS_LISTEN", "")
            .env("NGINX_NODES", nodes.join(" "))
            .env("NGINX_RUN_DIR", folder.join("run"))
            .env("NGINX_ERROR_LOG", folder.join("error.log"))
            .env("NGINX_STATIC_ROOT", folder.join("www"))
            .env("NGINX_LIMITS", "off")
            .status()
            .map_err(io("nginx/render"))?;
        if !rendered.success() {
            return Err(Error::Protocol(format!("nginx/render ended with {rendered}")));
        }
        let log = File::create(folder.join("output.log")).map_err(io("nginx's log"))?;
        let mut command = Command::new(&programs.nginx);
        command
            .args(["-g", "daemon off;", "-c"])
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = ChildProcess::start("nginx", &mut command)?;
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            process.check()?;
            if started.elapsed() > TIMEOUT {
                return Err(Error::Timeout("nginx listening".into(), TIMEOUT.as_secs()));
            }
            pause();
        }
        Ok(Self { process, address })
    }

    /// The same target, reached through this proxy.
    pub(crate) fn in_front_of(&self, direct: &Context) -> Context {
        let mut context = direct.clone();
        context.addresses = vec![self.address];
        context.processes.proxy = Some(self.process.pid());
        context
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
