//! Deadlines of connections, behind the HTTP server's own timeouts: no connection is held by a
//! client that does nothing.
//!
//! The server bounds the head of the first request of a connection and the pause between two
//! requests. It does not bound the head of a second request that comes byte by byte, nor a response
//! that nobody reads: it waits for ever for room to write. So every connection has a moment by
//! which the next thing must have happened ([`ConnectionDeadline`]), set anew by each thing that
//! does: a request has arrived, its response has begun, a piece of it has been taken. Once a second
//! a task shuts down the connections whose moment has passed, through the duplicate of their
//! descriptor (`descriptor.rs`). The worker then sees an error and lets go. WebSockets have no
//! deadline here: the sweep in `sessions` looks after them.
//!
//! When places run out, connections that wait for a request give way to new ones
//! (`connections.rs`).
//!
//! Bound: an entry for each connection of the node, which the server bounds. If the task dies with
//! a panic, which nothing in it can cause, connections are merely not cut.

use super::connections::{BUSY, ConnectionBounds, ConnectionTable};
use super::descriptor::DuplicateDescriptor;
use crate::config::HttpConfig;
use crate::ids::Network;
use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ResponseHead;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::Bytes;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Between two looks at all connections.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the server's own timers may be late before this one acts in their place.
const GRACE: Duration = Duration::from_secs(2);
/// Who takes fewer bytes of a response than this, over its whole length, is cut: a piece now and then
/// would hold a large one in memory for half an hour. A modem takes as many.
const BYTES_PER_SECOND_MIN: u64 = 4 * 1_024;
/// Larger bodies go to the server in pieces of so many bytes, so that their progress is seen.
const PIECE_BYTES: usize = 16 * 1_024;
/// In milliseconds after the epoch: never.
const NEVER: u64 = u64::MAX;

/// How long each thing may take.
#[derive(Clone, Copy)]
struct ConnectionTimes {
    /// The next request, from the response to the one before.
    idle: Duration,
    /// From a request to its response, unless its route says otherwise.
    response: Duration,
    /// The next piece of a response.
    piece: Duration,
}

/// The deadlines of a node's connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ConnectionDeadlines {
    table: Arc<DeadlineTable>,
}

struct DeadlineTable {
    times: ConnectionTimes,
    epoch: Instant,
    next_id: AtomicU64,
    connections: Mutex<ConnectionTable<Arc<TimedConnection>>>,
}

struct TimedConnection {
    /// `None` once it is a WebSocket, which is ended by its task.
    descriptor: Mutex<Option<DuplicateDescriptor>>,
    /// Milliseconds after the table's epoch.
    due_ms: AtomicU64,
    /// Since when it waits for a request, in milliseconds after the table's epoch; or [`BUSY`].
    idle_since_ms: AtomicU64,
}

impl ConnectionDeadlines {
    /// An empty table, and the task that looks after it until the last handle is gone.
    #[must_use]
    pub(super) fn start(config: &HttpConfig, bounds: ConnectionBounds) -> Self {
        let times = ConnectionTimes {
            idle: config.keep_alive + config.request_timeout + GRACE,
            response: config.request_deadline + GRACE,
            piece: config.request_deadline,
        };
        let table = Arc::new(DeadlineTable {
            times,
            epoch: Instant::now(),
            next_id: AtomicU64::new(0),
            connections: Mutex::new(ConnectionTable::new(bounds)),
        });
        let weak = Arc::downgrade(&table);
        actix_web::rt::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                let Some(table) = weak.upgrade() else { break };
                table.sweep();
            }
        });
        Self { table }
    }

    /// The deadline of a new connection. It belongs into the connection's data, and ends when it is
    /// dropped there and by all requests. `network` is whose it is; `None` for a proxy, behind which
    /// everybody may be. Connections that give way to it are cut.
    #[must_use]
    pub(super) fn add(&self, descriptor: DuplicateDescriptor, network: Option<Network>) -> ConnectionDeadline {
        let connection = Arc::new(TimedConnection {
            descriptor: Mutex::new(Some(descriptor)),
            due_ms: AtomicU64::new(NEVER),
            idle_since_ms: AtomicU64::new(self.table.after(Duration::ZERO)),
        });
        let id = self.table.next_id.fetch_add(1, Ordering::Relaxed);
        let deadline = ConnectionDeadline(Some(Arc::new(DeadlineEntry {
            id,
            connection: connection.clone(),
            table: Arc::downgrade(&self.table),
        })));
        deadline.expect_within(|times| times.idle);
        let idle_since = |connection: &Arc<TimedConnection>| connection.idle_since_ms.load(Ordering::Relaxed);
        let leaving = self
            .table
            .connections
            .lock()
            .insert(id, network, connection, idle_since);
        if !leaving.is_empty() {
            tracing::debug!(count = leaving.len(), "idle connections give way to new ones");
        }
        for connection in leaving {
            connection.cut();
        }
        deadline
    }
}

