//! The servers that `REDIS_URL` names, and the question which of them has what.
//!
//! Nobody says in the configuration whether it is one Redis or a cluster: the servers are asked, by the bus and by the pool,
//! each for itself and again when there are signs that it has changed. Of a cluster, one living address is enough to find
//! the others; their names are the ones they announce, so nodes have to reach those.
//!
//! Not everybody who answers is right: a master that was cut off from the others while a replica took over says for ever
//! that it has its slots. So several are asked, and of their answers the one counts that knows the latest epoch, the number
//! that grows with each change of a cluster; who says that the cluster has failed, as a server does that sees only the
//! smaller part of it, is not believed by whoever knows a layout; nor is an epoch before one that was seen lately. What is
//! known then stays as it is, and the next look asks others.
//!
//! Bounds: [`ASKED_AT_ONCE`] servers are asked at once, others next time; after the first answer the rest have [`GRACE`].

use super::topology::{Address, Layout};
use crate::config::RedisConfig;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, InfoDict, RedisError, RedisResult, Value, cmd, pipe,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Servers that are asked at the same time.
const ASKED_AT_ONCE: usize = 3;
/// How long a server may take to say what it knows, the connection included.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the others may take after the first answer.
const GRACE: Duration = Duration::from_millis(200);
/// How long an epoch counts against earlier ones: longer than it takes to ask everybody, and not for ever, for a cluster
/// that is set up anew begins at the first.
const EPOCH_MEMORY: Duration = Duration::from_secs(60);

/// What a server says.
#[derive(Debug)]
struct Answer {
    layout: Layout,
    /// The latest change of the cluster that it knows of.
    epoch: u64,
    /// Whether the cluster works, as far as it sees.
    is_ok: bool,
}

/// The answer that counts, if any does. `latest` is the latest epoch that was believed, and when.
fn judge(answers: Vec<Answer>, is_known: bool, latest: &mut Option<(u64, Instant)>, now: Instant) -> Option<Layout> {
    let credible = answers.into_iter().filter(|answer| answer.is_ok || !is_known);
    let best = credible.max_by_key(|answer| (answer.is_ok, answer.epoch))?;
    let is_old = |(epoch, at): (u64, Instant)| best.epoch < epoch && now.saturating_duration_since(at) < EPOCH_MEMORY;
    if is_known && latest.is_some_and(is_old) {
        return None;
    }
    *latest = Some((best.epoch, now));
    Some(best.layout)
}

/// Where the servers are, and how to speak to them.
pub struct Servers {
    /// With the credentials, which are the same for all.
    template: ConnectionInfo,
    seeds: Vec<Address>,
    turn: AtomicUsize,
    latest: Mutex<Option<(u64, Instant)>>,
}

impl Servers {
    /// Those of the configuration; `None` if it names none.
    #[must_use]
    pub fn of(config: &RedisConfig) -> Option<Self> {
        let seeds = config.seeds().ok()?;
        Some(Self {
            template: seeds.first()?.clone(),
            seeds: seeds.iter().map(|seed| Address::of(seed.addr())).collect(),
            turn: AtomicUsize::new(0),
            latest: Mutex::default(),
        })
    }

    /// The one that is named first.
    #[must_use]
    pub fn first(&self) -> Address {
        Address::of(self.template.addr())
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.template.redis_settings().db()
    }

    /// How to speak to one of them.
    #[must_use]
    pub fn connection_info(&self, address: &Address) -> ConnectionInfo {
        self.template.clone().set_addr(address.to_connection_addr())
    }

