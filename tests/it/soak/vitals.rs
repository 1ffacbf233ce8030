//! What is looked at besides the history: the nodes' logs, memory, descriptors and metrics.
//!
//! A line of level `error` is explained while a fault lasts and until everybody is whole again; in the calm that follows
//! it is a complaint. A panic always is. Memory and descriptors are compared within one life of a process: with what they
//! were once it had warmed up.

use super::daemon::Usage;
use super::world::{NODES, Node, World};
use crate::support::client::PASSWORD;
use crate::support::{Scrape, Site, pace};
use reqwest::Method;
use rustix::process::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// A life is warmed up after this.
const WARM_AFTER: Duration = Duration::from_secs(15);
/// What memory may have grown to since then.
const MEMORY_RATIO_MAX: f64 = 1.5;
/// Passwords to hash in a new life; more than cores.
const HASHES: usize = 8;
/// Descriptors beyond half as many again: of connections that come and go.
const DESCRIPTORS_SLACK: usize = 40;
/// How long something may wait.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// What may wait for all actors of a name in a calm moment under load.
const DEPTH_MAX: f64 = 64.0;

/// One life of a node.
#[derive(Clone, Copy)]
struct Life {
    pid: Pid,
    first: Usage,
    last: Usage,
}

/// How memory and descriptors, without those of sockets, were at the end of a life that was long enough to tell.
#[derive(Clone, Debug)]
pub struct Growth {
    pub node: usize,
    pub first: Usage,
    pub last: Usage,
}

/// What is remembered between looks.
#[derive(Default)]
pub struct Vitals {
    read: [u64; NODES],
    nginx_read: u64,
    /// Error lines that a fault explains, by their text.
    pub explained: BTreeMap<String, u64>,
    lives: [Option<Life>; NODES],
    pub growths: Vec<Growth>,
}

impl Vitals {
    /// Reads what the nodes and nginx have logged since the last time.
    pub fn read_logs(&mut self, world: &World, calm: bool) {
        for node in 0..NODES {
            let text = read_from(world.nodes[node].daemon.log_path(), &mut self.read[node]);
            for line in text.lines() {
                if let Some(error) = error_of(line) {
                    let panic = error.contains("Panic");
                    if panic || calm {
                        world.complain(format!("node {} logged in a calm moment or a panic: {error}", node + 1));
                    } else {
                        *self.explained.entry(error).or_default() += 1;
                    }
                }
            }
        }
        let text = read_from(world.nginx.log_path(), &mut self.nginx_read);
        for line in text.lines() {
            let crashed = line.contains("exited on signal") && !line.contains("exited on signal 9");
            if line.contains("[emerg]") || crashed {
                world.complain(format!("nginx: {line}"));
            }
        }
    }

    /// Looks at memory, descriptors and metrics, in a calm moment.
    pub async fn look(&mut self, world: &World) {
        for node in 0..NODES {
            self.weigh(world, node).await;
            // What waits under load goes again; what is stuck does not.
            let deadline = Instant::now() + DRAIN_PATIENCE;
            let mut complaints = check_metrics(world, node).await;
            while !complaints.is_empty() && Instant::now() < deadline {
                pace(Duration::from_millis(200)).await;
                complaints = check_metrics(world, node).await;
            }
            for complaint in complaints {
                world.complain(format!("node {}: {complaint}", node + 1));
            }
        }
    }

    async fn weigh(&mut self, world: &World, node: usize) {
        let daemon = &world.nodes[node].daemon;
        if daemon.started.elapsed() < WARM_AFTER {
            return;
        }
        let pid = daemon.pid();
        if self.lives[node].is_none_or(|life| life.pid != pid) {
            hash_passwords(&world.nodes[node]).await;
        }
        let mut now = daemon.usage();
        // Sockets move from node to node with every fault; each takes two.
        let scrape = Scrape::of(&Site::new(world.nodes[node].metrics)).await;
        now.descriptors = now.descriptors.saturating_sub(2 * scrape.sum("sockets_open") as usize);
        match &mut self.lives[node] {
            Some(life) if life.pid == pid => life.last = now,
            other => {
                let earlier = other.replace(Life {
                    pid,
                    first: now,
                    last: now,
                });
                if let Some(life) = earlier {
                    self.judge(world, node, life);
                }
            }
        }
    }

    fn judge(&mut self, world: &World, node: usize, life: Life) {
        let Life { first, last, .. } = life;
        let grown = last.resident_bytes as f64 / first.resident_bytes as f64;
        if grown > MEMORY_RATIO_MAX {
            world.complain(format!(
                "node {} has {grown:.2} times the memory it had when it was warm: {first:?}, {last:?}",
                node + 1
            ));
        }
        if last.descriptors > first.descriptors * 3 / 2 + DESCRIPTORS_SLACK {
            world.complain(format!("node {} keeps descriptors: {first:?}, {last:?}", node + 1));
        }
        self.growths.push(Growth { node, first, last });
    }

    /// The lives that last to the end.
    pub fn finish(&mut self, world: &World) {
        for node in 0..NODES {
            if let Some(life) = self.lives[node].take() {
                self.judge(world, node, life);
            }
        }
    }
}

/// Hashing a password takes 19 MiB, which the allocator keeps: each core's share belongs to a warm node, whether people
/// have signed in at this one or not. An unknown address costs the same as a known one.
async fn hash_passwords(node: &Node) {
    let site = Site::new(node.address);
    let login = |number: usize| {
        let body = json!({"email": format!("nobody.{number}@example.org"), "password": PASSWORD});
        site.try_request(Method::POST, "/auth/login", None, Some(body))
    };
    // Whatever it answers.
    futures_util::future::join_all((0..HASHES).map(login)).await;
}

fn read_from(path: &Path, from: &mut u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(*from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mut bytes = read().unwrap_or_default();
    // The last line may not be whole yet.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    *from += whole as u64;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a line complains about, if it does, without what differs each time.
fn error_of(line: &str) -> Option<String> {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        let expected = line.trim().is_empty() || line.starts_with("Parlance is at ");
        return (!expected).then(|| line.to_owned());
    };
    if event["level"] != "ERROR" {
        return None;
    }
    let fields = &event["fields"];
    let message = fields["message"]
        .as_str()
        .or(event["message"].as_str())
        .unwrap_or_default();
    let error = fields["error"].as_str().or(event["error"].as_str()).unwrap_or_default();
    Some(format!("{message} {error}").trim().to_owned())
}

/// What is not as it should be in a calm moment under load.
async fn check_metrics(world: &World, node: usize) -> Vec<String> {
    let scrape = Scrape::of(&Site::new(world.nodes[node].metrics)).await;
    let mut complaints = Vec::new();
    let mut check = |name: &str, most: f64| {
        let found = scrape.sum(name);
        if found > most {
            complaints.push(format!("{name} is {found}"));
        }
    };
    check("panics_total", 0.0);
    check("actor_mailbox_depth", DEPTH_MAX);
    check("db_connection_pool_waiting", 8.0);
    check("cache_invalidations_waiting", DEPTH_MAX);
    complaints
}
