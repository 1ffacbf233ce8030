//! Clients that never give up: a writer that repeats what was not answered, a reader that resumes where it was.

use super::view::View;
use crate::support::client::Ended;
use crate::support::{PATIENCE, Person, Socket, back_off};
use parking_lot::Mutex;
use parlance::ids::{ConversationId, MessageId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Operations of a writer that wait for their reply.
const WINDOW: usize = 8;

/// A message as it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acknowledged {
    seq: i64,
    rev: i64,
}

/// What the writers sent and what they were told.
pub struct Ledger {
    conversations: Vec<ConversationId>,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// Every message ever sent, with the highest number that had been acknowledged to anybody when it first was.
    sent: HashMap<MessageId, (ConversationId, i64)>,
    acknowledged: HashMap<MessageId, Acknowledged>,
    highest: HashMap<ConversationId, i64>,
}

impl Ledger {
    pub fn new(conversations: &[ConversationId]) -> Self {
        Self {
            conversations: conversations.to_vec(),
            written: Mutex::default(),
        }
    }

    pub fn sent(&self, conversation: ConversationId, id: MessageId) {
        let mut written = self.written.lock();
        let before = written.highest.get(&conversation).copied().unwrap_or(0);
        written.sent.entry(id).or_insert((conversation, before));
    }

    pub fn acknowledged(&self, id: MessageId, ack: &Value) {
        let told = Acknowledged {
            seq: ack["seq"].as_i64().unwrap(),
            rev: ack["rev"].as_i64().unwrap(),
        };
        let mut written = self.written.lock();
        let (conversation, before) = written.sent[&id];
        assert!(
            told.seq > before,
            "{id} got {told:?}, though {before} was acknowledged before it was sent"
        );
        let known = written.acknowledged.entry(id).or_insert(told);
        assert_eq!(*known, told, "{id} was acknowledged differently before");
        let highest = written.highest.entry(conversation).or_default();
        *highest = told.seq.max(*highest);
    }

    /// Waits until so many more messages are acknowledged.
    pub async fn wait_for_more(&self, count: usize) {
        let goal = self.written.lock().acknowledged.len() + count;
        crate::support::eventually("more acknowledgements", async || {
            self.written.lock().acknowledged.len() >= goal
        })
        .await;
    }

    /// Waits until everything that was sent is acknowledged.
    pub async fn wait_for_all(&self) {
        crate::support::eventually("everything is acknowledged", async || {
            let written = self.written.lock();
            written.acknowledged.len() == written.sent.len()
        })
        .await;
    }

    /// Compares with the database; returns how many messages were acknowledged.
    pub fn check(&self, truth: &View) -> usize {
        let written = self.written.lock();
        let lost: Vec<_> = written
            .sent
            .keys()
            .filter(|id| !written.acknowledged.contains_key(id))
            .collect();
        assert!(lost.is_empty(), "never acknowledged: {lost:?}");
        for (id, ack) in &written.acknowledged {
            let (conversation, _) = written.sent[id];
            let found = truth.place_of(conversation, *id);
            assert_eq!(found, Some((ack.seq, ack.rev)), "{id} was acknowledged as {ack:?}");
        }
        assert_eq!(
            truth.messages(),
            written.sent.len(),
            "there are messages that nobody sent"
        );
        written.acknowledged.len()
    }
}

/// What a writer wants done, until it is.
struct Operation {
    reference: String,
    frame: Value,
    post: Option<MessageId>,
    repeated: bool,
}

/// Writes until told to stop and everything is answered; returns how many connections that took.
pub async fn writer(person: Person, ledger: Arc<Ledger>, seed: u64, stop: watch::Receiver<bool>) -> usize {
    let mut writer = Writer {
        random: StdRng::seed_from_u64(seed),
        ledger,
        open: VecDeque::new(),
        mine: Vec::new(),
        references: 0,
    };
    let mut connections = 0;
    loop {
        let Ok(mut socket) = Socket::try_connect(&person.site, &person.token).await else {
            back_off().await;
            continue;
        };
        connections += 1;
        if writer.work(&mut socket, &stop).await {
            return connections;
        }
    }
}

struct Writer {
    random: StdRng,
    ledger: Arc<Ledger>,
    /// In the order in which they were first sent.
    open: VecDeque<Operation>,
    /// Its own messages that are there and not deleted.
    mine: Vec<(ConversationId, MessageId)>,
    references: u64,
}

impl Writer {
    /// Works over one connection; true when everything is done, false when the connection broke.
    async fn work(&mut self, socket: &mut Socket, stop: &watch::Receiver<bool>) -> bool {
        for operation in &mut self.open {
            operation.repeated = true;
            if !socket.try_send_json(&operation.frame).await {
                return false;
            }
        }
        loop {
            while self.open.len() < WINDOW && !*stop.borrow() {
                let operation = self.invent();
                let frame = operation.frame.clone();
                self.open.push_back(operation);
                if !socket.try_send_json(&frame).await {
                    return false;
                }
            }
            if self.open.is_empty() {
                return true;
            }
            match socket.next_frame(PATIENCE).await {
                Ok(frame) => {
                    if let Some(repeat) = self.heard(&frame) {
                        back_off().await;
                        if !socket.try_send_json(&repeat).await {
                            return false;
                        }
                    }
                }
                Err(Ended::Closed(code @ 4000..4100)) => panic!("closed for good: {code}"),
                Err(Ended::TimedOut) => panic!("no answer to {}", self.open[0].frame),
                Err(_) => return false,
            }
        }
    }

