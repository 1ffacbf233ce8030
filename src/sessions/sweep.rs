//! What must happen to a socket though nothing happens on it: pings, silence, expiry, stalls.
//!
//! Once a second an actor looks at every connection of the node from outside, because a session
//! that is not written to is not polled and cannot look after itself. It pings. It closes a
//! connection that has been silent, or whose token has run out. It cuts one that takes no bytes, or
//! has much waiting and takes so few that it will never end (`progress.rs`). It shuts the TCP
//! connection of one that does not end by itself. The cost is a few loads for each connection and
//! second; it waits for nothing. A crash costs a second.
//!
//! A process that was stopped for a while (a debugger, a machine that moved) has received nothing
//! meanwhile, and that was not the clients' fault. So when the sweep comes late, that time does not
//! count.

use super::connection::Connection;
use super::directory::Directory;
use super::progress::ReadingProgress;
use crate::config::SessionsConfig;
use crate::error::CloseCode;
use crate::ids::ConnectionId;
use crate::metrics::{Eviction, metrics};
use crate::supervision::{self, ArbiterPool, DeathGuard, supervise};
use actix::prelude::*;
use chrono::Utc;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the sweep is called in logs and metrics.
const ACTOR: &str = "session_sweep";
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a closing connection may take until its TCP connection is shut down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A sweep that comes this long after the one before finds that the process was asleep.
const SLEEP_MIN: Duration = Duration::from_secs(4);

/// What the sweep remembers of a connection.
struct SweepRecord {
    reading: ReadingProgress,
    pinged_at: Instant,
    closing_since: Option<Instant>,
    /// By the sweep of this second.
    seen: bool,
}

struct SweepActor {
    directory: Arc<Directory>,
    config: SessionsConfig,
    records: HashMap<ConnectionId, SweepRecord>,
    swept_at: Instant,
    _guard: DeathGuard,
}

/// Starts the sweep under supervision.
pub(super) fn start(directory: &Arc<Directory>, config: &SessionsConfig, arbiters: &ArbiterPool) {
    let (directory, config) = (directory.clone(), config.clone());
    arbiters.spawn(1, async move {
        let start = |_, guard| {
            let actor = SweepActor {
                directory: directory.clone(),
                config: config.clone(),
                records: HashMap::new(),
                swept_at: Instant::now(),
                _guard: guard,
            };
            supervision::start(ACTOR, None, actor);
        };
        supervise(ACTOR, start).await;
    });
}

impl SweepActor {
    /// Looks at everything once.
    fn sweep(&mut self) {
        fail::fail_point!("sessions::sweep");
        let now = Instant::now();
        let now_ms = Utc::now().timestamp_millis();
        if now.duration_since(std::mem::replace(&mut self.swept_at, now)) >= SLEEP_MIN {
            self.forgive_silence(now);
        }
        for connection in self.directory.all() {
            let record = self.records.entry(connection.id).or_insert_with(|| SweepRecord {
                reading: ReadingProgress::new(now),
                pinged_at: now,
                closing_since: None,
                seen: true,
            });
            record.seen = true;
            look_after(&connection, record, &self.config, now, now_ms);
        }
        self.records.retain(|_, record| std::mem::take(&mut record.seen));
    }

    /// Nobody's silence until now counts.
    fn forgive_silence(&mut self, now: Instant) {
        tracing::warn!("the process was asleep; nobody's silence meanwhile counts");
        for connection in self.directory.all() {
            connection.received();
        }
        for record in self.records.values_mut() {
            record.reading = ReadingProgress::new(now);
            record.closing_since = record.closing_since.map(|_| now);
        }
    }
}

impl Actor for SweepActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(INTERVAL, |sweep, _| sweep.sweep());
    }
}

fn look_after(connection: &Connection, record: &mut SweepRecord, config: &SessionsConfig, now: Instant, now_ms: i64) {
    let outbox = &connection.outbox;
    if outbox.is_closed() {
        let since = *record.closing_since.get_or_insert(now);
        if now.duration_since(since) >= CLOSE_TIMEOUT {
            connection.shut_down();
        }
        return;
    }
    if let Some(code) = connection.expired(now_ms) {
        return outbox.close(Some(code));
    }
    if record.reading.is_stuck(outbox.progress(), now, config.stall_timeout) {
        tracing::info!(connection.id = %connection.id, "connection cut: it takes no bytes, or too few");
        metrics().outbox_evicted(Eviction::Stalled);
        outbox.cut(CloseCode::TooSlow);
        // A socket that takes no bytes takes no close frame either.
        return connection.shut_down();
    }
    if u128::from(connection.silent_ms()) >= config.heartbeat_timeout.as_millis() {
        return outbox.close(Some(CloseCode::HeartbeatLost));
    }
    if now.duration_since(record.pinged_at) >= config.heartbeat {
        record.pinged_at = now;
        outbox.ping();
    }
}
