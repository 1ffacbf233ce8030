//! The fence behind the HTTP server's own timeouts: no connection is held by a client that does nothing.
//!
//! The server bounds the head of the first request of a connection and the pause between two requests, but not the head of
//! a second request that comes byte by byte, and not an answer that nobody reads: it waits for ever for room to write. So
//! every connection has a moment by which the next thing must have happened ([`Watch`]), set anew by each thing that
//! does: a request has arrived, its answer has begun, a piece of it has been taken. Once a second a task looks for those
//! whose moment has passed and shuts them down through the duplicate of their descriptor that was made for their socket
//! (see `sessions/socket.rs`); the worker then sees an error and lets go. WebSockets are let off here: the sweep in
//! `sessions` looks after them.
//!
//! The table has an entry for each connection of the node, which the server bounds. If the task dies with a panic, which
//! nothing in it can cause, connections are merely not cut.

use crate::config::HttpConfig;
use crate::sessions::Socket;
use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ResponseHead;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Between two looks at all connections.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the server's own timers may be late before this one acts in their place.
const GRACE: Duration = Duration::from_secs(2);
/// A larger body is handed to the server in pieces of this size, so that its progress is seen, in bytes.
const PIECE_BYTES: usize = 16 * 1_024;
/// Never.
const NEVER: u64 = u64::MAX;

/// How long each thing may take.
#[derive(Clone, Copy)]
struct Times {
    /// The next request, from the answer to the one before.
    idle: Duration,
    /// The answer.
    answer: Duration,
    /// The next piece of an answer.
    piece: Duration,
}

/// The connections of a node. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    table: Arc<Table>,
}

struct Table {
    times: Times,
    epoch: Instant,
    next: AtomicU64,
    watches: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// What the table knows of a connection.
struct Entry {
    socket: Arc<Socket>,
    /// Milliseconds after the table's epoch.
    due_ms: AtomicU64,
}

impl Connections {
    /// An empty table, and the task that looks after it until the last handle is gone.
    #[must_use]
    pub fn start(config: &HttpConfig) -> Self {
        let times = Times {
            idle: config.keep_alive + config.request_timeout + GRACE,
            answer: config.request_deadline + GRACE,
            piece: config.request_deadline,
        };
        let table = Arc::new(Table {
            times,
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            watches: Mutex::default(),
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

    /// Watches a new connection; the answer belongs into its data, and ends the watch when it is dropped with all its requests.
    #[must_use]
    pub fn watch(&self, socket: Arc<Socket>) -> Watch {
        let entry = Arc::new(Entry {
            socket,
            due_ms: AtomicU64::new(NEVER),
        });
        let id = self.table.next.fetch_add(1, Ordering::Relaxed);
        let watch = Watch(Some(Arc::new(Inner {
            id,
            entry: entry.clone(),
            table: Arc::downgrade(&self.table),
        })));
        watch.expect_within(|times| times.idle);
        self.table.watches.lock().insert(id, entry);
        watch
    }
}

impl Table {
    fn after(&self, time: Duration) -> u64 {
        u64::try_from((self.epoch.elapsed() + time).as_millis()).unwrap_or(NEVER)
    }

    fn sweep(&self) {
        let now = self.after(Duration::ZERO);
        let is_due = |entry: &&Arc<Entry>| entry.due_ms.load(Ordering::Relaxed) < now;
        // Shutting down is a system call: not under the lock that new connections need.
        let due: Vec<_> = self.watches.lock().values().filter(is_due).cloned().collect();
        for entry in due {
            tracing::debug!("a connection that did nothing for too long is cut");
            entry.due_ms.store(NEVER, Ordering::Relaxed);
            entry.socket.shut_down();
        }
    }
}

/// The watch over a connection, as its data and its requests hold it. Cheap to clone. Watches nothing in tests that have
/// requests without connections, and where the process has no descriptor left for a duplicate.
#[derive(Clone, Default)]
pub struct Watch(Option<Arc<Inner>>);

struct Inner {
    id: u64,
    entry: Arc<Entry>,
    table: Weak<Table>,
}

impl Watch {
    /// The watch over the connection of a request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.conn_data::<Self>().cloned().unwrap_or_default()
    }

    fn expect_within(&self, time: impl FnOnce(&Times) -> Duration) {
        if let Some(inner) = &self.0
            && let Some(table) = inner.table.upgrade()
        {
            let due = table.after(time(&table.times));
            inner.entry.due_ms.store(due, Ordering::Relaxed);
        }
    }

    /// A request has arrived.
    pub(crate) fn request_came(&self) {
        self.expect_within(|times| times.answer);
    }

    /// An answer begins: its body as the server is to be given it.
    pub(crate) fn answer_begins(self, head: &ResponseHead, body: BoxBody) -> BoxBody {
        let Some(inner) = &self.0 else { return body };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            inner.entry.due_ms.store(NEVER, Ordering::Relaxed);
            return body;
        }
        if head.connection_type() == ConnectionType::Close {
            // The server would go on taking a chunked body that nobody wants, for as long as it lasts.
            self.expect_within(|_| GRACE);
            return body;
        }
        let is_small = match body.size() {
            BodySize::None => true,
            BodySize::Sized(bytes) => bytes <= PIECE_BYTES as u64,
            BodySize::Stream => false,
        };
        if is_small {
            self.expect_within(|times| times.idle);
            return body;
        }
        self.expect_within(|times| times.piece);
        BoxBody::new(Watched {
            size: body.size(),
            body,
            rest: Bytes::new(),
            watch: self,
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.watches.lock().remove(&self.id);
        }
    }
}

/// A body whose progress is seen.
struct Watched {
    size: BodySize,
    body: BoxBody,
    /// Taken from the body, not yet handed over.
    rest: Bytes,
    watch: Watch,
}

impl MessageBody for Watched {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.watch.expect_within(|times| times.piece);
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.expect_within(|times| times.idle);
    }
}
