//! What an attacker's account does, over and over, in each of the ways.
//!
//! Everything is within what the server lets an account do. Refusals are what is expected. After one
//! the account pauses a little, so that the tool does not only measure itself.

use crate::client::http::Client;
use crate::error::Result;
use crate::fairness::neighbour::wait_until;
use crate::fairness::people::{Person, Tenant};
use crate::fairness::socket::Socket;
use rand::RngExt as _;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Threads that act for the accounts.
const THREADS: usize = 24;
/// After a refusal.
const PAUSE: Duration = Duration::from_millis(100);
/// Sockets that an account leaves open without reading.
const STUCK_MAX: usize = 4;

/// A way to do one's worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// `typing` and `read` for made-up conversations.
    Frames,
    /// Subscribing to made-up conversations, and to one's own again and again.
    Starts,
    /// Subscribing to long conversations without reading what comes.
    Snapshots,
    /// Pages of long messages over REST.
    Pages,
    /// Reacting to one message, all of them.
    Reactions,
    /// Long messages of many different words.
    Words,
    /// Messages of control characters to many fast readers.
    ControlCharacters,
    /// Searches for a word of all messages.
    Searches,
    /// Wrong passwords from many networks of one provider's customer, and new ones that take long to
    /// judge.
    Passwords,
    /// Requests without credentials from the neighbour's own addresses.
    Nobody,
}

impl Way {
    pub(super) const ALL: [Self; 10] = [
        Self::Frames,
        Self::Starts,
        Self::Snapshots,
        Self::Pages,
        Self::Reactions,
        Self::Words,
        Self::ControlCharacters,
        Self::Searches,
        Self::Passwords,
        Self::Nobody,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Frames => "frames about made-up conversations",
            Self::Starts => "starting conversations",
            Self::Snapshots => "snapshots that nobody reads",
            Self::Pages => "pages of long messages",
            Self::Reactions => "reactions to one message",
            Self::Words => "long texts of many words",
            Self::ControlCharacters => "control characters",
            Self::Searches => "searches",
            Self::Passwords => "wrong and heavy passwords",
            Self::Nobody => "no credentials, same address",
        }
    }
}

/// Who attacks whom.
pub(super) struct Attack<'a> {
    pub address: SocketAddr,
    pub way: Way,
    pub attackers: &'a Tenant,
    pub neighbour: &'a Tenant,
    /// A message that all attackers can react to.
    pub target: &'a str,
}

impl Attack<'_> {
    /// Goes on until `stop`. How often something was done.
    pub(super) fn run(&self, stop: &AtomicBool) -> u64 {
        let people = &self.attackers.people;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS.min(people.len()))
                .map(|thread| {
                    let mut accounts: Vec<_> = (thread..people.len())
                        .step_by(THREADS)
                        .map(|number| Account::new(self, &people[number], number))
                        .collect();
                    scope.spawn(move || {
                        let mut done = 0;
                        for turn in 0.. {
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                            let at = turn % accounts.len();
                            done += u64::from(accounts[at].act());
                        }
                        done
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_default())
                .sum()
        })
    }
}

/// One account at work.
struct Account<'a> {
    attack: &'a Attack<'a>,
    person: &'a Person,
    number: usize,
    socket: Option<Socket>,
    client: Option<Client>,
    /// Sockets that are not read.
    stuck: Vec<Socket>,
    /// Before this nothing is done.
    rests_until: Instant,
}

impl<'a> Account<'a> {
    fn new(attack: &'a Attack<'a>, person: &'a Person, number: usize) -> Self {
        Self {
            attack,
            person,
            number,
            socket: None,
            client: None,
            stuck: Vec::new(),
            rests_until: Instant::now(),
        }
    }

    /// Does it once; whether it was let.
    fn act(&mut self) -> bool {
        let now = Instant::now();
        if now < self.rests_until {
            // The others of this thread may rest, too.
            wait_until(now + Duration::from_millis(1));
            return false;
        }
        let done = match self.attack.way {
            Way::Frames => self.made_up_frames(),
            Way::Starts => self.subscribe(),
            Way::Snapshots => self.stuck_snapshots(),
            Way::Pages => self.get("/api/conversations/{}/messages?limit=100"),
            Way::Reactions => self.react(),
            Way::Words => self.send(&random_words()),
            Way::ControlCharacters => self.send(&"\u{1}".repeat(10_000)),
            Way::Searches => self.get("/api/search?q=w*&limit=50"),
            Way::Passwords => self.passwords(),
            Way::Nobody => self.nobody(),
        };
        let is_done = matches!(done, Ok(true));
        if !is_done {
            self.rests_until = Instant::now() + PAUSE;
        }
        if done.is_err() {
            (self.socket, self.client) = (None, None);
        }
        is_done
    }