impl DeadlineTable {
    fn after(&self, time: Duration) -> u64 {
        u64::try_from((self.epoch.elapsed() + time).as_millis()).unwrap_or(NEVER)
    }

    fn sweep(&self) {
        let now = self.after(Duration::ZERO);
        let is_due = |connection: &&Arc<TimedConnection>| connection.due_ms.load(Ordering::Relaxed) < now;
        // Shutting down is a system call: not under the lock that new connections need.
        let due: Vec<_> = self.connections.lock().all().filter(is_due).cloned().collect();
        for connection in due {
            tracing::debug!("a connection that did nothing for too long is cut");
            connection.cut();
        }
    }
}

impl TimedConnection {
    /// Ends it, once.
    fn cut(&self) {
        self.due_ms.store(NEVER, Ordering::Relaxed);
        self.idle_since_ms.store(BUSY, Ordering::Relaxed);
        if let Some(descriptor) = &*self.descriptor.lock() {
            descriptor.shut_down();
        }
    }
}

/// The deadline of one connection, as its data and its requests hold it. Cheap to clone.
///
/// There is none in tests that have requests without connections, and where the process has no
/// descriptor left for a duplicate.
#[derive(Clone, Default)]
pub(crate) struct ConnectionDeadline(Option<Arc<DeadlineEntry>>);

struct DeadlineEntry {
    id: u64,
    connection: Arc<TimedConnection>,
    table: Weak<DeadlineTable>,
}

impl ConnectionDeadline {
    /// The deadline of the connection on which a request came.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.conn_data::<Self>().cloned().unwrap_or_default()
    }

    fn expect_within(&self, time: impl FnOnce(&ConnectionTimes) -> Duration) {
        if let Some(entry) = &self.0
            && let Some(table) = entry.table.upgrade()
        {
            let due = table.after(time(&table.times));
            entry.connection.due_ms.store(due, Ordering::Relaxed);
        }
    }

    /// From now on the next request is waited for.
    fn idle(&self) {
        self.expect_within(|times| times.idle);
        if let Some(entry) = &self.0
            && let Some(table) = entry.table.upgrade()
        {
            let now = table.after(Duration::ZERO);
            entry.connection.idle_since_ms.store(now, Ordering::Relaxed);
        }
    }

    /// A request has arrived; `own` is the deadline of its route, if that has its own.
    pub(crate) fn request_arrived(&self, own: Option<Duration>) {
        if let Some(entry) = &self.0 {
            entry.connection.idle_since_ms.store(BUSY, Ordering::Relaxed);
        }
        self.expect_within(|times| own.map_or(times.response, |own| own + GRACE));
    }

    /// The connection is a WebSocket from now on, and ended by its task.
    pub(super) fn upgraded(&self) {
        let Some(entry) = &self.0 else { return };
        entry.connection.due_ms.store(NEVER, Ordering::Relaxed);
        drop(entry.connection.descriptor.lock().take());
        if let Some(table) = entry.table.upgrade() {
            table.connections.lock().upgraded(entry.id);
        }
    }

    /// A response begins. Returns its body as the server is to be given it.
    pub(crate) fn response_begins(self, head: &ResponseHead, body: BoxBody) -> BoxBody {
        if self.0.is_none() {
            return body;
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // As a request's, until the connection is handed over.
            return body;
        }
        if head.connection_type() == ConnectionType::Close {
            // The server would go on taking a chunked body that nobody wants, for as long as it
            // lasts.
            self.expect_within(|_| GRACE);
            return body;
        }
        let is_small = match body.size() {
            BodySize::None => true,
            BodySize::Sized(bytes) => bytes <= PIECE_BYTES as u64,
            BodySize::Stream => false,
        };
        if is_small {
            self.idle();
            return body;
        }
        self.expect_within(|times| times.piece);
        BoxBody::new(TimedBody {
            size: body.size(),
            body,
            rest: Bytes::new(),
            taking: TakenPieces::default(),
            deadline: self,
        })
    }
}

