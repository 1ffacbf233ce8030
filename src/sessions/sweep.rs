//! What must happen to a socket though nothing happens on it: pings, silence, expiry, stalls.
//!
//! Once a second an actor looks at every connection of the node from outside, because a session that is not written to is
//! not polled and cannot look after itself. It pings; it closes who has been silent, whose token has run out; it cuts
//! who takes no bytes; and it shuts the TCP connection of who does not end by itself. The cost is a few loads for each
//! connection and second.
//!
//! A process that was stopped for a while (a debugger, a machine that moved) has heard nobody meanwhile, and that was
//! nobody's fault: when the sweep itself comes late, clients are forgiven that time.

use super::{Connection, Sessions};
use crate::config::SessionsConfig;
use crate::error::CloseCode;
use crate::ids::ConnectionId;
use crate::metrics::{Eviction, metrics};
use crate::supervision::{ArbiterPool, DeathGuard, start, supervise};
use actix::prelude::*;
use chrono::Utc;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What the sweep is called in logs and metrics.
const ACTOR: &str = "session_sweep";
/// Between two sweeps.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a closing connection may take until its TCP connection is shut down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A sweep that comes this late finds the process asleep, and not its clients.
const SLEEP_MIN: Duration = Duration::from_secs(4);

/// What the sweep remembers of a connection.
struct Watch {
    /// The outbox's count of drains when it last changed, and since when it has not.
    drains: Option<u64>,
    since: Instant,
    pinged_at: Instant,
    closing_since: Option<Instant>,
    seen: bool,
}

/// Sweeps the connections of a node.
pub(super) struct Sweeper {
    sessions: Sessions,
    config: SessionsConfig,
    watches: HashMap<ConnectionId, Watch>,
    swept_at: Instant,
    _guard: DeathGuard,
}

impl Sweeper {
    /// Starts the sweep under supervision.
    pub(super) fn start_supervised(sessions: &Sessions, config: &SessionsConfig, arbiters: &ArbiterPool) {
        let (sessions, config) = (sessions.clone(), config.clone());
        arbiters.spawn(1, async move {
            let begin = |_, guard| {
                let (sessions, config) = (sessions.clone(), config.clone());
                let sweeper = Self {
                    sessions,
                    config,
                    watches: HashMap::new(),
                    swept_at: Instant::now(),
                    _guard: guard,
                };
                start(ACTOR, None, sweeper);
            };
            supervise(ACTOR, begin).await;
        });
    }

    /// Looks at everything once.
    fn sweep(&mut self) {
        fail::fail_point!("sessions::sweep");
        let now = Instant::now();
        let now_ms = Utc::now().timestamp_millis();
        if now.duration_since(std::mem::replace(&mut self.swept_at, now)) >= SLEEP_MIN {
            self.forgive(now);
        }
        for connection in self.sessions.directory().all() {
            let watch = self.watches.entry(connection.id).or_insert_with(|| Watch {
                drains: None,
                since: now,
                pinged_at: now,
                closing_since: None,
                seen: true,
            });
            watch.seen = true;
            look_after(&connection, watch, &self.config, now, now_ms);
        }
        self.watches.retain(|_, watch| std::mem::take(&mut watch.seen));
    }
}

impl Sweeper {
    /// Begins anew with everybody's silence.
    fn forgive(&mut self, now: Instant) {
        tracing::warn!("the process was asleep; nobody's silence meanwhile counts");
        for connection in self.sessions.directory().all() {
            connection.heard();
        }
        for watch in self.watches.values_mut() {
            watch.since = now;
            watch.closing_since = watch.closing_since.map(|_| now);
        }
    }
}

impl Actor for Sweeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(INTERVAL, |sweeper, _| sweeper.sweep());
    }
}

fn look_after(connection: &Connection, watch: &mut Watch, config: &SessionsConfig, now: Instant, now_ms: i64) {
    let outbox = &connection.outbox;
    if outbox.is_closed() {
        let since = *watch.closing_since.get_or_insert(now);
        if now.duration_since(since) >= CLOSE_TIMEOUT {
            connection.shut_down();
        }
        return;
    }
    if let Some(code) = connection.expired(now_ms) {
        return outbox.close(Some(code));
    }
    let drains = outbox.progress();
    if drains.is_none() || drains != watch.drains {
        watch.drains = drains;
        watch.since = now;
    } else if now.duration_since(watch.since) >= config.stall_timeout {
        tracing::info!(connection.id = %connection.id, "connection cut: it takes no bytes");
        metrics().outbox_evicted(Eviction::Stalled);
        outbox.cut(CloseCode::TooSlow);
        // A socket that takes no bytes takes no close frame either.
        return connection.shut_down();
    }
    if u128::from(connection.silent_ms()) >= config.heartbeat_timeout.as_millis() {
        return outbox.close(Some(CloseCode::HeartbeatLost));
    }
    if now.duration_since(watch.pinged_at) >= config.heartbeat {
        watch.pinged_at = now;
        outbox.ping();
    }
}
