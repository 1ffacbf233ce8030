//! Noticing that a child is gone, whatever the reason.
//!
//! A child holds a [`DeathGuard`] in its state. Its drop notifies the supervisor: after a stop,
//! after a panic, and when a task is aborted.

use tokio::sync::oneshot;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It meant to stop.
    Stopped,
    /// It panicked, or its task was aborted.
    Crashed,
}

/// Held in a child's state. Notifies the supervisor when it is dropped.
#[derive(Debug)]
pub struct DeathGuard {
    notify: Option<oneshot::Sender<Death>>,
    is_stopping: bool,
}

impl DeathGuard {
    /// A guard, and what resolves when it is dropped.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Death>) {
        let (notify, death) = oneshot::channel();
        (
            Self {
                notify: Some(notify),
                is_stopping: false,
            },
            death,
        )
    }

    /// Says that the coming end is meant.
    pub const fn stopping(&mut self) {
        self.is_stopping = true;
    }
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        let death = if self.is_stopping && !std::thread::panicking() {
            Death::Stopped
        } else {
            Death::Crashed
        };
        if let Some(notify) = self.notify.take() {
            // The supervisor may be gone. Then nobody is left to restart anything.
            if notify.send(death).is_err() {
                tracing::debug!("a death went unnoticed");
            }
        }
    }
}
