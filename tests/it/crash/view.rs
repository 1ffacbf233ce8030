//! What a reader has of some conversations, kept as resuming allows: by revision, messages by id.

use crate::support::client::uuid_of;
use crate::support::db;
use parlance::ids::{ConversationId, MessageId};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The state of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    seq: i64,
    /// Of its latest change.
    rev: i64,
    body: Option<String>,
    edited: bool,
    deleted: bool,
    /// Emoji and how many.
    reactions: Vec<(String, i64)>,
}

/// One conversation.
#[derive(Clone, Debug, Default)]
struct Conversation {
    rev: i64,
    /// Whether the replay is over; then revisions have no holes.
    live: bool,
    messages: BTreeMap<MessageId, State>,
    /// The revision each was posted with; only of the database.
    posted: HashMap<MessageId, i64>,
    /// The latest frames and connections, for whoever has to find out.
    history: VecDeque<String>,
}

const HISTORY_MAX: usize = 40;

/// Some conversations.
#[derive(Clone, Debug)]
pub struct View(BTreeMap<ConversationId, Conversation>);

impl View {
    pub fn new(conversations: &[ConversationId]) -> Self {
        Self(conversations.iter().map(|id| (*id, Conversation::default())).collect())
    }

    /// How far it is with each.
    pub fn revisions(&self) -> Vec<(ConversationId, i64)> {
        self.0
            .iter()
            .map(|(id, conversation)| (*id, conversation.rev))
            .collect()
    }

    /// How far it is with one.
    pub fn revision_of(&self, conversation: ConversationId) -> i64 {
        self.0[&conversation].rev
    }

    pub fn disconnected(&mut self) {
        for conversation in self.0.values_mut() {
            conversation.live = false;
            conversation.note("-- connected".to_owned());
        }
    }

    pub fn resubscribed(&mut self, id: ConversationId) {
        let conversation = self.0.get_mut(&id).unwrap();
        conversation.live = false;
        conversation.note(format!("-- subscribe after {}", conversation.rev));
    }

    /// Whether all replays are over.
    pub fn is_live(&self) -> bool {
        self.0.values().all(|conversation| conversation.live)
    }

    pub fn messages(&self) -> usize {
        self.0.values().map(|conversation| conversation.messages.len()).sum()
    }

    /// A message's number and the revision it was posted with.
    pub fn place_of(&self, conversation: ConversationId, id: MessageId) -> Option<(i64, i64)> {
        let conversation = &self.0[&conversation];
        Some((conversation.messages.get(&id)?.seq, *conversation.posted.get(&id)?))
    }

    /// Takes a server frame in; fails when it may not come here.
    pub fn take(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap();
        if !matches!(kind, "message" | "updated" | "member" | "conversation" | "subscribed") {
            return;
        }
        let conversation = self
            .0
            .get_mut(&ConversationId(uuid_of(&frame["conversation"])))
            .unwrap();
        let rev = frame["rev"].as_i64().unwrap();
        conversation.note(format!("{kind} rev {rev} seq {} id {}", frame["seq"], frame["id"]));
        let history = &conversation.history;
        if kind == "subscribed" {
            assert!(rev >= conversation.rev, "went back to {rev}: {history:#?}");
            (conversation.live, conversation.rev) = (true, rev);
            return;
        }
        if conversation.live {
            assert_eq!(
                rev,
                conversation.rev + 1,
                "a hole or a repetition among live frames: {frame} {history:#?}"
            );
        } else {
            assert!(rev > conversation.rev, "the replay went back: {frame} {history:#?}");
        }
        conversation.rev = rev;
        if matches!(kind, "message" | "updated") {
            let id = MessageId(uuid_of(&frame["id"]));
            let known = conversation.messages.insert(id, State::of(frame));
            // A replay repeats a message that changes while it lasts.
            let new = kind == "message" && conversation.live;
            assert!(
                !new || known.is_none(),
                "shown twice: {frame} {:#?}",
                conversation.history
            );
            // An unknown one may be updated: a replay that broke off had passed its number, not its change.
        }
    }

    /// What the database holds.
    pub async fn of_database(url: &str, conversations: &[ConversationId]) -> Self {
        let client = db::connect(url).await;
        let mut view = Self::new(conversations);
        for (id, conversation) in &mut view.0 {
            let sql = "SELECT rev, last_seq FROM conversations WHERE id = $1";
            let row = client.query_one(sql, &[&id.0]).await.unwrap();
            let last_seq: i64 = row.get(1);
            conversation.rev = row.get(0);
            let sql = "SELECT id, seq, rev, posted_rev, body, edited_at IS NOT NULL, deleted_at IS NOT NULL, \
                       ARRAY(SELECT emoji || ' ' || count(*) FROM reactions r \
                             WHERE r.conversation_id = m.conversation_id AND r.seq = m.seq GROUP BY emoji ORDER BY emoji) \
                       FROM messages m WHERE conversation_id = $1 ORDER BY seq";
            let mut last_posted = 0;
            for (row, expected_seq) in client.query(sql, &[&id.0]).await.unwrap().iter().zip(1..) {
                let (seq, posted): (i64, i64) = (row.get(1), row.get(3));
                assert_eq!(seq, expected_seq, "a hole in seq");
                assert!(posted > last_posted, "revisions do not follow numbers at {seq}");
                last_posted = posted;
                let reaction = |text: String| {
                    let (emoji, count) = text.split_once(' ').unwrap();
                    (emoji.to_owned(), count.parse().unwrap())
                };
                let reactions = row.get::<_, Vec<String>>(7).into_iter().map(reaction).collect();
                let (body, edited, deleted) = (row.get(4), row.get(5), row.get(6));
                let message = MessageId(row.get(0));
                conversation.messages.insert(
                    message,
                    State {
                        seq,
                        rev: row.get(2),
                        body,
                        edited,
                        deleted,
                        reactions,
                    },
                );
                conversation.posted.insert(message, posted);
            }
            assert_eq!(
                conversation.messages.len(),
                usize::try_from(last_seq).unwrap(),
                "last_seq counts the messages"
            );
        }
        view
    }

    /// Asserts that a reader has exactly what is there.
    pub fn assert_same(&self, truth: &Self, reader: usize) {
        for (id, conversation) in &self.0 {
            let there = &truth.0[id];
            assert_eq!(conversation.rev, there.rev, "reader {reader}, {id}");
            assert_eq!(
                conversation.messages.len(),
                there.messages.len(),
                "reader {reader}, {id}"
            );
            for (message, state) in &there.messages {
                assert_eq!(
                    conversation.messages.get(message),
                    Some(state),
                    "reader {reader}, {message}"
                );
            }
        }
    }
}

impl Conversation {
    fn note(&mut self, what: String) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(what);
    }
}

impl State {
    fn of(frame: &Value) -> Self {
        let reactions = frame["reactions"].as_array().into_iter().flatten();
        Self {
            seq: frame["seq"].as_i64().unwrap(),
            rev: frame["rev"].as_i64().unwrap(),
            body: frame["body"].as_str().map(str::to_owned),
            edited: frame["edited_at"].is_string(),
            deleted: frame["deleted_at"].is_string(),
            reactions: reactions
                .map(|reaction| {
                    (
                        reaction["emoji"].as_str().unwrap().to_owned(),
                        reaction["count"].as_i64().unwrap(),
                    )
                })
                .collect(),
        }
    }
}
