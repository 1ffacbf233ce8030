//! One connection's sending side: what it has in flight, what is due, and the frame it sends.
//!
//! Sends follow the rules of a real client: at most `depth` are in flight, and never more than the
//! protocol's window of
//! 32. Everything else waits here, and its latency counts from when it was due. So a server that
//!     stalls cannot hide it (no coordinated omission). After a reconnect, what was not
//!     acknowledged is repeated with the same ids. Pure but for the ids.

use crate::client::server_frame::{Stamp, UUID_CHARS};
use crate::client::websocket::{Opcode, write_masked};
use std::collections::VecDeque;
use uuid::Uuid;

/// Most frames of one connection that may wait for their reply, by the protocol.
pub(crate) const WINDOW: usize = 32;
/// Pause after a refusal before the next send takes its place, in nanoseconds.
const REFUSED_PAUSE_NS: u64 = 100_000_000;

/// A send in flight.
struct Pending {
    counter: u32,
    sent_ns: u64,
    id: Uuid,
}

/// Writer `number` of the run.
pub(crate) struct Writer {
    number: u32,
    counter: u32,
    depth: usize,
    /// Whether a reply makes the next send due at once.
    closed_loop: bool,
    pending: VecDeque<Pending>,
    due: VecDeque<u64>,
    body: Vec<u8>,
    conversation: String,
    text: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(number: u32, conversation: &str, body_bytes: usize) -> Self {
        Self {
            number,
            counter: 0,
            depth: WINDOW,
            closed_loop: false,
            pending: VecDeque::with_capacity(WINDOW),
            due: VecDeque::new(),
            body: vec![b'.'; body_bytes],
            conversation: conversation.to_owned(),
            text: Vec::with_capacity(body_bytes + 256),
        }
    }

    /// From now on a reply makes the next send due, `depth` at a time.
    pub(crate) fn run_closed_loop(&mut self, depth: usize, now_ns: u64) {
        self.depth = depth.clamp(1, WINDOW);
        self.closed_loop = true;
        self.due.extend(std::iter::repeat_n(now_ns, self.depth));
    }

    /// Sends only what is made due from now on.
    pub(crate) fn run_open_loop(&mut self) {
        self.depth = WINDOW;
        self.closed_loop = false;
    }

    /// Sends nothing more; what is in flight stays in flight.
    pub(crate) fn stop(&mut self) {
        self.closed_loop = false;
        self.due.clear();
    }

    pub(crate) fn push_due(&mut self, due_ns: u64) {
        self.due.push_back(due_ns);
    }

    /// How many sends wait for their reply.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// How many messages wait for the window or for their time.
    pub(crate) fn waiting(&self) -> usize {
        self.due.len()
    }

    /// Appends every frame that is due and fits the window to `out`.
    pub(crate) fn pump(&mut self, now_ns: u64, mask: [u8; 4], out: &mut Vec<u8>) {
        while self.pending.len() < self.depth && self.due.front().is_some_and(|due| *due <= now_ns) {
            let Some(sent_ns) = self.due.pop_front() else {
                return;
            };
            self.counter += 1;
            let pending = Pending {
                counter: self.counter,
                sent_ns,
                id: Uuid::now_v7(),
            };
            self.write(&pending, mask, out);
            self.pending.push_back(pending);
        }
    }

    /// Appends every frame without a reply again, as after a reconnect.
    pub(crate) fn repeat_unacknowledged(&mut self, mask: [u8; 4], out: &mut Vec<u8>) {
        let pending = std::mem::take(&mut self.pending);
        for each in &pending {
            self.write(each, mask, out);
        }
        self.pending = pending;
    }

    /// An acknowledgement: the stamp's writer and counter and when it was sent, if this writer
    /// waited for it.
    pub(crate) fn acknowledged(&mut self, reference: u32, now_ns: u64) -> Option<((u32, u32), u64)> {
        let sent_ns = self.take(reference)?;
        if self.closed_loop {
            self.due.push_back(now_ns);
        }
        Some(((self.number, reference), sent_ns))
    }

