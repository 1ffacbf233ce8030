//! Everybody together: signing people up, letting them in, asking how far they are, and collecting what they leave.

use super::clerk::Clerk;
use super::member::Member;
use super::{Desk, Phase, Record, Status};
use crate::soak::history::{History, Room, Stamp};
use crate::soak::world::{NODES, World};
use crate::support::client::{Site, uuid_of};
use crate::support::{Person, pace};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use parlance::ids::ConversationId;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub conversations: usize,
    pub writers: usize,
    /// Who only read, through nginx.
    pub readers: usize,
    /// Who only read, on each node directly; together they follow everything.
    pub direct_readers: usize,
    pub clerks: usize,
    /// Conversations of a writer.
    pub rooms_each: usize,
    /// Between two operations of a writer.
    pub pause: Duration,
}

/// The load.
pub struct Load {
    pub desk: Arc<Desk>,
    phase: watch::Sender<Phase>,
    statuses: Vec<(String, Arc<Mutex<Status>>)>,
    tasks: Vec<(String, JoinHandle<Record>)>,
}

impl Load {
    /// Signs everybody up, and lets them to work.
    pub async fn start(world: &World, size: Size, seed: u64) -> Self {
        let sites: Vec<_> = world.nodes.iter().map(|node| Site::new(node.address)).collect();
        let roles = roles(world, size);
        let rooms: Vec<&[Room]> = roles.iter().map(|role| role.rooms.as_slice()).collect();
        let (people, rooms) = sign_up(&sites, &rooms, size.conversations).await;
        let (phase, _) = watch::channel(Phase::Writing);
        let mut load = Self {
            desk: Desk::new(rooms),
            phase,
            statuses: Vec::new(),
            tasks: Vec::new(),
        };
        let front = Site::new(world.front());
        for ((role, person), number) in roles.into_iter().zip(people).zip(0..) {
            let person = person.at(&front);
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
            load.admit(role, person, seed);
        }
        load
    }

    fn admit(&mut self, role: Role, person: Person, seed: u64) {
        let Role { name, rooms, work } = role;
        let status = Arc::new(Mutex::new(Status::default()));
        self.statuses.push((name.clone(), status.clone()));
        let (desk, phase) = (self.desk.clone(), self.phase.subscribe());
        let task = match work {
            What::Member { address, writes_every } => {
                let name = name.clone();
                let member = Member {
                    name,
                    person,
                    address,
                    rooms,
                    writes_every,
                    seed,
                };
                tokio::spawn(member.run(desk, phase, status))
            }
            What::Clerk => {
                let name = name.clone();
                let clerk = Clerk {
                    name,
                    person,
                    rooms,
                    seed,
                };
                tokio::spawn(clerk.run(desk, phase, status))
            }
        };
        self.tasks.push((name, task));
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.tasks.len()
    }

    /// Who does not have everything up to these revisions, or waits for an answer to something that began before.
    pub fn not_whole(&self, revisions: &[i64], before: Stamp) -> Vec<String> {
        let lacks = |status: &Status| {
            if !status.connected {
                return Some("not connected".to_owned());
            }
            if status.oldest_open.is_some_and(|began| began < before) {
                return Some("waits for an answer".to_owned());
            }
            let behind = |(room, (rev, live)): &(&Room, &(i64, bool))| !live || *rev < revisions[**room];
            let (room, (rev, live)) = status.rooms.iter().find(behind)?;
            let wanted = revisions[*room];
            Some(format!("is at {rev} of {wanted} in room {room} (live: {live})"))
        };
        self.statuses
            .iter()
            .filter_map(|(name, status)| Some(format!("{name} {}", lacks(&status.lock())?)))
            .collect()
    }

