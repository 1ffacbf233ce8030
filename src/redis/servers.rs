//! The servers that `REDIS_URL` names, and the question which of them has which slot.
//!
//! The configuration does not say whether it is one Redis or a cluster. The servers are asked: by
//! the bus and by the pools, each for itself, and again when there are signs of a change. Of a
//! cluster, one address that works is enough to find the others. Their names are the ones they
//! announce, so every node must reach those.
//!
//! Not every server is right. A master that was cut off while a replica took over says for ever
//! that it has its slots. So several are asked, and the reply with the latest epoch counts: that
//! number grows with each change of a cluster. Where a layout is known, two kinds of replies are
//! not believed: that the cluster has failed (a server that sees only the smaller part says so),
//! and an epoch before one that was seen lately. Then the known layout stays, and others are asked
//! next.
//!
//! Bounds: [`ASKED_AT_ONCE`] servers are asked at once, others next time. After the first reply the
//! rest have [`GRACE`].

use super::endpoint::RedisEndpoint;
use super::error::Error;
use super::layout::{Address, Layout};
use crate::config::{RedisConfig, RedisSeeds};
use crate::tls;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, ErrorKind, InfoDict, RedisError, RedisResult, Value, cmd, pipe};
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Servers that are asked at the same time.
const ASKED_AT_ONCE: usize = 3;
/// How long a server may take to reply, the connection included.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the others may take after the first reply.
const GRACE: Duration = Duration::from_millis(200);
/// How long an epoch counts against earlier ones. Longer than it takes to ask every server, but not
/// for ever: a cluster that is set up anew begins with the first epoch.
const EPOCH_MEMORY: Duration = Duration::from_secs(60);

/// What a server says of the cluster.
#[derive(Debug)]
struct LayoutReply {
    layout: Layout,
    /// The latest change of the cluster that it knows of.
    epoch: u64,
    /// Whether the cluster works, as far as it sees.
    is_ok: bool,
}

/// The layout of the reply that counts, if any does. `latest` is the latest epoch that was
/// believed, and when.
fn choose_layout(
    replies: Vec<LayoutReply>,
    is_known: bool,
    latest: &mut Option<(u64, Instant)>,
    now: Instant,
) -> Option<Layout> {
    let credible = replies.into_iter().filter(|reply| reply.is_ok || !is_known);
    let best = credible.max_by_key(|reply| (reply.is_ok, reply.epoch))?;
    let is_old = |(epoch, at): (u64, Instant)| best.epoch < epoch && now.saturating_duration_since(at) < EPOCH_MEMORY;
    if is_known && latest.is_some_and(is_old) {
        return None;
    }
    *latest = Some((best.epoch, now));
    Some(best.layout)
}

/// Where the servers are, and how to speak to them.
pub struct RedisServers {
    /// With the credentials, which are the same for all.
    template: ConnectionInfo,
    /// How TLS is spoken to all of them.
    tls: Option<Arc<ClientConfig>>,
    seeds: Vec<Address>,
    /// Which candidates are asked next.
    turn: AtomicUsize,
    latest: Mutex<Option<(u64, Instant)>>,
}

