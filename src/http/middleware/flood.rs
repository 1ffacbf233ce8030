//! The flood guard: what one network may ask for in short. It comes right behind nginx.
//!
//! It stands before authentication and causes no query, so it is what a flood meets: 50 requests a
//! second and 100 at once, of those to `/auth/…`, which hash passwords, 5 and 10. It is
//! actix-governor (a generic cell rate algorithm) over our own key, and with our own response: a
//! problem document with an honest `Retry-After`. What quotas do not count has a guard of its own
//! that is much wider: anyone who loads the page asks for all of its files at once. Only health is
//! free.
//!
//! Who shows something good is counted apart from the network, so that no neighbour's flood refuses
//! them: a token's user, a marked credential. So is what pages of other sites make browsers ask
//! for. A login shows who it is in its body, so it is counted later (`routes/auth.rs`), and only
//! where nobody has logged in to that account before.
//!
//! Bounds: governor keeps one number for each key and never removes one by itself. So a request
//! removes once a second what is as good as new (two seconds after a network's last request).
//! Beyond [`KEYS_MAX`] keys at such a sweep, networks share [`SHARED_KEYS`] keys by hash until
//! there are fewer: slower for all newcomers, open for none, shut for none.

use crate::config::{FloodConfig, LimitsConfig};
use crate::http::request::client_address;
use crate::http::response::error::{self, Error};
use crate::http::routes::access;
use crate::ids::{Network, Tier, UserId};
use crate::metrics::{Surface, metrics};
use actix_governor::governor::clock::{Clock, DefaultClock, QuantaInstant};
use actix_governor::governor::middleware::NoOpMiddleware;
use actix_governor::governor::state::keyed::DefaultKeyedStateStore;
use actix_governor::governor::{NotUntil, RateLimiter};
use actix_governor::{GovernorConfig, GovernorConfigBuilder, KeyExtractor};
use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, header};
use actix_web::{HttpMessage as _, HttpResponse, HttpResponseBuilder};
use ipnet::IpNet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Networks that are told apart.
const KEYS_MAX: usize = 100_000;
/// Keys that networks share while there are more.
const SHARED_KEYS: u64 = 4_096;
/// How many times as many requests may go to what is free: a page has a hundred files, and a class
/// of people opens it at once.
const FREE_RATE: usize = 10;
const FREE_BURST: usize = 40;
/// Between two sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type FloodLimiter = RateLimiter<FloodKey, DefaultKeyedStateStore<FloodKey>, DefaultClock>;

/// The two guards; one value for the process, shared by all workers.
#[derive(Clone)]
pub struct FloodGuards {
    /// All requests.
    pub(crate) all: GovernorConfig<FloodGuard, NoOpMiddleware>,
    /// Those to `/auth/…`, besides.
    pub(crate) auth: GovernorConfig<FloodGuard, NoOpMiddleware>,
    auth_store: Arc<FloodStore>,
    /// Those that quotas do not count, instead: the page, its files, documents, metrics.
    pub(crate) free: GovernorConfig<FloodGuard, NoOpMiddleware>,
}

impl FloodGuards {
    /// `None` when limits are off.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Option<Self> {
        if !config.enabled {
            return None;
        }
        let guard = |counted, store| FloodGuard {
            counted,
            trusted_proxies: config.trusted_proxies.as_slice().into(),
            store,
        };
        let auth_store = Arc::<FloodStore>::default();
        Some(Self {
            all: guard(CountedRequests::All, Arc::default()).governor(config.flood)?,
            auth: guard(CountedRequests::Auth, auth_store.clone()).governor(config.flood_auth)?,
            auth_store,
            free: guard(CountedRequests::Free, Arc::default()).governor(FloodConfig {
                per_second: config.flood.per_second.saturating_mul(FREE_RATE),
                burst: config.flood.burst.saturating_mul(FREE_BURST),
            })?,
        })
    }

    /// Counts a login to an account that nobody at this address is known to own.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn check_login(&self, network: Network) -> Result<(), Error> {
        self.auth_store.sweep_if_due();
        let key = self.auth_store.key(FloodKey::Login(network));
        self.auth.limiter().check_key(&key).map_err(|negative| {
            metrics().rate_limited(Tier::Anonymous, Surface::Flood);
            Error::too_many(negative.wait_time_from(DefaultClock::default().now()))
        })
    }
}

/// Which requests a guard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountedRequests {
    All,
    Auth,
    Free,
}

/// Who makes a request, where that is somebody else than just its network. `flood_subject.rs` puts
/// it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloodSubject {
    /// The user of a good token.
    User(UserId),
    /// The hash of a marked credential.
    Marked(u64),
    /// A page of another site, which has embedded it.
    Embedded,
}

/// Whom a request is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FloodKey {
    /// Nobody: the request is free.
    Free,
    /// The client's network, for what shows nothing good.
    Network(Network),
    /// The client's network, for what pages of other sites embed.
    Embedded(Network),
    /// The client's network, for logins.
    Login(Network),
    /// The user of a good token.
    User(UserId),
    /// The hash of a marked credential.
    Marked(u64),
    /// Several networks, while there are too many.
    Shared(u64),
}

impl FloodKey {
    const fn network(self) -> Option<Network> {
        match self {
            Self::Network(network) | Self::Embedded(network) | Self::Login(network) => Some(network),
            Self::Free | Self::User(_) | Self::Marked(_) | Self::Shared(_) => None,
        }
    }
}

/// Finds the key of a request, and sweeps.
#[derive(Clone)]
pub(crate) struct FloodGuard {
    counted: CountedRequests,
    trusted_proxies: Arc<[IpNet]>,
    store: Arc<FloodStore>,
}

