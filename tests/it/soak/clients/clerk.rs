//! A person without a socket: reads pages of the history by REST, and posts by REST until it is told that it is done.

use super::member::message_of;
use super::{BackOff, Desk, Phase, Record, Status, login};
use crate::soak::history::{Attempt, Change, Operation, Outcome, Page, Room};
use crate::support::client::Answer;
use crate::support::{Person, pace};
use parking_lot::Mutex;
use parlance::ids::MessageId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The mean pause between two requests.
const PAUSE: Duration = Duration::from_millis(600);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who it is.
pub struct Clerk {
    pub name: String,
    /// At nginx.
    pub person: Person,
    pub rooms: Vec<Room>,
    pub seed: u64,
}

impl Clerk {
    /// Works until it is over.
    pub async fn run(mut self, desk: Arc<Desk>, phase: watch::Receiver<Phase>, status: Arc<Mutex<Status>>) -> Record {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut record = Record::default();
        status.lock().connected = true;
        loop {
            let now = *phase.borrow();
            match now {
                Phase::Over => return record,
                Phase::Writing if random.random_bool(0.5) => {
                    let operation = self.post(&desk, &phase, &status, &mut random).await;
                    record.operations.push(operation);
                }
                _ => record.pages.extend(self.read(&desk, &mut random).await),
            }
            pace(PAUSE.mul_f64(random.random_range(0.2..1.8))).await;
        }
    }

    fn room(&self, random: &mut StdRng) -> Room {
        self.rooms[random.random_range(0..self.rooms.len())]
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let request = self
            .person
            .site
            .try_request(method, path, Some(&self.person.token), body);
        tokio::time::timeout(PATIENCE, request).await.ok()?.ok()
    }

    /// A page: mostly the newest, sometimes an older one. Nothing when it could not be read.
    async fn read(&mut self, desk: &Desk, random: &mut StdRng) -> Option<Page> {
        let room = self.room(random);
        let newest = random.random_bool(0.7);
        let what = if newest {
            String::new()
        } else {
            format!("&before={}", random.random_range(2..200))
        };
        let began = desk.stamp();
        let path = format!("/api/conversations/{}/messages?limit=30{what}", desk.rooms[room]);
        let answer = self.ask(Method::GET, &path, None).await?;
        desk.count(format!("GET: {}", answer.status));
        if answer.status == 401 {
            login(&mut self.person, desk).await;
            return None;
        }
        if answer.status != 200 {
            if !matches!(answer.status, 502..=504) {
                desk.complain(format!("{} reads a page: {} {}", self.name, answer.status, answer.body));
            }
            return None;
        }
        let messages = answer.body["items"].as_array()?.iter().map(message_of).collect();
        Some(Page {
            reader: self.name.clone(),
            room,
            began,
            newest,
            messages,
        })
    }

    /// Posts a message, however often that takes.
    async fn post(
        &mut self,
        desk: &Desk,
        phase: &watch::Receiver<Phase>,
        status: &Mutex<Status>,
        random: &mut StdRng,
    ) -> Operation {
        let (room, message) = (self.room(random), MessageId::new());
        let text = format!("by REST {message}");
        let mut operation = Operation {
            author: self.person.id,
            room,
            message,
            change: Change::Post { body: text.clone() },
            attempts: Vec::new(),
            outcome: Outcome::Open,
        };
        let path = format!("/api/conversations/{}/messages", desk.rooms[room]);
        let mut back_off = BackOff::new();
        while *phase.borrow() != Phase::Over {
            operation.attempts.push(Attempt {
                connection: desk.connection(),
                sent: desk.stamp(),
                settled: false,
            });
            status.lock().oldest_open = Some(operation.began());
            let body = json!({"id": message, "body": text});
            let answer = self.ask(Method::POST, &path, Some(body)).await;
            match answer {
                Some(answer) if matches!(answer.status, 200 | 201) => {
                    desk.count("operations done");
                    let rev = answer.body["rev"].as_i64().unwrap_or_default();
                    let seq = answer.body["seq"].as_i64();
                    let at = desk.stamp();
                    operation.attempts.last_mut().unwrap().settled = true;
                    operation.outcome = Outcome::Done { seq, rev, at };
                    break;
                }
                Some(answer) if answer.status == 401 => login(&mut self.person, desk).await,
                Some(answer) if !matches!(answer.status, 429 | 502..=504) => {
                    let code = answer.body["code"].as_str().unwrap_or("none");
                    let code = format!("{} {code}", answer.status);
                    operation.outcome = Outcome::Refused { code };
                    break;
                }
                Some(answer) => desk.count(format!("POST: {}", answer.status)),
                None => desk.count("POST: no answer"),
            }
            pace(back_off.next(random)).await;
        }
        status.lock().oldest_open = None;
        operation
    }
}