impl RedisServers {
    /// The servers of the configuration; `None` if it names none.
    ///
    /// # Errors
    /// [`Error::Settings`]: the address, or a file of TLS, cannot be used.
    pub fn of(config: &RedisConfig) -> Result<Option<Self>, Error> {
        let Some(RedisSeeds { servers, tls }) = config.seeds().map_err(Error::Settings)? else {
            return Ok(None);
        };
        let Some(template) = servers.first().cloned() else {
            return Ok(None);
        };
        let unusable = |error| Error::Settings(format!("REDIS_URL demands TLS: {error}"));
        let tls = tls.as_ref().map(tls::client_config).transpose().map_err(unusable)?;
        Ok(Some(Self {
            template,
            tls: tls.map(Arc::new),
            seeds: servers.iter().map(|seed| Address::of(seed.addr())).collect(),
            turn: AtomicUsize::new(0),
            latest: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn first(&self) -> Address {
        Address::of(self.template.addr())
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.template.redis_settings().db()
    }

    /// How a server is spoken to.
    #[must_use]
    pub fn endpoint(&self, address: &Address) -> RedisEndpoint {
        let info = self.template.clone().set_addr(address.to_connection_addr());
        RedisEndpoint::new(info, self.tls.clone())
    }

    /// Asks for the layout: some of the servers of the `known` layout and of the configuration.
    ///
    /// # Errors
    /// That of the last server if none replied, or that no reply could be believed.
    pub async fn ask(&self, known: Option<&Layout>) -> RedisResult<Layout> {
        let masters = known.map(Layout::masters).unwrap_or_default();
        let mut candidates: Vec<&Address> = masters.iter().collect();
        candidates.extend(self.seeds.iter().filter(|seed| !masters.contains(seed)));
        let turn = self.turn.fetch_add(ASKED_AT_ONCE, Ordering::Relaxed) % candidates.len();
        candidates.rotate_left(turn);
        let asked = candidates.into_iter().take(ASKED_AT_ONCE);
        let mut asked: FuturesUnordered<_> = asked.map(|address| self.ask_one(address)).collect();
        let (mut replies, mut failure) = (Vec::new(), None);
        while let Some(reply) = asked.next().await {
            match reply {
                Ok(reply) => {
                    replies.push(reply);
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        let rest = async {
            while let Some(reply) = asked.next().await {
                replies.extend(reply.ok());
            }
        };
        // Late replies are not waited for.
        tokio::time::timeout(GRACE, rest).await.unwrap_or_default();
        let is_known = known.is_some_and(Layout::is_cluster);
        let nobody = || {
            RedisError::from((
                ErrorKind::Io,
                "the servers that reply do not see the whole cluster, or its past",
            ))
        };
        choose_layout(replies, is_known, &mut self.latest.lock(), Instant::now())
            .ok_or_else(|| failure.unwrap_or_else(nobody))
    }

    async fn ask_one(&self, address: &Address) -> RedisResult<LayoutReply> {
        let asking = async {
            let endpoint = self.endpoint(address);
            let mut link = endpoint.open(AsyncConnectionConfig::new(), REPLY_TIMEOUT).await?;
            self.question(&mut link, address).await
        };
        let late = || RedisError::from((ErrorKind::Io, "no reply in time"));
        tokio::time::timeout(REPLY_TIMEOUT, asking)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn question(&self, link: &mut MultiplexedConnection, address: &Address) -> RedisResult<LayoutReply> {
        let info: InfoDict = cmd("INFO").arg("cluster").query_async(link).await?;
        if info.get::<u8>("cluster_enabled") != Some(1) {
            if self.seeds.len() > 1 {
                let problem = "REDIS_URL names several servers, but this one is of no cluster";
                return Err((ErrorKind::InvalidClientConfig, problem, address.to_string()).into());
            }
            return Ok(LayoutReply {
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
        Ok(LayoutReply {
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
    fn reply(master: u16, epoch: u64, is_ok: bool) -> LayoutReply {
        LayoutReply {
            layout: Layout::of_ranges([(0, 16_383, Address::new("redis", master))]),
            epoch,
            is_ok,
        }
    }

    #[test]
    fn a_master_that_was_cut_off_is_not_believed() {
        let (mut latest, mut now) = (None, Instant::now());
        let mut masters = |replies, is_known, now| {
            let layout = choose_layout(replies, is_known, &mut latest, now)?;
            Some(layout.masters()[0].to_string())
        };
        let (old, new) = (Some("redis:1".to_owned()), Some("redis:2".to_owned()));
        assert_eq!(masters(vec![reply(1, 6, true)], false, now), old);
        // The replica has taken over; the order of replies does not matter.
        assert_eq!(masters(vec![reply(1, 6, true), reply(2, 7, true)], true, now), new);
        assert_eq!(masters(vec![reply(2, 7, true), reply(1, 6, true)], true, now), new);
        assert_eq!(masters(vec![reply(2, 7, true), reply(1, 9, false)], true, now), new);
        // Alone it is not believed either.
        assert_eq!(masters(vec![reply(1, 6, true)], true, now), None);
        assert_eq!(masters(vec![reply(1, 9, false)], true, now), None);
        assert_eq!(masters(Vec::new(), true, now), None);
        // A cluster that was set up anew is, in the end; and so is one that has failed, by who
        // knows nothing better.
        now += EPOCH_MEMORY;
        assert_eq!(masters(vec![reply(1, 1, true)], true, now), old);
        assert_eq!(masters(vec![reply(2, 0, false)], false, now), new);
    }
}
