//! How many connections the process has file descriptors for. Pure: the caller asks the system for
//! the limit.
//!
//! Each connection of the main listener takes two descriptors. The second is a copy, by which a
//! connection is shut down from outside. A socket gives it back after its handshake, but all
//! connections might be something else, so two are reckoned with for each.
//!
//! A process that has no descriptor left lets newcomers wait in the kernel's queue, neither accepted
//! nor refused. So a node admits no more sockets than it can hold, and refuses the others with a
//! response. That needs room beside the sockets: a handshake is a plain request until its response,
//! and so is everything of REST.

use super::root::Config;

/// Descriptors of one connection.
const PER_CONNECTION: usize = 2;
/// Kept for what does not grow: standard streams, listeners, signals, scrapers (64), Redis and its
/// shards, files that are open for a moment, and descriptors that are closed a little later than
/// they are counted.
const RESERVE: usize = 192;
/// Kept for each HTTP worker and each arbiter: its poll, its waker, its timers.
const RESERVE_PER_THREAD: usize = 4;
/// One connection in so many is never a socket.
const PLAIN_SHARE: usize = 8;
/// Plain connections at least, however few sockets are allowed.
const PLAIN_MIN: usize = 64;
/// With fewer connections than these a node does not start.
const CONNECTIONS_MIN: usize = 32;

/// How many connections of the main listener a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sockets that are admitted: `PARLANCE_CONNECTIONS_MAX`, or fewer where descriptors do not
    /// suffice.
    pub sockets: usize,
    /// Connections that each worker accepts, sockets included. Further ones wait until another is
    /// closed.
    pub connections_per_worker: usize,
}

impl Capacity {
    /// What the limit of open files allows; `None` for no limit.
    ///
    /// # Errors
    /// A sentence for the operator, when so few are allowed that the node could not serve.
    pub fn of(config: &Config, descriptors: Option<u64>) -> Result<Self, String> {
        let workers = config.http.workers.max(1);
        let reserve = reserve(config);
        let descriptors = descriptors.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let allowed = descriptors.saturating_sub(reserve) / PER_CONNECTION;
        if allowed < CONNECTIONS_MIN.max(workers) {
            return Err(format!(
                "the limit of open files, {descriptors}, is too low: {reserve} are kept for the database, Redis and \
                 threads, and a connection takes two; raise it (ulimit -n, LimitNOFILE, ulimits)"
            ));
        }
        // A browser has a plain connection beside its socket for a while. No more than that is
        // useful.
        let wanted = config.sessions.connections_max * 2 + PLAIN_MIN;
        let connections_per_worker = wanted.div_ceil(workers).min(allowed / workers);
        let connections = connections_per_worker * workers;
        let sockets = connections - (connections / PLAIN_SHARE).max(1);
        Ok(Self {
            sockets: sockets.min(config.sessions.connections_max),
            connections_per_worker,
        })
    }
}

/// Descriptors that are not for connections of the main listener.
fn reserve(config: &Config) -> usize {
    let pool = config.database.pool_size + config.database.max_overflow;
    let pools = if config.replica.url.is_some() { 2 } else { 1 };
    let threads = config.http.workers + config.conversations.arbiters;
    RESERVE + pool * pools + config.conversations.persistence_lanes + threads * RESERVE_PER_THREAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(connections_max: usize, workers: usize, descriptors: Option<u64>) -> Result<Capacity, String> {
        let mut config = Config::default();
        config.sessions.connections_max = connections_max;
        (config.http.workers, config.conversations.arbiters) = (workers, 2);
        Capacity::of(&config, descriptors)
    }

    #[test]
    fn with_enough_it_is_what_is_configured() {
        for descriptors in [None, Some(131_072), Some(1 << 30)] {
            let capacity = capacity(50_000, 4, descriptors).unwrap();
            assert_eq!(capacity.sockets, 50_000, "{descriptors:?}");
            assert!((57_143..=25_016 * 4).contains(&(capacity.connections_per_worker * 4)));
        }
        // There is always room for a handshake that is refused, and for REST.
        for workers in [1, 3, 64] {
            let capacity = capacity(20, workers, None).unwrap();
            assert!(capacity.sockets == 20 && capacity.connections_per_worker * workers >= 84);
        }
    }

    #[test]
    fn with_fewer_there_is_a_descriptor_for_each_promise() {
        for (descriptors, workers) in [(1_024, 1), (4_096, 8), (20_000, 3), (65_536, 16)] {
            let capacity = capacity(50_000, workers, Some(descriptors)).unwrap();
            let connections = capacity.connections_per_worker * workers;
            assert!(
                capacity.sockets < connections && capacity.sockets > connections * 6 / 7,
                "{capacity:?}"
            );
            let kept = usize::try_from(descriptors).unwrap() - connections * PER_CONNECTION;
            assert!(
                kept >= RESERVE + 32 + (workers + 2) * RESERVE_PER_THREAD,
                "{capacity:?}"
            );
        }
    }

    #[test]
    fn with_hardly_any_it_says_so() {
        let refused = capacity(50_000, 2, Some(256)).unwrap_err();
        assert!(refused.contains("256") && refused.contains("ulimit"), "{refused}");
    }
}
