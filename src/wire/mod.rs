//! What goes over the socket: frames in and out, and the outbox that waits for one socket.
//!
//! This folder knows the protocol and nothing else: no actors, no database. Sessions parse and
//! drain, conversations encode and push, REST and its documents use the same types.
//!
//! | file | what |
//! |---|---|
//! | `client.rs` | client frames, and every limit of the protocol; pure |
//! | `frames.rs`, `message_frames.rs`, `timestamp.rs` | server frames, and their moments |
//! | `notice.rs`, `notice_frames.rs` | what a list shows of a conversation, and as frames for many users |
//! | `change.rs` | a durable change, and how it is shown; pure |
//! | `own_reactions.rs` | which reactions are the reader's own; pure |
//! | `encode.rs` | a frame as WebSocket bytes, once for all readers |
//! | `outbox.rs`, `outbox_queue.rs` | what waits for one socket, and how it is counted |
//! | `sizes.rs` | how large a message is, without encoding it; pure |
//! | `refusals.rs` | when a client has been refused too often; pure |
//! | `replay_page.rs` | a page of a replay that waits there |
//! | `reply.rs` | the one reply that a client frame gets |

mod change;
mod client;
mod encode;
pub mod frames;
mod message_frames;
mod notice;
mod notice_frames;
mod outbox;
mod outbox_queue;
mod own_reactions;
mod refusals;
mod replay_page;
mod reply;
mod sizes;
mod timestamp;

pub use change::{Change, Committed, Thing};
pub use client::{
    ClientFrame, InvalidField, ParseError, ParsedFrame, Ref, limits, parse, validate_body, validate_emoji,
    validate_if_rev,
};
pub use encode::{Frame, encode, encode_close, encoded_len};
pub use notice::beginning;
pub use notice_frames::NoticeFrames;
pub use outbox::{Drained, Outbox, OutboxProgress};
pub use outbox_queue::{Class, PUSH_BYTES_MAX, Pushed};
pub use own_reactions::{OwnReactions, has_unlisted};
pub use replay_page::{PageSent, PageTurn, ReplayInterest, ReplayWatch};
pub use reply::Reply;