impl Drop for DeadlineEntry {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            // It is gone already where it has given way.
            drop(table.connections.lock().remove(self.id));
        }
    }
}

/// A body whose progress moves the deadline.
struct TimedBody {
    size: BodySize,
    body: BoxBody,
    /// Taken from the body, not yet handed over.
    rest: Bytes,
    taking: TakenPieces,
    deadline: ConnectionDeadline,
}

/// How fast a client takes the pieces of a response. The time that the server needs for them does
/// not count.
#[derive(Default)]
struct TakenPieces {
    bytes: u64,
    lasted: Duration,
    /// When the last one was handed over, until it is taken.
    handed_at: Option<Instant>,
}

impl TakenPieces {
    /// The client has taken what it was handed.
    fn taken(&mut self, now: Instant) {
        if let Some(handed_at) = self.handed_at.take() {
            self.lasted += now.saturating_duration_since(handed_at);
        }
    }

    /// So many bytes are handed over. How long they may take: as long as any piece, but not so long
    /// that all of them are slower than they may be.
    fn handed(&mut self, bytes: usize, piece: Duration, now: Instant) -> Duration {
        let allowed = piece + Duration::from_secs(self.bytes / BYTES_PER_SECOND_MIN);
        self.bytes += bytes as u64;
        self.handed_at = Some(now);
        piece.min(allowed.saturating_sub(self.lasted))
    }
}

impl MessageBody for TimedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.taking.taken(Instant::now());
        self.deadline.expect_within(|times| times.piece);
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        let this = &mut *self;
        this.deadline
            .expect_within(|times| this.taking.handed(piece, times.piece, Instant::now()));
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.deadline.idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: Duration = Duration::from_secs(30);

    /// How many pieces a client takes of which each takes so long, before it is cut.
    fn pieces_taken(each: Duration) -> Option<u32> {
        let mut taking = TakenPieces::default();
        let mut now = Instant::now();
        (0..1_000).find(|_| {
            let allowed = taking.handed(PIECE_BYTES, PIECE, now);
            now += each;
            taking.taken(now);
            // The server takes its time for the next one.
            now += Duration::from_secs(60);
            each > allowed
        })
    }

    #[test]
    fn who_trickles_is_cut_and_who_is_slow_is_not() {
        assert_eq!(pieces_taken(PIECE + Duration::from_secs(1)), Some(0));
        assert_eq!(pieces_taken(PIECE), Some(1));
        assert_eq!(
            pieces_taken(Duration::from_secs(8)),
            Some(6),
            "half as fast as one must be"
        );
        let slowest = Duration::from_secs(PIECE_BYTES as u64 / BYTES_PER_SECOND_MIN);
        assert_eq!(pieces_taken(slowest), None);
    }
}
