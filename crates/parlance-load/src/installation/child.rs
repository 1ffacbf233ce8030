//! A process that the tool starts and has to stop.
//!
//! It stops by SIGTERM, because a drain is part of what is measured, and by SIGKILL where a profile
//! is about that. In any case it stops before the tool ends.

use crate::error::{Error, Result, errno, io};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a process may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// How often it is checked whether something has happened. It is the resolution of the time of a
/// start.
const POLL: Duration = Duration::from_millis(2);

/// Stopped when it is dropped.
pub(crate) struct ChildProcess {
    child: Child,
    name: &'static str,
}

impl ChildProcess {
    /// Starts a program, which errors call `name`.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().map_err(io(name))?;
        Ok(Self { child, name })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, to read its output or send it a signal.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// An error if it has ended, which it should not have.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(io(self.name))? {
            Some(status) => Err(Error::Protocol(format!("{} ended with {status}", self.name))),
            None => Ok(()),
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(errno("SIGTERM"))?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait().map_err(io(self.name))? {
                let unclean = Error::Protocol(format!("{} stopped with {status}", self.name));
                return if status.success() { Ok(()) } else { Err(unclean) };
            }
            pause();
        }
        Err(Error::Timeout(
            format!("the stop of {}", self.name),
            STOP_TIMEOUT.as_secs(),
        ))
    }

    /// `kill -9`, without warning; returns when it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(io(self.name))?;
        Ok(())
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Only a process that was not stopped (a failed run) is still there; it must not outlive
        // the tool.
        if matches!(self.child.try_wait(), Ok(None)) {
            if kill_process(Pid::from_child(&self.child), Signal::TERM).is_ok() {
                let asked = Instant::now();
                while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                    pause();
                }
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Waits a moment before the next check.
#[expect(
    clippy::disallowed_methods,
    reason = "the tool has one thread and nothing else to do while it waits"
)]
pub(crate) fn pause() {
    std::thread::sleep(POLL);
}
