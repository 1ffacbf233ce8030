//! Makes the workspace of a workload through the public API: an owner, people and programs, rooms
//! of several sizes, and what was said there before.

use super::action::{QUESTIONS, Role};
use super::size::Extent;
use crate::client::http::Client;
use crate::client::setup::text;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;
use uuid::Uuid;

/// Rooms that each user is in, beside the one of everybody.
const ROOMS_EACH: usize = 4;
/// What was said in each room before.
const MESSAGES_BEFORE: usize = 80;
/// Requests under way at once.
const PARALLEL: usize = 4;

/// Somebody who acts.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) role: Role,
    /// An access token, or the secret of a key.
    pub(super) token: String,
    /// Ids of conversations.
    pub(super) rooms: Vec<String>,
}

/// The workspace.
pub(super) struct Cast {
    pub(super) users: Vec<User>,
    /// The owner's key for numbers; `None` where the server has none to give.
    pub(super) analytics_key: Option<String>,
}

struct Room {
    id: String,
    invite: String,
}

/// Signs everybody up.
pub(super) fn make(address: SocketAddr, extent: &Extent) -> Result<Cast> {
    let run = Uuid::new_v4().simple().to_string();
    let password = format!("Load-{run}");
    let mut client = Client::connect(address)?;
    let account = json!({"email": format!("owner-{run}@example.test"), "password": password, "name": "Owner",
                         "workspace": "Workload"});
    let owner = text(&client.post("/auth/register", None, &account)?, "access_token")?;
    let n_rooms = (extent.users() / 4).max(ROOMS_EACH + 1);
    let rooms = (0..n_rooms)
        .map(|n| room(&mut client, &owner, n))
        .collect::<Result<Vec<_>>>()?;
    let parts = side_by_side(|part| {
        let mut client = Client::connect(address)?;
        for room in rooms.iter().skip(part).step_by(PARALLEL) {
            talk(&mut client, &owner, room)?;
        }
        (part..extent.users())
            .step_by(PARALLEL)
            .map(|n| user(&mut client, &rooms, n, extent, &run, &password))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(Cast {
        users: parts.into_iter().flatten().collect(),
        analytics_key: analytics_key(&mut client, &owner)?,
    })
}

fn side_by_side<T: Send>(part: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let part = &part;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL).map(|n| scope.spawn(move || part(n))).collect();
        let panicked = || Error::Protocol("a set-up thread panicked".into());
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
            .collect()
    })
}

fn room(client: &mut Client, owner: &str, n: usize) -> Result<Room> {
    let made = client.post(
        "/api/conversations",
        Some(owner),
        &json!({"title": format!("Room {n}")}),
    )?;
    let id = text(&made, "id")?;
    let invite = client.post(&format!("/api/conversations/{id}/invites"), Some(owner), &json!({}))?;
    Ok(Room {
        id,
        invite: text(&invite, "code")?,
    })
}

fn talk(client: &mut Client, owner: &str, room: &Room) -> Result<()> {
    let path = format!("/api/conversations/{}/messages", room.id);
    for n in 0..MESSAGES_BEFORE {
        client.post(&path, Some(owner), &json!({"id": Uuid::new_v4(), "body": sentence(n)}))?;
    }
    Ok(())
}

/// Something to say, and to find.
pub(super) fn sentence(n: usize) -> String {
    const SUBJECTS: [&str; 11] = [
        "release",
        "invoice",
        "dashboard",
        "customer",
        "backup",
        "survey",
        "contract",
        "roadmap",
        "certificate",
        "lunch",
        "budget",
    ];
    const ENDS: [&str; 7] = [
        "is ready for review",
        "needs a decision",
        "went out this morning",
        "failed last night",
        "looks much better now",
        "moved to next week",
        "is done",
    ];
    format!("The {} {}, number {n}.", word(n, &SUBJECTS), word(n / 3, &ENDS))
}

/// A word that some of the sentences have.
pub(super) fn search_word(n: usize) -> &'static str {
    word(
        n,
        &[
            "release",
            "invoice",
            "dashboard",
            "review",
            "decision",
            "morning",
            "budget",
            "lunch",
        ],
    )
}

fn word(n: usize, of: &[&'static str]) -> &'static str {
    of.get(n % of.len()).copied().unwrap_or_default()
}

fn user(client: &mut Client, rooms: &[Room], n: usize, extent: &Extent, run: &str, password: &str) -> Result<User> {
    // Room 0 is everybody's; the others are shared by about as many as a team has.
    let mine: Vec<&Room> = std::iter::once(0)
        .chain((0..ROOMS_EACH).map(|k| 1 + (n * (k + 1) + k) % (rooms.len() - 1)))
        .filter_map(|at| rooms.get(at))
        .collect();
    let account = json!({"email": format!("user-{n}-{run}@example.test"), "password": password,
                         "name": format!("User {n}"), "invite": mine[0].invite});
    let token = text(&client.post("/auth/register", None, &account)?, "access_token")?;
    for Room { invite, .. } in &mine[1..] {
        client.post(&format!("/api/invites/{invite}/accept"), Some(&token), &json!({}))?;
    }
    let mut ids: Vec<String> = mine.iter().map(|room| room.id.to_lowercase()).collect();
    ids.sort();
    ids.dedup();
    if n < extent.people {
        return Ok(User {
            role: Role::Person,
            token,
            rooms: ids,
        });
    }
    let key = client.post(
        "/api/keys",
        Some(&token),
        &json!({"name": "workload", "scopes": ["chat"]}),
    )?;
    Ok(User {
        role: Role::Program,
        token: text(&key, "secret")?,
        rooms: ids,
    })
}

/// A key of the owner's, if the server answers such questions.
fn analytics_key(client: &mut Client, owner: &str) -> Result<Option<String>> {
    let wanted = json!({"name": "numbers", "scopes": ["analytics:read"]});
    let key = text(&client.post("/api/keys", Some(owner), &wanted)?, "secret")?;
    let (status, body) = client.request("GET", QUESTIONS[0], Some(&key), "")?;
    match status {
        200 => Ok(Some(key)),
        404 => Ok(None),
        status => Err(Error::Http {
            request: format!("GET {}", QUESTIONS[0]),
            status,
            body,
        }),
    }
}

/// The number of a field.
pub(super) fn number(response: &Value, field: &str) -> u64 {
    response[field].as_u64().unwrap_or(0)
}
