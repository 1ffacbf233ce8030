//! The neighbour and the attackers: a tenant each, made through the public API.
//!
//! Each person has an address of their own, from which all that they do seems to come. So nobody
//! shares an address, unless a way of `ways.rs` is about that.

use crate::client::http::{Client, another_client};
use crate::client::setup::text;
use crate::error::{Error, Result};
use crate::fairness::socket::Socket;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Accounts that are made at once; each costs the server a password hash.
const SIGN_UPS: usize = 4;
/// Long messages in each attacker's own conversation, and in the one of all of them.
const LONG_MESSAGES: usize = 20;

/// One account.
pub(super) struct Person {
    pub email: String,
    pub password: String,
    pub token: String,
    /// The address that they have.
    pub origin: IpAddr,
    /// A conversation of their own.
    pub own: String,
}

/// A tenant with a conversation of all its people.
pub(super) struct Tenant {
    pub people: Vec<Person>,
    pub common: String,
}

impl Tenant {
    /// Makes a tenant with so many people.
    pub(super) fn make(address: SocketAddr, name: &str, people: usize) -> Result<Self> {
        let run = Uuid::new_v4().simple().to_string();
        let mut first = sign_up(address, &format!("{name}-0-{run}"), None)?;
        let mut client = Client::connect_from(address, first.origin)?;
        let common = client.post("/api/conversations", Some(&first.token), &json!({"title": name}))?;
        let common = text(&common, "id")?;
        let invites = format!("/api/conversations/{common}/invites");
        let invite = text(&client.post(&invites, Some(&first.token), &json!({}))?, "code")?;
        first.own = conversation_of(address, &first)?;
        let invite = invite.as_str();
        let parts: Vec<Result<Vec<Person>>> = std::thread::scope(|scope| {
            let run = run.as_str();
            let make = move |part: usize| -> Result<Vec<Person>> {
                let numbers = (1 + part..people).step_by(SIGN_UPS);
                numbers
                    .map(|number| {
                        let mut person = sign_up(address, &format!("{name}-{number}-{run}"), Some(invite))?;
                        person.own = conversation_of(address, &person)?;
                        Ok(person)
                    })
                    .collect()
            };
            let threads: Vec<_> = (0..SIGN_UPS).map(|part| scope.spawn(move || make(part))).collect();
            let panicked = || Error::Protocol("a thread of the set-up panicked".into());
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
                .collect()
        });
        let mut all = vec![first];
        for part in parts {
            all.extend(part?);
        }
        Ok(Self { people: all, common })
    }

    /// Gives everybody something long to read: in their own conversation, and in that of all.
    pub(super) fn write_long(&self, address: SocketAddr) -> Result<()> {
        for (number, person) in self.people.iter().enumerate() {
            let mut socket = Socket::open(address, person.origin, &person.token)?;
            // Few of them, so that the set-up is over before the quotas are.
            let places: &[&str] = if number == 0 {
                &[&person.own, &self.common]
            } else {
                &[&person.own]
            };
            let messages = if number < 8 { LONG_MESSAGES } else { 0 };
            for place in places {
                for _ in 0..messages {
                    let body = "\u{1}".repeat(10_000);
                    let frame = json!({"type": "send", "conversation": place, "id": Uuid::new_v4(), "body": body});
                    socket.ask(frame)?;
                }
            }
        }
        Ok(())
    }
}

fn sign_up(address: SocketAddr, name: &str, invite: Option<&str>) -> Result<Person> {
    let origin = IpAddr::V4(another_client());
    let mut client = Client::connect_from(address, origin)?;
    let (email, password) = (format!("{name}@example.test"), format!("Load-{name}"));
    let mut account = json!({"email": email, "password": password, "name": "Load"});
    if let Some(invite) = invite {
        account["invite"] = invite.into();
    }
    let token = text(&client.post("/auth/register", None, &account)?, "access_token")?;
    Ok(Person {
        email,
        password,
        token,
        origin,
        own: String::new(),
    })
}

fn conversation_of(address: SocketAddr, person: &Person) -> Result<String> {
    let mut client = Client::connect_from(address, person.origin)?;
    let made = client.post("/api/conversations", Some(&person.token), &json!({"title": "Own"}))?;
    text(&made, "id")
}
