//! The servers that `REDIS_URL` names, and the question which of them has what.
//!
//! Nobody says in the configuration whether it is one Redis or a cluster: the servers are asked, by the bus and by the pool,
//! each for itself and again when there are signs that it has changed. Of a cluster, one living address is enough to find
//! the others; their names are the ones they announce, so nodes have to reach those.
//!
//! Bounds: [`ASKED_AT_ONCE`] servers are asked at once, and the first who answers is believed; next time others come first.

use super::topology::{Address, Layout};
use crate::config::RedisConfig;
use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, InfoDict, RedisError, RedisResult, Value, cmd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Servers that are asked at the same time.
const ASKED_AT_ONCE: usize = 3;
/// How long a server may take to say what it knows, the connection included.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the servers are, and how to speak to them.
pub struct Servers {
    /// With the credentials, which are the same for all.
    template: ConnectionInfo,
    seeds: Vec<Address>,
    turn: AtomicUsize,
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

    /// Asks who has what: `known` servers, and those of the configuration.
    ///
    /// # Errors
    /// That of the last of them, if none gave an answer.
    pub async fn ask(&self, known: &[Address]) -> RedisResult<Layout> {
        let mut candidates: Vec<&Address> = known.iter().collect();
        candidates.extend(self.seeds.iter().filter(|seed| !known.contains(seed)));
        let turn = self.turn.fetch_add(ASKED_AT_ONCE, Ordering::Relaxed) % candidates.len();
        candidates.rotate_left(turn);
        let asked = candidates.into_iter().take(ASKED_AT_ONCE);
        let (layout, _) = select_ok(asked.map(|address| Box::pin(self.ask_one(address)))).await?;
        Ok(layout)
    }

    async fn ask_one(&self, address: &Address) -> RedisResult<Layout> {
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

    async fn question(&self, link: &mut MultiplexedConnection, address: &Address) -> RedisResult<Layout> {
        let info: InfoDict = cmd("INFO").arg("cluster").query_async(link).await?;
        if info.get::<u8>("cluster_enabled") != Some(1) {
            if self.seeds.len() > 1 {
                let problem = "REDIS_URL names several servers, but this one is of no cluster";
                return Err((ErrorKind::InvalidClientConfig, problem, address.to_string()).into());
            }
            return Ok(Layout::Single(address.clone()));
        }
        let slots: Value = cmd("CLUSTER").arg("SLOTS").query_async(link).await?;
        Layout::parse(&slots, address)
            .ok_or_else(|| (ErrorKind::UnexpectedReturnType, "nobody of the cluster has a slot").into())
    }
}
