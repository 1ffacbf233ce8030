//! A person with a socket: follows conversations, resumes by revision, and, as a writer, changes things.

use super::line::{End, Line};
use super::work::Work;
use super::{BackOff, Desk, Phase, Record, Status, login};
use crate::soak::history::{Event, Message, Reader, Room};
use crate::support::client::uuid_of;
use crate::support::{Person, pace};
use parking_lot::Mutex;
use parlance::ids::{ConversationId, MessageId, UserId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A client asks whether the line is alive when it has heard nothing for so long, and gives it up after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Connected for so long, the next pause is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Who somebody is, and what they do.
pub struct Member {
    pub name: String,
    pub person: Person,
    /// Where their sockets go.
    pub address: SocketAddr,
    pub rooms: Vec<Room>,
    /// The mean pause between two operations of a writer.
    pub writes_every: Option<Duration>,
    pub seed: u64,
}

/// A member at work.
struct Session {
    member: Member,
    desk: Arc<Desk>,
    phase: watch::Receiver<Phase>,
    status: Arc<Mutex<Status>>,
    random: StdRng,
    work: Work,
    events: Vec<Event>,
    rooms: HashMap<Room, Followed>,
    back_off: BackOff,
    /// When the next operation is invented.
    next_write: Instant,
    /// Whether the latest connection came to be.
    opened: bool,
}

/// How far it is with a room.
#[derive(Default)]
struct Followed {
    rev: i64,
    live: bool,
    /// When to subscribe, if that is not under way.
    subscribe_at: Option<Instant>,
}

/// One connection.
struct Connected {
    line: Line,
    number: u64,
    heard: Instant,
    asked: bool,
    /// After `goodbye`, nothing is sent; the pause before the next connection.
    leaving: Option<Duration>,
}

impl Member {
    /// Works until it is over; returns what was done and seen.
    pub async fn run(self, desk: Arc<Desk>, phase: watch::Receiver<Phase>, status: Arc<Mutex<Status>>) -> Record {
        let followed = |room: &Room| (*room, Followed::default());
        let session = Session {
            random: StdRng::seed_from_u64(self.seed),
            work: Work::new(self.person.id, self.rooms.clone()),
            events: Vec::new(),
            rooms: self.rooms.iter().map(followed).collect(),
            back_off: BackOff::new(),
            next_write: Instant::now(),
            opened: false,
            member: self,
            desk,
            phase,
            status,
        };
        session.run().await
    }
}

impl Session {
    async fn run(mut self) -> Record {
        self.update(false);
        while *self.phase.borrow() != Phase::Over {
            let began = Instant::now();
            self.opened = false;
            let (end, asked_pause) = self.connect_and_work().await;
            self.update(false);
            if began.elapsed() > HEALTHY_AFTER {
                self.back_off.reset();
            }
            let pause = self.pause_after(&end, asked_pause).await;
            let mut phase = self.phase.clone();
            tokio::select! {
                () = pace(pause) => {}
                // An error is the end of the soak, too.
                _ = phase.wait_for(|phase| *phase == Phase::Over) => {}
            }
        }
        Record {
            operations: self.work.into_operations(),
            reader: Some(Reader {
                name: self.member.name,
                rooms: self.member.rooms,
                events: self.events,
            }),
            pages: Vec::new(),
        }
    }

    /// What the way in which a connection ended means.
    async fn pause_after(&mut self, end: &End, asked: Option<Duration>) -> Duration {
        match end {
            End::Closed(code) => self.desk.count(format!("closed: {code}")),
            End::Refused(status) => self.desk.count(format!("handshake refused: {status}")),
            End::Broken if !self.opened => self.desk.count("handshake broken"),
            End::Broken if asked.is_some() => self.desk.count("connection broken after goodbye"),
            End::Broken => self.desk.count("connection broken"),
        }
        match end {
            End::Closed(4103) | End::Refused(401) => login(&mut self.member.person, &self.desk).await,
            End::Closed(code @ (1002 | 1007 | 1009 | 4000..4100)) => {
                self.desk
                    .complain(format!("{} was closed for good: {code}", self.member.name));
            }
            End::Refused(status @ (400 | 403 | 404)) => {
                self.desk
                    .complain(format!("{} was refused for good: {status}", self.member.name));
            }
            _ => {}
        }
        asked.unwrap_or_else(|| self.back_off.next(&mut self.random))
    }

    async fn connect_and_work(&mut self) -> (End, Option<Duration>) {
        let (line, hello) = match Line::open(self.member.address, &self.member.person.token).await {
            Ok(opened) => opened,
            Err(end) => return (end, None),
        };
        self.opened = true;
        self.desk.count("connections");
        if hello["type"] != "hello" {
            self.desk.complain(format!("the server spoke first, but said {hello}"));
        }
        let mut connected = Connected {
            line,
            number: self.desk.connection(),
            heard: Instant::now(),
            asked: false,
            leaving: None,
        };
        self.work.reconnected();
        for followed in self.rooms.values_mut() {
            (followed.live, followed.subscribe_at) = (false, Some(Instant::now()));
        }
        let end = loop {
            self.update(true);
            if *self.phase.borrow() == Phase::Over {
                break End::Closed(1000);
            }
            if let Err(end) = self.turn(&mut connected).await {
                break end;
            }
        };
        (end, connected.leaving)
    }

    /// Sends what is due, and waits for what comes first: a frame, or the next thing to do.
    async fn turn(&mut self, connected: &mut Connected) -> Result<(), End> {
        if connected.leaving.is_none() {
            self.send_due(connected).await?;
        }
        let wake = self.next_wake(connected);
        let mut phase = self.phase.clone();
        tokio::select! {
            frame = connected.line.next() => {
                let frame = frame?;
                (connected.heard, connected.asked) = (Instant::now(), false);
                self.take(&frame, connected);
            }
            () = tokio::time::sleep_until(wake.into()) => {}
            // Whoever hears of the end looks at it at the next turn.
            _ = phase.changed() => {}
        }
        Ok(())
    }

    fn next_wake(&self, connected: &Connected) -> Instant {
        let silence = connected.heard + SILENCE_MAX * if connected.asked { 2 } else { 1 };
        if connected.leaving.is_some() {
            return silence;
        }
        let writes = (self.writes() && self.work.has_room()).then_some(self.next_write);
        let subscribes = self.rooms.values().filter_map(|followed| followed.subscribe_at).min();
        let due = [writes, subscribes, self.work.next_due()];
        due.into_iter().flatten().fold(silence, Instant::min)
    }

    fn writes(&self) -> bool {
        self.member.writes_every.is_some() && *self.phase.borrow() == Phase::Writing
    }

    async fn send_due(&mut self, connected: &mut Connected) -> Result<(), End> {
        let now = Instant::now();
        if now >= connected.heard + SILENCE_MAX * 2 {
            self.desk.count("given up for silence");
            return Err(End::Broken);
        }
        if now >= connected.heard + SILENCE_MAX && !connected.asked {
            connected.asked = true;
            connected.line.send(&json!({"type": "ping", "ref": "ping"})).await?;
        }
        for (room, followed) in &mut self.rooms {
            if followed.subscribe_at.is_some_and(|at| at <= now) {
                (followed.subscribe_at, followed.live) = (None, false);
                self.events.push(Event::Subscribe { room: *room });
                let conversation = self.desk.rooms[*room];
                let frame = json!({"type": "subscribe", "ref": format!("s{room}"), "conversation": conversation,
                                   "after": followed.rev});
                connected.line.send(&frame).await?;
            }
        }
        if self.writes() && self.work.has_room() && now >= self.next_write {
            self.invent(connected).await?;
        }
        while let Some(frame) = self.work.take_due(&self.desk, connected.number) {
            connected.line.send(&frame).await?;
        }
        Ok(())
    }

    async fn invent(&mut self, connected: &mut Connected) -> Result<(), End> {
        let mean = self.member.writes_every.unwrap();
        self.next_write = Instant::now() + mean.mul_f64(self.random.random_range(0.2..1.8));
        self.work.invent(&self.desk, &mut self.random);
        if self.random.random_bool(0.03) {
            let room = self.member.rooms[self.random.random_range(0..self.member.rooms.len())];
            let conversation = self.desk.rooms[room];
            let on = self.random.random_bool(0.5);
            connected
                .line
                .send(&json!({"type": "typing", "conversation": conversation, "on": on}))
                .await?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Value, connected: &mut Connected) {
        match frame["type"].as_str().unwrap_or_default() {
            "message" | "updated" | "member" | "conversation" => self.changed(frame),
            "subscribed" => self.subscribed(frame),
            "goodbye" => {
                self.desk.count("goodbyes");
                let pause = frame["retry_after_ms"].as_u64().unwrap_or_default();
                connected.leaving = Some(Duration::from_millis(pause));
            }
            _ => {
                if !self.work.heard(frame, &self.desk, &mut self.random) && frame["type"] == "error" {
                    self.refused(frame);
                }
            }
        }
    }

    /// A `subscribe` was refused, or something of ours that may not be.
    fn refused(&mut self, frame: &Value) {
        let code = frame["code"].as_str().unwrap_or_default();
        let room = frame["ref"]
            .as_str()
            .and_then(|text| text.strip_prefix('s')?.parse().ok());
        let followed = room.and_then(|room: Room| self.rooms.get_mut(&room));
        match (followed, code) {
            (Some(followed), "unavailable" | "overloaded" | "rate_limited") => {
                self.desk.count(format!("subscribe refused: {code}"));
                let pause = frame["retry_after_ms"].as_u64().unwrap_or(500) as f64;
                let pause = pause * self.random.random_range(1.0..1.5);
                followed.subscribe_at = Some(Instant::now() + Duration::from_secs_f64(pause / 1e3));
            }
            _ => self.desk.complain(format!("{} was told {frame}", self.member.name)),
        }
    }

    fn room_of(&self, frame: &Value) -> Option<Room> {
        self.desk.room(ConversationId(uuid_of(&frame["conversation"])))
    }

    fn changed(&mut self, frame: &Value) {
        let (Some(room), Some(rev)) = (self.room_of(frame), frame["rev"].as_i64()) else {
            self.desk.complain(format!("not a change: {frame}"));
            return;
        };
        let Some(followed) = self.rooms.get_mut(&room) else {
            self.desk
                .complain(format!("{} does not follow: {frame}", self.member.name));
            return;
        };
        followed.rev = rev.max(followed.rev);
        let kind = frame["type"].as_str().unwrap_or_default();
        if !matches!(kind, "message" | "updated") {
            self.events.push(Event::Passed { room, rev });
            return;
        }
        self.desk.count("frames");
        let message = message_of(frame);
        if !message.deleted {
            self.work.saw(room, message.id);
        }
        let fresh = kind == "message";
        self.events.push(Event::Shown {
            room,
            rev,
            fresh,
            message,
        });
    }

    fn subscribed(&mut self, frame: &Value) {
        let (Some(room), Some(rev)) = (self.room_of(frame), frame["rev"].as_i64()) else {
            self.desk.complain(format!("not `subscribed`: {frame}"));
            return;
        };
        if let Some(followed) = self.rooms.get_mut(&room) {
            (followed.rev, followed.live) = (rev.max(followed.rev), true);
            self.events.push(Event::Subscribed { room, rev });
        }
    }

    fn update(&self, connected: bool) {
        let mut status = self.status.lock();
        status.connected = connected;
        status.oldest_open = self.work.oldest_open();
        for (room, followed) in &self.rooms {
            status.rooms.insert(*room, (followed.rev, connected && followed.live));
        }
    }
}

/// A message as a frame or an item of a page has it.
pub(super) fn message_of(frame: &Value) -> Message {
    let reactions = frame["reactions"].as_array().into_iter().flatten();
    Message {
        id: MessageId(uuid_of(&frame["id"])),
        seq: frame["seq"].as_i64().unwrap_or_default(),
        author: UserId(uuid_of(&frame["author"])),
        body: frame["body"].as_str().map(str::to_owned),
        edited: frame["edited_at"].is_string(),
        deleted: frame["deleted_at"].is_string(),
        reactions: reactions
            .filter_map(|reaction| Some((reaction["emoji"].as_str()?.to_owned(), reaction["count"].as_i64()?)))
            .collect(),
    }
}