    fn invent(&mut self) -> Operation {
        self.references += 1;
        let reference = self.references.to_string();
        let dice = self.random.random_range(0..100);
        let target = (!self.mine.is_empty()).then(|| self.random.random_range(0..self.mine.len()));
        let (post, mut frame) = match target {
            Some(at) if dice < 10 => {
                let (conversation, id) = self.mine[at];
                (
                    None,
                    json!({"type": "edit", "conversation": conversation, "id": id, "body": format!("edited {reference}")}),
                )
            }
            Some(at) if dice < 13 => {
                let (conversation, id) = self.mine.swap_remove(at);
                (None, json!({"type": "delete", "conversation": conversation, "id": id}))
            }
            Some(at) if dice < 20 => {
                let ((conversation, id), on) = (self.mine[at], self.random.random_bool(0.5));
                (
                    None,
                    json!({"type": "react", "conversation": conversation, "id": id, "emoji": "👍", "on": on}),
                )
            }
            _ => {
                let conversation =
                    self.ledger.conversations[self.random.random_range(0..self.ledger.conversations.len())];
                let id = MessageId::new();
                self.ledger.sent(conversation, id);
                (
                    Some(id),
                    json!({"type": "send", "conversation": conversation, "id": id, "body": format!("text {reference}")}),
                )
            }
        };
        frame["ref"] = json!(reference);
        Operation {
            reference,
            frame,
            post,
            repeated: false,
        }
    }

    /// Takes a frame in; what has to be sent again, if anything.
    fn heard(&mut self, frame: &Value) -> Option<Value> {
        let reference = frame["ref"].as_str()?;
        let at = self
            .open
            .iter()
            .position(|operation| operation.reference == reference)?;
        if frame["type"] == "error" {
            let operation = &mut self.open[at];
            let code = frame["code"].as_str().unwrap();
            // An edit that was done, and whose message was deleted before the edit was repeated.
            if code == "conflict" && operation.repeated && operation.post.is_none() {
                self.open.remove(at);
                return None;
            }
            assert!(
                matches!(code, "unavailable" | "overloaded"),
                "{}: {frame}",
                operation.frame
            );
            operation.repeated = true;
            return Some(operation.frame.clone());
        }
        let operation = self.open.remove(at).unwrap();
        if let Some(id) = operation.post {
            assert_eq!(frame["type"], "ack", "{frame}");
            self.ledger.acknowledged(id, frame);
            self.mine.push((
                serde_json::from_value(operation.frame["conversation"].clone()).unwrap(),
                id,
            ));
        }
        None
    }
}

/// Reads until told to stop and nothing more is to come; returns what it has seen.
pub async fn reader(person: Person, conversations: Vec<ConversationId>, stop: watch::Receiver<bool>) -> View {
    let mut view = View::new(&conversations);
    loop {
        let Ok(mut socket) = Socket::try_connect(&person.site, &person.token).await else {
            back_off().await;
            continue;
        };
        view.disconnected();
        // Two rounds over the last connection: what was committed before the first ends is in the second.
        let rounds = if *stop.borrow() { 2 } else { 1 };
        let mut whole = true;
        for _ in 0..rounds {
            whole &= follow(&mut socket, &mut view, &stop).await;
        }
        if whole && rounds == 2 {
            return view;
        }
    }
}

/// Subscribes to everything and reads: until told to stop, or, when that has been, until all that was missed is there.
/// False when the connection broke.
async fn follow(socket: &mut Socket, view: &mut View, stop: &watch::Receiver<bool>) -> bool {
    for (conversation, rev) in view.revisions() {
        let subscribe = json!({"type": "subscribe", "ref": conversation, "conversation": conversation, "after": rev});
        view.resubscribed(conversation);
        if !socket.try_send_json(&subscribe).await {
            return false;
        }
    }
    loop {
        if *stop.borrow() && view.is_live() {
            return true;
        }
        match socket.next_frame(Duration::from_millis(100)).await {
            Ok(frame) if frame["type"] == "error" && frame["ref"].is_string() => {
                // The database is away; begin again with a new connection.
                assert!(
                    matches!(frame["code"].as_str(), Some("unavailable" | "overloaded" | "internal")),
                    "{frame}"
                );
                back_off().await;
                return false;
            }
            Ok(frame) => view.take(&frame),
            Err(Ended::TimedOut) => {}
            Err(Ended::Closed(code @ 4000..4100)) => panic!("closed for good: {code}"),
            Err(_) => return false,
        }
    }
}
