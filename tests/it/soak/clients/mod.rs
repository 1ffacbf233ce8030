//! Who uses the installation: good clients, as `docs/protocol.md` describes one, that write down all they do and hear.
//!
//! [`member`] is a person with a socket, who follows some conversations and may write to them; [`clerk`] one who uses REST
//! only. They never give up: whatever breaks, they come back with jitter, resume from the revision they have, and send
//! again what was not answered, with the same id. What a server may never do to them they note as a complaint. The one
//! liberty: their pauses end at [`BACK_OFF_MAX`] instead of 30 s, so that a soak gets on.

pub mod clerk;
mod line;
pub mod load;
pub mod member;
mod work;

use super::history::{Operation, Page, Reader, Room, Stamp};
use crate::support::Person;
use crate::support::client::PASSWORD;
use parking_lot::Mutex;
use parlance::ids::ConversationId;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first pause, at most.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
/// The longest, at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(4);

/// What everybody does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Writing,
    /// Nothing new; what was begun is brought to its end.
    Finishing,
    Over,
}

/// What all clients share.
pub struct Desk {
    stamps: AtomicU64,
    connections: AtomicU64,
    pub rooms: Vec<ConversationId>,
    numbers: HashMap<ConversationId, Room>,
    /// How often something was met: closed with a code, refused with one, and so on.
    counts: Mutex<BTreeMap<String, u64>>,
    complaints: Mutex<Vec<String>>,
}

impl Desk {
    pub fn new(rooms: Vec<ConversationId>) -> Arc<Self> {
        Arc::new(Self {
            stamps: AtomicU64::new(1),
            connections: AtomicU64::new(1),
            numbers: rooms.iter().copied().zip(0..).collect(),
            rooms,
            counts: Mutex::default(),
            complaints: Mutex::default(),
        })
    }

    pub fn stamp(&self) -> Stamp {
        self.stamps.fetch_add(1, Ordering::SeqCst)
    }

    fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }

    fn room(&self, id: ConversationId) -> Option<Room> {
        self.numbers.get(&id).copied()
    }

    pub fn count(&self, what: impl Into<String>) {
        *self.counts.lock().entry(what.into()).or_default() += 1;
    }

    pub fn counted(&self, what: &str) -> u64 {
        self.counts.lock().get(what).copied().unwrap_or_default()
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().clone()
    }

    /// Something that no fault excuses.
    fn complain(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("  !! {what}");
        self.complaints.lock().push(what);
    }

    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().clone()
    }
}

/// How far a client is, for who waits until everybody is whole.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub connected: bool,
    /// Its revision of each room it follows, and whether it is live there.
    pub rooms: HashMap<Room, (i64, bool)>,
    /// When the oldest operation began that was not answered.
    pub oldest_open: Option<Stamp>,
}

/// What a client leaves.
#[derive(Default)]
pub struct Record {
    pub operations: Vec<Operation>,
    pub reader: Option<Reader>,
    pub pages: Vec<Page>,
}

/// Full jitter, doubling.
struct BackOff {
    limit: Duration,
}

impl BackOff {
    fn new() -> Self {
        Self { limit: BACK_OFF_MIN }
    }

    fn reset(&mut self) {
        self.limit = BACK_OFF_MIN;
    }

    fn next(&mut self, random: &mut StdRng) -> Duration {
        let pause = self.limit.mul_f64(random.random());
        self.limit = (self.limit * 2).min(BACK_OFF_MAX);
        pause
    }
}

/// Signs in once more with the password, when the token is not taken: it ran out, or a node's clock jumped.
async fn login(person: &mut Person, desk: &Desk) {
    let body = json!({"email": person.email, "password": PASSWORD});
    let request = person.site.try_request(Method::POST, "/auth/login", None, Some(body));
    let answer = tokio::time::timeout(Duration::from_secs(10), request).await;
    if let Ok(Ok(answer)) = answer
        && let Some(token) = answer.body["access_token"].as_str()
    {
        desk.count("logged in again");
        token.clone_into(&mut person.token);
    }
}
