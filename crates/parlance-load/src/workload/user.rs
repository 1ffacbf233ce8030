//! One user from the first action to the last: thinks, acts, and counts what it took.

use super::action::{Action, QUESTIONS, Role, pick, thought};
use super::board::Board;
use super::cast::{User, number, search_word, sentence};
use super::person_socket::PersonSocket;
use crate::client::http::Client;
use crate::error::{Error, Result};
use rand::RngExt as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A connection that was idle for longer is not used again, as browsers do it: the server may have
/// ended it.
const IDLE_MAX: Duration = Duration::from_secs(8);

/// What all users share.
pub(super) struct Stage<'a> {
    pub(super) address: SocketAddr,
    pub(super) board: &'a Board,
    pub(super) analytics_key: Option<&'a str>,
    /// The date, which ends the ranges of most questions.
    pub(super) today: String,
    pub(super) ends_at: Instant,
}

/// A connection, and when it was used last.
struct IdleClient {
    client: Client,
    used_at: Instant,
}

struct Actor<'a> {
    user: &'a User,
    stage: &'a Stage<'a>,
    /// For requests; `None` until the first, and after a fault.
    client: Option<IdleClient>,
    /// `None` for a program, and after a fault.
    socket: Option<PersonSocket>,
    /// How often it has acted, so that words and pages differ.
    turn: usize,
}

/// Acts from `begins_at` to the end of the stage. What fails is counted; the user goes on.
pub(super) fn act(user: &User, stage: &Stage<'_>, begins_at: Instant) -> Result<()> {
    rest_until(begins_at);
    let mut actor = Actor {
        user,
        stage,
        client: None,
        socket: None,
        turn: rand::rng().random_range(0..1_000),
    };
    if user.role == Role::Person {
        actor.time(Action::Open);
    }
    while Instant::now() < stage.ends_at {
        let next = Instant::now() + thought(user.role, rand::rng().random());
        actor.wait(next.min(stage.ends_at));
        if Instant::now() < stage.ends_at {
            actor.turn += 1;
            actor.time(pick(user.role, rand::rng().random_range(0..100)));
        }
    }
    if let Some(socket) = actor.socket.take() {
        stage.board.delivered(socket.messages);
        socket.close();
    }
    Ok(())
}

impl Actor<'_> {
    /// Acts once. Numbers are only asked for where the server has them.
    fn time(&mut self, action: Action) {
        let action = match action {
            Action::Analytics if self.stage.analytics_key.is_none() => Action::List,
            action => action,
        };
        let started = Instant::now();
        match self.perform(action) {
            Ok(()) => self.stage.board.succeeded(action, started.elapsed()),
            Err(error) => {
                self.stage.board.failed(action, &error.to_string());
                self.recover();
            }
        }
    }

    fn perform(&mut self, action: Action) -> Result<()> {
        let (turn, room) = (self.turn, self.user.rooms[self.turn % self.user.rooms.len()].clone());
        match action {
            Action::Open => self.open(),
            Action::Post => {
                let id = Uuid::new_v4();
                let body = sentence(turn);
                match &mut self.socket {
                    Some(socket) => socket
                        .ask(json!({"type": "send", "conversation": room, "id": id, "body": body}))
                        .map(drop),
                    None => self
                        .request("POST", &messages(&room), &json!({"id": id, "body": body}))
                        .map(drop),
                }
            }
            Action::Typing => self.ask(json!({"type": "typing", "conversation": room, "on": turn % 2 == 0})),
            Action::Read => self.ask(json!({"type": "read", "conversation": room, "seq": turn})),
            Action::History => {
                let page = self.request("GET", &messages(&room), &Value::Null)?;
                let first = page["items"].get(0).map_or(0, |item| number(item, "seq"));
                // As who scrolls up: the page before, every second time.
                if turn % 2 == 0 && first > 1 {
                    let older = format!("{}?before={first}", messages(&room));
                    self.request("GET", &older, &Value::Null)?;
                }
                Ok(())
            }
            Action::List => self.request("GET", "/api/conversations", &Value::Null).map(drop),
            Action::Search => {
                let path = format!("/api/search?q={}&limit=20", search_word(turn));
                self.request("GET", &path, &Value::Null).map(drop)
            }
            Action::Analytics => {
                let question = QUESTIONS[turn % QUESTIONS.len()].replace("{today}", &self.stage.today);
                let key = self.stage.analytics_key;
                let (status, body) = self.client()?.request("GET", &question, key, "")?;
                expect_success("GET", &question, status, body).map(drop)
            }
        }
    }

    /// Opens a socket in place of the one there is, and subscribes to every room.
    fn open(&mut self) -> Result<()> {
        if let Some(old) = self.socket.take() {
            self.stage.board.delivered(old.messages);
            old.close();
        }
        let mut socket = PersonSocket::open(self.stage.address, &self.user.token)?;
        for room in &self.user.rooms {
            socket.ask(json!({"type": "subscribe", "conversation": room}))?;
        }
        // The snapshots are no deliveries.
        socket.messages = 0;
        self.socket = Some(socket);
        Ok(())
    }

    fn ask(&mut self, frame: Value) -> Result<()> {
        match &mut self.socket {
            Some(socket) => socket.ask(frame).map(drop),
            None => self.open(),
        }
    }

    fn request(&mut self, method: &'static str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let token = Some(self.user.token.as_str());
        let (status, text) = self.client()?.request(method, path, token, &body)?;
        let text = expect_success(method, path, status, text)?;
        serde_json::from_str(&text).map_err(|error| Error::Protocol(format!("{method} {path}: {error}")))
    }

    /// The connection for requests, or a new one.
    fn client(&mut self) -> Result<&mut Client> {
        let fresh = self.client.take().filter(|client| client.used_at.elapsed() < IDLE_MAX);
        let client = match fresh {
            Some(IdleClient { client, .. }) => client,
            None => Client::connect(self.stage.address)?,
        };
        let used_at = Instant::now();
        Ok(&mut self.client.insert(IdleClient { client, used_at }).client)
    }

    /// After a fault nothing is known of the connections.
    fn recover(&mut self) {
        self.client = None;
        if let Some(socket) = self.socket.take() {
            self.stage.board.delivered(socket.messages);
        }
    }

    /// Thinks, and listens meanwhile.
    fn wait(&mut self, until: Instant) {
        let Some(socket) = &mut self.socket else {
            return rest_until(until);
        };
        let heard = socket.listen(until);
        let messages = std::mem::take(&mut socket.messages);
        if messages > 0 {
            self.stage.board.delivered(messages);
        }
        if let Err(error) = heard {
            // Cut by the server, which is an error of its own.
            self.stage.board.failed(Action::Open, &error.to_string());
            self.recover();
            rest_until(until.min(Instant::now() + Duration::from_secs(1)));
            self.time(Action::Open);
        }
    }
}

fn messages(room: &str) -> String {
    format!("/api/conversations/{room}/messages")
}

fn expect_success(method: &str, path: &str, status: u16, body: String) -> Result<String> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    // Without what differs each time, so that the same errors are counted together.
    let segments = path.split('?').next().unwrap_or_default().split('/');
    let named = segments.map(|segment| {
        if Uuid::try_parse(segment).is_ok() {
            "{id}"
        } else {
            segment
        }
    });
    let path = named.collect::<Vec<_>>().join("/");
    Err(Error::Http {
        request: format!("{method} {path}"),
        status,
        body: body.chars().take(120).collect(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a user's thread has nothing else to do while the user thinks"
)]
fn rest_until(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}
