//! Rooms and members, made through the public API only.
//!
//! One registration per run (its password hash costs tens of milliseconds by design), then per room a conversation
//! and an invite, then one guest per connection: a guest costs no hash and each has its own identity, so the server's
//! limit of connections per user is not in the way. Guests are made on several connections at once, because each
//! waits for a commit.

use crate::error::{Error, Result};
use crate::http::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use uuid::Uuid;

/// Requests under way at once.
const PARALLEL: usize = 16;

/// Who takes part: the conversations, and for each member its room and access token.
pub(crate) struct Members {
    /// The rooms' conversation ids.
    pub conversations: Vec<String>,
    /// Room and token of each member; the members of a room stand together.
    pub tokens: Vec<(usize, String)>,
}

/// Makes `rooms` conversations with `members` guests each.
pub(crate) fn make(address: SocketAddr, rooms: usize, members: usize) -> Result<Members> {
    let mut client = Client::connect(address)?;
    let run = Uuid::new_v4().simple().to_string();
    let owner = client.post(
        "/auth/register",
        None,
        &json!({
            "email": format!("load-{run}@example.test"),
            "password": format!("Load-{run}"),
            "name": "Load",
            "workspace": "Load"
        }),
    )?;
    let owner = text(&owner, "access_token")?;
    let mut conversations = Vec::with_capacity(rooms);
    let mut invites = Vec::with_capacity(rooms);
    for room in 0..rooms {
        let made = client.post(
            "/api/conversations",
            Some(&owner),
            &json!({"title": format!("Room {room}")}),
        )?;
        let id = text(&made, "id")?.to_lowercase();
        let invite = client.post(&format!("/api/conversations/{id}/invites"), Some(&owner), &json!({}))?;
        invites.push(text(&invite, "code")?);
        conversations.push(id);
    }
    let total = rooms * members;
    let parts: Vec<Result<Vec<(usize, String)>>> = std::thread::scope(|scope| {
        let invites = &invites;
        let workers: Vec<_> = (0..PARALLEL)
            .map(|worker| {
                scope.spawn(move || make_guests(address, invites, members, (worker..total).step_by(PARALLEL)))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(panicked())))
            .collect()
    });
    let mut tokens = Vec::with_capacity(total);
    for part in parts {
        tokens.extend(part?);
    }
    tokens.sort_by_key(|(room, _)| *room);
    Ok(Members { conversations, tokens })
}

fn panicked() -> Error {
    Error::Protocol("a set-up thread panicked".into())
}

fn make_guests(
    address: SocketAddr,
    invites: &[String],
    per_room: usize,
    numbers: impl Iterator<Item = usize>,
) -> Result<Vec<(usize, String)>> {
    let mut client = Client::connect(address)?;
    numbers
        .map(|number| {
            let room = number / per_room;
            let body = json!({"name": format!("Guest {number}"), "invite": invites[room]});
            let guest = client.post("/auth/guest", None, &body)?;
            Ok((room, text(&guest, "access_token")?))
        })
        .collect()
}

fn text(answer: &Value, field: &str) -> Result<String> {
    let value = answer[field].as_str().map(str::to_owned);
    value.ok_or_else(|| Error::Protocol(format!("the answer has no {field}: {answer}")))
}