    fn socket(&mut self) -> Result<&mut Socket> {
        if self.socket.is_none() {
            let mut socket = self.open()?;
            if self.attack.way == Way::ControlCharacters {
                socket.ask(json!({"type": "subscribe", "conversation": self.attack.attackers.common}))?;
            }
            self.socket = Some(socket);
        }
        self.socket
            .as_mut()
            .ok_or_else(|| crate::error::Error::Protocol("no socket".into()))
    }

    fn open(&self) -> Result<Socket> {
        Socket::open(self.attack.address, self.person.origin, &self.person.token)
    }

    fn ask(&mut self, frame: Value) -> Result<bool> {
        Ok(self.socket()?.ask(frame)?["type"] != "error")
    }

    fn made_up_frames(&mut self) -> Result<bool> {
        for _ in 0..16 {
            let typing = json!({"type": "typing", "conversation": Uuid::new_v4(), "on": true});
            self.socket()?.send(&typing)?;
            let read = json!({"type": "read", "conversation": Uuid::new_v4(), "seq": 1});
            self.socket()?.send(&read)?;
        }
        self.ask(json!({"type": "ping"}))
    }

    fn subscribe(&mut self) -> Result<bool> {
        let made_up = json!({"type": "subscribe", "conversation": Uuid::new_v4()});
        self.ask(made_up)?;
        let own = self.person.own.as_str();
        self.ask(json!({"type": "subscribe", "conversation": own}))?;
        self.ask(json!({"type": "unsubscribe", "conversation": own}))
    }

    fn stuck_snapshots(&mut self) -> Result<bool> {
        if self.stuck.len() >= STUCK_MAX {
            self.stuck.remove(0);
        }
        let mut socket = self.open()?;
        for conversation in [&self.person.own, &self.attack.attackers.common] {
            socket.send(&json!({"type": "subscribe", "conversation": conversation, "ref": "s"}))?;
        }
        self.stuck.push(socket);
        Ok(true)
    }

    fn react(&mut self) -> Result<bool> {
        let (conversation, id) = (self.attack.attackers.common.as_str(), self.attack.target);
        let emoji = ["👍", "🎉", "🙂", "🚀"][self.number % 4];
        let on: bool = rand::rng().random();
        self.ask(json!({"type": "react", "conversation": conversation, "id": id, "emoji": emoji, "on": on}))
    }

    fn send(&mut self, body: &str) -> Result<bool> {
        let conversation = match self.attack.way {
            Way::ControlCharacters => self.attack.attackers.common.as_str(),
            _ => self.person.own.as_str(),
        };
        let frame = json!({"type": "send", "conversation": conversation, "id": Uuid::new_v4(), "body": body});
        self.ask(frame)
    }

    fn get(&mut self, path: &str) -> Result<bool> {
        let path = path.replace("{}", &self.attack.attackers.common);
        let token = self.person.token.as_str();
        let origin = self.person.origin;
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect_from(self.attack.address, origin)?),
        };
        let (status, _) = client.request("GET", &path, Some(token), "")?;
        Ok(status == 200)
    }

    fn passwords(&mut self) -> Result<bool> {
        let mut rng = rand::rng();
        // A /48 of documentation, another /64 each time.
        let network = 0x2001_0db8_0007_0000_u128 + u128::from(rng.random::<u16>());
        let origin = IpAddr::V6(Ipv6Addr::from_bits(network << 64 | 1));
        let mut client = Client::connect_from(self.attack.address, origin)?;
        let (path, body) = if rng.random() {
            let whom = &self.attack.neighbour.people;
            let email = &whom[rng.random_range(0..whom.len())].email;
            ("/auth/login", json!({"email": email, "password": "not the right one"}))
        } else {
            let email = format!("{}@example.test", Uuid::new_v4());
            let password = "p@$$w0rD1!".repeat(10);
            (
                "/auth/register",
                json!({"email": email, "password": password, "name": "M"}),
            )
        };
        let (status, _) = client.request("POST", path, None, &body.to_string())?;
        Ok(status != 429)
    }

    fn nobody(&mut self) -> Result<bool> {
        let whom = &self.attack.neighbour.people;
        let origin = whom[self.number % whom.len()].origin;
        let mut client = Client::connect_from(self.attack.address, origin)?;
        let mut is_let = true;
        for _ in 0..20 {
            let (status, _) = client.request("GET", "/api/me", None, "")?;
            is_let &= status != 429;
        }
        Ok(is_let)
    }
}

/// As long as a message may be, no word twice.
fn random_words() -> String {
    let mut text = String::new();
    let mut rng = rand::rng();
    while text.len() < 16_000 {
        text.push_str(&format!("w{:07x} ", rng.random::<u32>() >> 4));
    }
    text
}
