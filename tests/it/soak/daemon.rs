//! The processes of a soak: started, watched, signalled, and gone with the test, however it ends.
//!
//! A [`Guardian`] is told of every process and mount. It is a shell that reads from us: when we end, by a panic or a
//! `kill -9` too, its input ends, and it kills, unmounts and removes what it knows of. So there is one way of cleaning up,
//! and it does not depend on this process being in order.

use crate::support::environment;
use crate::support::process::nap;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads `pid N`, `gone N`, `mount PATH`, `directory PATH`; at the end of its input it removes all of them.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
pids=' ' mounts= directories=
while read -r what value; do
    case $what in
        pid) pids="$pids$value " ;;
        gone) case $pids in *" $value "*) pids="${pids%% $value *} ${pids#* $value }" ;; esac ;;
        mount) mounts="$mounts $value" ;;
        directory) directories="$directories $value" ;;
    esac
done
for pid in $pids; do kill -9 "$pid" "-$pid"; done
for mount in $mounts; do
    for _ in 1 2 3 4 5 6 7 8 9 10; do umount "$mount" && break; sleep 0.2; done || umount -l "$mount"
done
for directory in $directories; do rm -rf "$directory"; done
"#;

/// Cleans up after us.
pub struct Guardian {
    input: parking_lot::Mutex<Option<ChildStdin>>,
    child: parking_lot::Mutex<Child>,
}

impl Guardian {
    pub fn start() -> Arc<Self> {
        let mut child = Command::new("sh")
            .args(["-c", GUARDIAN])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends us at the terminal is not for it.
            .process_group(0)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        Arc::new(Self {
            input: parking_lot::Mutex::new(input),
            child: parking_lot::Mutex::new(child),
        })
    }

    pub fn tell(&self, what: &str, value: impl std::fmt::Display) {
        if let Some(input) = self.input.lock().as_mut() {
            writeln!(input, "{what} {value}").unwrap();
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.input.lock().take());
        // It does what it does whether we wait or not.
        let _: Result<_, _> = self.child.lock().wait();
    }
}

/// An account to become.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// An unprivileged one, where we are root.
    pub fn unprivileged() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let known = std::fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            let line = known.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self {
                uid: fields.next()?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        };
        Some(
            find("postgres")
                .or_else(|| find("nobody"))
                .expect("root needs an account for PostgreSQL"),
        )
    }
}

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub account: Option<Account>,
}

impl Recipe {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            account: None,
        }
    }

    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn account(mut self, account: Option<Account>) -> Self {
        self.account = account;
        self
    }

    /// With this environment and no other, so that nothing of the caller's decides what happens.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

/// A program that runs until it is told to stop, and may be started again.
pub struct Daemon {
    pub name: String,
    recipe: Recipe,
    log: PathBuf,
    guardian: Arc<Guardian>,
    child: Option<Child>,
    pub started: Instant,
    /// A fault is about its end.
    pub may_end: bool,
}

impl Daemon {
    pub fn new(name: &str, recipe: Recipe, directory: &Path, guardian: &Arc<Guardian>) -> Self {
        Self {
            name: name.to_owned(),
            recipe,
            log: directory.join(format!("{}.log", name.replace(' ', "-"))),
            guardian: guardian.clone(),
            child: None,
            started: Instant::now(),
            may_end: false,
        }
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = self
            .recipe
            .command()
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.recipe.program.display()));
        self.guardian.tell("pid", child.id());
        self.child = Some(child);
        self.started = Instant::now();
        self.may_end = false;
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// The process; it must have been started.
    pub fn pid(&self) -> Pid {
        Pid::from_child(
            self.child
                .as_ref()
                .unwrap_or_else(|| panic!("{} does not run", self.name)),
        )
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        // It may just have ended.
        let _: Result<(), _> = kill_process(self.pid(), signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().unwrap()?;
        self.guardian.tell("gone", child.id());
        self.child = None;
        Some(status)
    }

    pub fn kill_9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its group, too, which is named after it: the workers of nginx would go on. It may just have ended.
            let _: Result<(), _> = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _: Result<(), _> = child.kill();
            child.wait().unwrap();
            self.guardian.tell("gone", child.id());
        }
    }

    /// Its threads and what it uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() && environment("SOAK_KEEP_LOGS").is_some() {
            let kept = std::env::temp_dir().join(self.log.file_name().unwrap());
            // For whoever looks for the cause; there is nothing else to do about it.
            let _: Result<_, _> = std::fs::copy(&self.log, kept);
        }
        self.kill_9();
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_bytes: u64,
    pub descriptors: usize,
}

impl Usage {
    pub fn of(pid: Pid) -> Self {
        let number = pid.as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<u64> = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let descriptors = std::fs::read_dir(format!("/proc/{number}/fd")).map_or(0, Iterator::count);
        Self {
            resident_bytes: kib.unwrap_or_default() * 1_024,
            descriptors,
        }
    }
}

/// The state letter of a process: `T` is stopped.
pub fn state(pid: Pid) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// The fields of a process after its name: state, parent, …
fn stat(pid: Pid) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The processes that a process has started and that live.
pub fn children(parent: Pid) -> Vec<Pid> {
    let wanted = parent.as_raw_nonzero().to_string();
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    numbers
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == wanted && !matches!(fields[0].as_str(), "Z" | "X")))
        .collect()
}

/// Whether a process is there.
pub fn lives(pid: Pid) -> bool {
    test_kill_process(pid).is_ok() && !matches!(state(pid), None | Some('Z' | 'X'))
}

/// Waits until processes are gone; whether they are.
pub fn wait_gone(pids: &[Pid], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while pids.iter().any(|pid| lives(*pid)) {
        if Instant::now() > deadline {
            return false;
        }
        nap(Duration::from_millis(20));
    }
    true
}