    /// Asks who has what: the servers of the layout that is `known`, and those of the configuration.
    ///
    /// # Errors
    /// That of the last of them, if none gave an answer, or that none was to be believed.
    pub async fn ask(&self, known: Option<&Layout>) -> RedisResult<Layout> {
        let masters = known.map(Layout::masters).unwrap_or_default();
        let mut candidates: Vec<&Address> = masters.iter().collect();
        candidates.extend(self.seeds.iter().filter(|seed| !masters.contains(seed)));
        let turn = self.turn.fetch_add(ASKED_AT_ONCE, Ordering::Relaxed) % candidates.len();
        candidates.rotate_left(turn);
        let asked = candidates.into_iter().take(ASKED_AT_ONCE);
        let mut asked: FuturesUnordered<_> = asked.map(|address| self.ask_one(address)).collect();
        let (mut answers, mut failure) = (Vec::new(), None);
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => {
                    answers.push(answer);
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        let rest = async {
            while let Some(answer) = asked.next().await {
                answers.extend(answer.ok());
            }
        };
        // Who is late is not waited for.
        tokio::time::timeout(GRACE, rest).await.unwrap_or_default();
        let is_known = known.is_some_and(Layout::is_cluster);
        let nobody = || {
            RedisError::from((
                ErrorKind::Io,
                "those who answer do not see the whole cluster, or its past",
            ))
        };
        judge(answers, is_known, &mut self.latest.lock(), Instant::now()).ok_or_else(|| failure.unwrap_or_else(nobody))
    }

    async fn ask_one(&self, address: &Address) -> RedisResult<Answer> {
        let asking = async {
            let client = Client::open(self.connection_info(address))?;
            let mut link = client
                .get_multiplexed_async_connection_with_config(&AsyncConnectionConfig::new())
                .await?;
            self.question(&mut link, address).await
        };
        let late = || RedisError::from((ErrorKind::Io, "no answer in time"));
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn question(&self, link: &mut MultiplexedConnection, address: &Address) -> RedisResult<Answer> {
        let info: InfoDict = cmd("INFO").arg("cluster").query_async(link).await?;
        if info.get::<u8>("cluster_enabled") != Some(1) {
            if self.seeds.len() > 1 {
                let problem = "REDIS_URL names several servers, but this one is of no cluster";
                return Err((ErrorKind::InvalidClientConfig, problem, address.to_string()).into());
            }
            return Ok(Answer {
                layout: Layout::Single(address.clone()),
                epoch: 0,
                is_ok: true,
            });
        }
        let mut both = pipe();
        both.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
        let (info, slots): (InfoDict, Value) = both.query_async(link).await?;
        let layout = Layout::parse(&slots, address)
            .ok_or_else(|| RedisError::from((ErrorKind::UnexpectedReturnType, "nobody of the cluster has a slot")))?;
        Ok(Answer {
            layout,
            epoch: info.get("cluster_current_epoch").unwrap_or_default(),
            is_ok: info.get::<String>("cluster_state").as_deref() == Some("ok"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says of the cluster, by the port of the master that it names.
    fn answer(master: u16, epoch: u64, is_ok: bool) -> Answer {
        Answer {
            layout: Layout::of_ranges([(0, 16_383, Address::new("redis", master))]),
            epoch,
            is_ok,
        }
    }

    #[test]
    fn a_master_that_was_cut_off_is_not_believed() {
        let (mut latest, mut now) = (None, Instant::now());
        let mut masters = |answers, is_known, now| {
            let layout = judge(answers, is_known, &mut latest, now)?;
            Some(layout.masters()[0].to_string())
        };
        let (old, new) = (Some("redis:1".to_owned()), Some("redis:2".to_owned()));
        assert_eq!(masters(vec![answer(1, 6, true)], false, now), old);
        // The replica has taken over; whoever answers first does not matter.
        assert_eq!(masters(vec![answer(1, 6, true), answer(2, 7, true)], true, now), new);
        assert_eq!(masters(vec![answer(2, 7, true), answer(1, 6, true)], true, now), new);
        assert_eq!(masters(vec![answer(2, 7, true), answer(1, 9, false)], true, now), new);
        // Alone it is not believed either.
        assert_eq!(masters(vec![answer(1, 6, true)], true, now), None);
        assert_eq!(masters(vec![answer(1, 9, false)], true, now), None);
        assert_eq!(masters(Vec::new(), true, now), None);
        // A cluster that was set up anew is, in the end; and so is one that has failed, by who knows nothing better.
        now += EPOCH_MEMORY;
        assert_eq!(masters(vec![answer(1, 1, true)], true, now), old);
        assert_eq!(masters(vec![answer(2, 0, false)], false, now), new);
    }
}
