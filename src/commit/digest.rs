//! The digest by which a repeated send is recognised. It is stored with each message.

use crate::ids::MessageId;
use sha2::{Digest as _, Sha256};

/// SHA-256 over a tag byte, the id of the message replied to (16 bytes, or nothing), and the body.
#[must_use]
pub fn digest(body: &str, reply_to: Option<MessageId>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    match reply_to {
        Some(id) => {
            hasher.update([1]);
            hasher.update(id.0.as_bytes());
        }
        None => hasher.update([0]),
    }
    hasher.update(body.as_bytes());
    hasher.finalize().into()
}