    /// Whether everybody is whole now.
    async fn look(&self, world: &World) -> Result<(), String> {
        let before = self.desk.stamp();
        let revisions = world
            .revisions(&self.desk.rooms)
            .await
            .ok_or("the database does not answer")?;
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let lacking = self.not_whole(&revisions, before);
            if lacking.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let some = lacking.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
                return Err(format!("{} clients: {some}", lacking.len()));
            }
            pace(Duration::from_millis(50)).await;
        }
        for node in 0..NODES {
            world
                .health(node)
                .await
                .map_err(|error| format!("node {}: {error}", node + 1))?;
        }
        Ok(())
    }

    /// Waits until every client has all there was and every answer, and both nodes say that they are well.
    pub async fn become_whole(&self, world: &mut World, patience: Duration) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match self.look(world).await {
                Ok(()) => return Ok(()),
                Err(lacking) if began.elapsed() > patience => return Err(lacking),
                Err(_) => world.watch(Duration::from_millis(200)).await,
            }
        }
    }

    /// Nobody begins anything new.
    pub fn finish(&self) {
        self.phase.send_replace(Phase::Finishing);
    }

    /// Sends everybody home and collects what they wrote down, without what is in the database.
    pub async fn end(self) -> (Arc<Desk>, History) {
        self.phase.send_replace(Phase::Over);
        let mut history = History::default();
        for (name, task) in self.tasks {
            match task.await {
                Ok(record) => {
                    history.operations.extend(record.operations);
                    history.readers.extend(record.reader);
                    history.pages.extend(record.pages);
                }
                Err(error) => self.desk.complain(format!("{name} failed: {error}")),
            }
        }
        (self.desk, history)
    }
}

/// Everything, dealt to so many.
fn share(all: &[Room], count: usize) -> Vec<Vec<Room>> {
    (0..count)
        .map(|number| all.iter().copied().skip(number).step_by(count.max(1)).collect())
        .collect()
}

/// What somebody is going to do.
struct Role {
    name: String,
    rooms: Vec<Room>,
    work: What,
}

enum What {
    Member {
        address: SocketAddr,
        writes_every: Option<Duration>,
    },
    Clerk,
}

fn roles(world: &World, size: Size) -> Vec<Role> {
    let all: Vec<Room> = (0..size.conversations).collect();
    let member = |name: String, rooms: Vec<Room>, address: SocketAddr, writes_every: Option<Duration>| Role {
        name,
        rooms,
        work: What::Member { address, writes_every },
    };
    let mut roles = Vec::new();
    for number in 0..size.writers {
        let rooms = (0..size.rooms_each).map(|more| (number + more * 7) % size.conversations);
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_unstable();
        rooms.dedup();
        roles.push(member(
            format!("writer {number}"),
            rooms,
            world.front(),
            Some(size.pause),
        ));
    }
    for (number, rooms) in share(&all, size.readers).into_iter().enumerate() {
        roles.push(member(format!("reader {number}"), rooms, world.front(), None));
    }
    for node in 0..NODES {
        for (number, rooms) in share(&all, size.direct_readers).into_iter().enumerate() {
            let name = format!("reader {number} of node {}", node + 1);
            roles.push(member(name, rooms, world.nodes[node].address, None));
        }
    }
    roles.extend((0..size.clerks).map(|number| Role {
        name: format!("clerk {number}"),
        rooms: all.clone(),
        work: What::Clerk,
    }));
    roles
}

/// People of one tenant, and conversations of those who will use them.
async fn sign_up(sites: &[Site], rooms_of: &[&[Room]], conversations: usize) -> (Vec<Person>, Vec<ConversationId>) {
    let owner = sites[0].register("Owner").await;
    let lobby = owner.create_conversation("Lobby").await;
    let invite = owner.invite(lobby).await;
    let join = |number: usize| {
        let (site, invite) = (sites[number % sites.len()].clone(), invite.clone());
        async move { site.join(&format!("Person {number}"), &invite).await }
    };
    let people = futures_util::stream::iter(0..rooms_of.len()).map(join).buffered(8);
    let people: Vec<Person> = people.collect().await;
    let mut rooms = Vec::new();
    for number in 0..conversations {
        let members = people.iter().zip(rooms_of).filter(|(_, rooms)| rooms.contains(&number));
        let members: Vec<_> = members.map(|(person, _)| person.id).collect();
        let body = json!({"title": format!("Room {number}"), "members": members});
        let answer = owner.post("/api/conversations", body).await.ok();
        rooms.push(ConversationId(uuid_of(&answer["id"])));
    }
    (people, rooms)
}
