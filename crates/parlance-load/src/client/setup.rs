//! Rooms and members, made through the public API only.
//!
//! One registration a run, whose password hash costs tens of milliseconds by design. Then a
//! conversation and an invite for each room, then a guest for each connection. A guest costs no
//! hash. Each has an identity of its own, so the server's limit of connections of a user is not in
//! the way. Guests are made on several connections at once, because each waits for a commit.

use crate::client::http::Client;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;
use uuid::Uuid;

/// Requests under way at once.
const PARALLEL: usize = 16;

/// Who takes part in a run.
pub(crate) struct Members {
    /// The conversation of each room.
    pub conversations: Vec<String>,
    /// The members of a room stand together.
    pub members: Vec<Member>,
}

pub(crate) struct Member {
    /// The number of its room.
    pub room: usize,
    pub token: String,
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
    let parts: Vec<Result<Vec<Member>>> = std::thread::scope(|scope| {
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
    let mut made = Vec::with_capacity(total);
    for part in parts {
        made.extend(part?);
    }
    made.sort_by_key(|member| member.room);
    Ok(Members {
        conversations,
        members: made,
    })
}

fn panicked() -> Error {
    Error::Protocol("a set-up thread panicked".into())
}

fn make_guests(
    address: SocketAddr,
    invites: &[String],
    per_room: usize,
    numbers: impl Iterator<Item = usize>,
) -> Result<Vec<Member>> {
    let mut client = Client::connect(address)?;
    numbers
        .map(|number| {
            let room = number / per_room;
            let body = json!({"name": format!("Guest {number}"), "invite": invites[room]});
            let guest = client.post("/auth/guest", None, &body)?;
            let token = text(&guest, "access_token")?;
            Ok(Member { room, token })
        })
        .collect()
}

/// A text field of a response.
pub(crate) fn text(response: &Value, field: &str) -> Result<String> {
    let value = response[field].as_str().map(str::to_owned);
    value.ok_or_else(|| Error::Protocol(format!("the response has no {field}: {response}")))
}
