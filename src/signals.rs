//! What tells the process to stop: SIGTERM, SIGINT, SIGQUIT, and SIGHUP, by which a terminal goes.
//!
//! Used by `main`, which listens before anything is started, so that an early Ctrl-C stops what has
//! been. The first signal asks the node to go away in order. A second SIGTERM, SIGINT or SIGQUIT
//! ends the waiting. A second SIGHUP does not: service managers and shells send one beside another
//! signal, or twice, and mean the same.
//!
//! Left to itself a SIGHUP or SIGQUIT ends a process without goodbye, and its private PostgreSQL
//! runs on. Who has SIGHUP ignored (`nohup`) has asked to outlive the terminal, and does.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Stops that were asked for; two are as good as more.
const HURRY: u8 = 2;

/// Listens for the signals, for as long as the runtime lives. Cheap to clone.
#[derive(Clone)]
pub struct StopSignals {
    asked: watch::Receiver<u8>,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let (mut terminate, mut interrupt, mut quit) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
        );
        let mut hangup = if is_hangup_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        let (asking, asked) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let wanted = tokio::select! {
                    _ = terminate.recv() => HURRY,
                    _ = interrupt.recv() => HURRY,
                    _ = quit.recv() => HURRY,
                    () = received(hangup.as_mut()) => 1,
                };
                asking.send_modify(|asked| *asked = (*asked + 1).min(wanted.max(*asked)));
            }
        });
        Ok(Self { asked })
    }

    /// Resolves when the process is to stop.
    pub async fn stop(mut self) {
        self.reached(1).await;
    }

    /// Resolves when nobody is to be waited for any more.
    pub async fn hurry(mut self) {
        self.reached(HURRY).await;
    }

    async fn reached(&mut self, count: u8) {
        // The sender ends with the runtime, and nobody waits then.
        if self.asked.wait_for(|asked| *asked >= count).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started the process has SIGHUP ignored. Only Linux tells.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_hangup(&status)
}

fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The first bit is the first signal, which is this one.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_started_by_nohup_is_known() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        for not in ["SigIgn:\t0000000000001000\n", "SigBlk:\t1\n", "SigIgn:\tx", ""] {
            assert!(!ignores_hangup(not), "{not}");
        }
    }
}
