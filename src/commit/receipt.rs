//! The result of an operation, and who waits for it.

use super::error::Error;
use crate::ids::{Rev, Seq};
use crate::wire::frames::Timestamp;

/// The durable result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision of the change; of the thing's latest change when nothing changed.
    pub rev: Rev,
    /// For a post: the message's number.
    pub seq: Option<Seq>,
    /// For a post: when it was committed.
    pub created_at: Option<Timestamp>,
    /// For a post: whether the same id had been sent before.
    pub duplicate: bool,
}

type Callback = Box<dyn FnOnce(Result<Receipt, Error>) + Send>;

/// Who waits for a result. Called exactly once: when it is dropped before, the result is
/// `unavailable`, so a crash anywhere on the way is a result too.
pub struct Completion(Option<Callback>);

impl Completion {
    /// `callback` must not block.
    #[must_use]
    pub fn new(callback: impl FnOnce(Result<Receipt, Error>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    pub fn complete(mut self, result: Result<Receipt, Error>) {
        if let Some(callback) = self.0.take() {
            callback(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(Error::Unavailable));
        }
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}
