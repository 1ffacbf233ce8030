//! The one direct reply to a client frame.
//!
//! Anyone who carries a frame on carries its [`Reply`] with it. It is given exactly once: dropping it
//! ungiven (an actor died, a queue was discarded) replies `unavailable`, so a client is never left
//! waiting on a live connection.

use super::client::Ref;
use super::frames::{Done, ErrorFrame, ServerFrame};
use super::outbox::Outbox;
use crate::error::Code;
use crate::ids::Rev;
use std::sync::Arc;

/// The reply that a frame's sender waits for.
#[derive(Debug)]
pub struct Reply {
    /// Where it goes; `None` once given, and for frames that have none.
    to: Option<Arc<Outbox>>,
    reference: Option<Ref>,
}

impl Reply {
    /// The reply to a frame with this mark.
    #[must_use]
    pub const fn new(outbox: Arc<Outbox>, reference: Option<Ref>) -> Self {
        Self {
            to: Some(outbox),
            reference,
        }
    }

    /// The reply to a frame that has none; giving it does nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            to: None,
            reference: None,
        }
    }

    /// Whether nobody waits for it.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.to.is_none()
    }

    #[must_use]
    pub fn reference(&self) -> Option<Ref> {
        self.reference.clone()
    }

    /// Replies with a frame that carries the mark.
    pub fn give<F: ServerFrame>(mut self, frame: &F) {
        if let Some(outbox) = self.to.take() {
            outbox.reply(frame);
        }
    }

    /// Replies `ok`, with the revision of the change if there was one.
    pub fn ok(self, rev: Option<Rev>) {
        let frame = Done {
            reference: self.reference(),
            rev,
            token_expires_at: None,
        };
        self.give(&frame);
    }

    /// Replies `error` with the code's own text.
    pub fn refuse(self, code: Code) {
        self.error(code, code.text());
    }

    /// Replies `error` with a text for this case.
    pub fn error(self, code: Code, message: &str) {
        let counted = self.to.clone().filter(|_| code == Code::NotFound);
        let frame = self.error_frame(code, message);
        self.give(&frame);
        if let Some(outbox) = counted {
            outbox.note_refusal();
        }
    }

    /// Replies `error` `rate_limited`: nothing was done, and may be asked for again after so many
    /// milliseconds.
    pub fn limited(self, retry_after_ms: u64) {
        let frame = ErrorFrame {
            retry_after_ms: Some(retry_after_ms),
            ..self.error_frame(Code::RateLimited, Code::RateLimited.text())
        };
        self.give(&frame);
    }

    /// Gives no reply: the connection is gone.
    pub fn skip(mut self) {
        self.to = None;
    }

    fn error_frame(&self, code: Code, message: &str) -> ErrorFrame {
        ErrorFrame {
            reference: self.reference.clone(),
            code,
            message: message.to_owned(),
            retry_after_ms: code.retry_after_ms(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(outbox) = self.to.take() {
            outbox.reply(&self.error_frame(Code::Unavailable, Code::Unavailable.text()));
        }
    }
}