    /// A refusal: it was not done. True if this writer waited for it.
    pub(crate) fn refused(&mut self, reference: u32, now_ns: u64) -> bool {
        let known = self.take(reference).is_some();
        if known && self.closed_loop {
            self.due.push_back(now_ns + REFUSED_PAUSE_NS);
        }
        known
    }

    fn take(&mut self, reference: u32) -> Option<u64> {
        let at = self.pending.iter().position(|p| p.counter == reference)?;
        self.pending.remove(at).map(|p| p.sent_ns)
    }

    fn write(&mut self, pending: &Pending, mask: [u8; 4], out: &mut Vec<u8>) {
        let stamp = Stamp {
            writer: self.number,
            counter: pending.counter,
            sent_ns: pending.sent_ns,
        };
        stamp.write(&mut self.body);
        let mut id = [0; UUID_CHARS];
        let id = pending.id.hyphenated().encode_lower(&mut id);
        self.text.clear();
        let head = format!(
            r#"{{"type":"send","ref":"{}","conversation":"{}","id":"{id}","body":""#,
            pending.counter, self.conversation
        );
        self.text.extend_from_slice(head.as_bytes());
        self.text.extend_from_slice(&self.body);
        self.text.extend_from_slice(br#""}"#);
        write_masked(out, Opcode::Text, &self.text, mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: &str = "018f0000-0000-7000-8000-000000000001";

    #[test]
    fn no_more_than_the_window_is_ever_in_flight() {
        let mut writer = Writer::new(1, CONVERSATION, 128);
        let mut out = Vec::new();
        (0..100).for_each(|due| writer.push_due(due));
        writer.pump(1_000, [0; 4], &mut out);
        assert_eq!((writer.in_flight(), writer.waiting()), (WINDOW, 100 - WINDOW));
        assert_eq!(writer.acknowledged(1, 2_000), Some(((1, 1), 0)));
        assert_eq!(writer.acknowledged(1, 2_000), None);
        writer.pump(1_000, [0; 4], &mut out);
        assert_eq!((writer.in_flight(), writer.waiting()), (WINDOW, 99 - WINDOW));
    }

    #[test]
    fn the_closed_loop_follows_a_reply_with_a_send_and_rests_after_a_refusal() {
        let mut writer = Writer::new(1, CONVERSATION, 128);
        let mut out = Vec::new();
        writer.run_closed_loop(2, 10);
        writer.pump(10, [0; 4], &mut out);
        assert_eq!((writer.in_flight(), writer.waiting()), (2, 0));
        assert!(writer.acknowledged(2, 20).is_some());
        assert!(writer.refused(1, 20));
        writer.pump(20, [0; 4], &mut out);
        assert_eq!((writer.in_flight(), writer.waiting()), (1, 1));
        writer.pump(20 + REFUSED_PAUSE_NS, [0; 4], &mut out);
        assert_eq!((writer.in_flight(), writer.waiting()), (2, 0));
        writer.stop();
        assert!(writer.acknowledged(3, 30).is_some());
        assert_eq!(writer.waiting(), 0, "a reply to a stopped writer makes nothing due");
    }

    #[test]
    fn a_repeated_send_is_the_same_frame() {
        let mut writer = Writer::new(7, CONVERSATION, 64);
        let (mut first, mut again) = (Vec::new(), Vec::new());
        writer.push_due(5);
        writer.pump(9, [0; 4], &mut first);
        writer.repeat_unacknowledged([0; 4], &mut again);
        assert_eq!(first, again);
        let text: serde_json::Value = serde_json::from_slice(&first[8..]).unwrap();
        let stamp = Stamp::read(text["body"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(
            stamp,
            Stamp {
                writer: 7,
                counter: 1,
                sent_ns: 5
            }
        );
        assert_eq!(text["ref"], "1");
        assert_eq!(text["body"].as_str().unwrap().len(), 64);
    }
}