impl FloodGuard {
    /// The configuration of the framework's middleware; `None` only for a rate of nothing, which is
    /// no valid setting.
    fn governor(self, config: FloodConfig) -> Option<GovernorConfig<Self, NoOpMiddleware>> {
        let period = Duration::from_secs(1) / u32::try_from(config.per_second).ok()?.max(1);
        let governor = GovernorConfigBuilder::default()
            .period(period)
            .burst_size(u32::try_from(config.burst).ok()?)
            .key_extractor(self.clone())
            .finish()?;
        self.store.limiter.get_or_init(|| governor.limiter());
        Some(governor)
    }
}

/// The counts that governor keeps, and when they are swept.
#[derive(Default)]
struct FloodStore {
    limiter: OnceLock<Arc<FloodLimiter>>,
    hasher: RandomState,
    /// Milliseconds after `started` of the next sweep.
    sweep_at: AtomicU64,
    started: OnceLock<Instant>,
    /// Whether networks share keys.
    is_crowded: AtomicBool,
}

impl FloodStore {
    fn sweep_if_due(&self) {
        let started = self.started.get_or_init(Instant::now);
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.sweep_at.load(Ordering::Relaxed);
        let next = now + u64::try_from(SWEEP_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let is_mine = |due| {
            self.sweep_at
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now < due || !is_mine(due) {
            return;
        }
        if let Some(limiter) = self.limiter.get() {
            limiter.retain_recent();
            self.is_crowded.store(limiter.len() > KEYS_MAX, Ordering::Relaxed);
        }
    }

    /// The key to count for: networks can be made up, and share keys where there are too many.
    fn key(&self, own: FloodKey) -> FloodKey {
        let is_known = matches!(own, FloodKey::User(_) | FloodKey::Marked(_));
        if !is_known && self.is_crowded.load(Ordering::Relaxed) {
            // A /48 has many networks: it shares one key with a few others.
            let hash = match own.network().and_then(Network::block) {
                Some(block) => self.hasher.hash_one(block),
                None => self.hasher.hash_one(own),
            };
            FloodKey::Shared(hash % SHARED_KEYS)
        } else {
            own
        }
    }
}

impl KeyExtractor for FloodGuard {
    type Key = FloodKey;
    type KeyExtractionError = Error;

    fn extract(&self, request: &ServiceRequest) -> Result<FloodKey, Error> {
        // As the router reads it: `/%61uth/login` is `/auth/login`.
        let path = request.match_info().as_str();
        let counts = match self.counted {
            CountedRequests::All => !access::is_free(path),
            CountedRequests::Auth => path.starts_with("/auth/"),
            CountedRequests::Free => access::is_free(path) && !access::is_health(path),
        };
        if !counts || is_login(request) {
            return Ok(FloodKey::Free);
        }
        self.store.sweep_if_due();
        let network = Network::from(client_address::of(request.request(), &self.trusted_proxies));
        let subject = request.extensions().get::<FloodSubject>().copied();
        Ok(self.store.key(match subject {
            Some(FloodSubject::User(user)) => FloodKey::User(user),
            Some(FloodSubject::Marked(hash)) => FloodKey::Marked(hash),
            Some(FloodSubject::Embedded) => FloodKey::Embedded(network),
            None => FloodKey::Network(network),
        }))
    }

    /// Only status and advice: governor's middleware passes nothing else on, and the request log
    /// writes the document.
    fn exceed_rate_limit_response(&self, negative: &NotUntil<QuantaInstant>, _: HttpResponseBuilder) -> HttpResponse {
        metrics().rate_limited(Tier::Anonymous, Surface::Flood);
        let wait = negative.wait_time_from(DefaultClock::default().now());
        let advice = (header::RETRY_AFTER, error::retry_after(wait));
        HttpResponse::TooManyRequests().insert_header(advice).finish()
    }

    fn whitelisted_keys(&self) -> Vec<FloodKey> {
        vec![FloodKey::Free]
    }
}

/// Whether a request is a login, which its handler counts.
fn is_login(request: &ServiceRequest) -> bool {
    request.match_info().as_str() == access::LOGIN && request.method() == Method::POST
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn what_is_as_good_as_new_is_removed_and_a_crowd_shares() {
        let config = LimitsConfig {
            flood: FloodConfig {
                per_second: 1_000_000,
                burst: 1,
            },
            ..LimitsConfig::default()
        };
        let guards = FloodGuards::new(&config).unwrap();
        let limiter = guards.all.limiter();
        let store = FloodStore::default();
        assert!(store.limiter.set(limiter.clone()).is_ok());
        let address = |n: u32| FloodKey::Network(Network::from(IpAddr::V4(Ipv4Addr::from(n))));
        for n in 0..1_000 {
            assert!(limiter.check_key(&store.key(address(n))).is_ok());
        }
        store.sweep_if_due();
        assert!(
            limiter.len() < 1_000,
            "a microsecond later all of them are as good as new"
        );
        store.is_crowded.store(true, Ordering::Relaxed);
        assert!(matches!(store.key(address(1)), FloodKey::Shared(key) if key < SHARED_KEYS));
        assert_eq!(store.key(address(1)), store.key(address(1)));
        let of = |n: u128| {
            let address = IpAddr::from((0x2001_0db8_0001_u128 << 80 | n << 64).to_be_bytes());
            store.key(FloodKey::Network(address.into()))
        };
        assert_eq!(of(1), of(2), "a /48 shares one");
        let known = FloodKey::User(UserId::new());
        assert_eq!(store.key(known), known, "who is known shares with nobody");
    }

    #[test]
    fn nothing_guards_when_limits_are_off() {
        let config = LimitsConfig {
            enabled: false,
            ..LimitsConfig::default()
        };
        assert!(FloodGuards::new(&config).is_none());
    }
}
