//! Health and metrics: whether the process lives, whether it should get work, and what it counts.
//!
//! `live` says only that the process answers: a broken database must not make an orchestrator restart it. `ready` asks
//! each named part, all at once, each for [`CHECK_TIMEOUT`] at most, and is false from the beginning of a shutdown.

use super::State;
use super::error::Error;
use crate::error::Code;
use crate::metrics::{self, Readings};
use actix_web::{HttpResponse, web};
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use utoipa::ToSchema;

/// Longest a part may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A part that readiness depends on.
#[derive(Clone)]
pub struct Part {
    /// Its name in the answer.
    pub name: &'static str,
    /// Asks it; the error is for operators.
    pub check: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// What readiness depends on. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    draining: Arc<AtomicBool>,
    parts: Vec<Part>,
}

impl Health {
    /// Readiness that depends on `parts`, besides the database.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self {
            draining: Arc::default(),
            parts,
        }
    }

    /// From now on not ready: the node is going away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the node is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// The state of the node and its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `ok`, `unavailable` or `draining`.
    pub status: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// Each part: `ok`, or what is wrong with it.
    pub parts: BTreeMap<&'static str, String>,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = HealthAnswer)))]
pub(super) async fn live() -> HttpResponse {
    let answer = HealthAnswer {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        parts: BTreeMap::new(),
    };
    HttpResponse::Ok().json(answer)
}

/// Whether the node should get work: 503 if not.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = HealthAnswer), (status = 503, body = HealthAnswer)))]
pub(super) async fn ready(state: web::Data<State>) -> HttpResponse {
    let answer = ask(&state).await;
    if answer.status == "ok" {
        HttpResponse::Ok().json(answer)
    } else {
        HttpResponse::ServiceUnavailable().json(answer)
    }
}

/// As `ready`, but always 200: for people and dashboards.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = HealthAnswer)))]
pub(super) async fn health(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(ask(&state).await)
}

/// What the server counts, in the text format of OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(state: web::Data<State>) -> Result<HttpResponse, Error> {
    // A walk over all conversations and a few files of the system: not on a thread that serves sockets.
    let text = web::block(move || metrics::metrics().expose(&read(&state)))
        .await
        .map_err(|error| Error::from_feature(Code::Internal, error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(metrics::MEDIA_TYPE).body(text))
}

/// The state of this node at this moment.
fn read(state: &State) -> Readings {
    let pool = state.database.status();
    let mut depths = state.conversations.depths();
    depths.extend(state.sessions.depths());
    Readings {
        pool_size: pool.connections,
        pool_overflow: pool.connections.saturating_sub(pool.connections_kept),
        pool_idle: pool.idle,
        pool_waiting: pool.waiting,
        pool_max: pool.connections_max,
        sockets_open: state.sessions.open_count(),
        conversations_active: state.conversations.active_count(),
        depths,
    }
}

async fn ask(state: &State) -> HealthAnswer {
    let database = state.database.clone();
    let database = Part {
        name: "database",
        check: Arc::new(move || {
            let database = database.clone();
            Box::pin(async move { database.ping().await.map_err(|error| error.code().to_string()) })
        }),
    };
    let asked = std::iter::once(&database)
        .chain(&state.health.parts)
        .map(|part| async move {
            let answer = tokio::time::timeout(CHECK_TIMEOUT, (part.check)()).await;
            (
                part.name,
                answer
                    .unwrap_or_else(|_| Err("no answer in time".to_owned()))
                    .map_or_else(|e| e, |()| "ok".to_owned()),
            )
        });
    let parts: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
    let status = if state.health.is_draining() {
        "draining"
    } else if parts.values().all(|part| part == "ok") {
        "ok"
    } else {
        "unavailable"
    };
    HealthAnswer {
        status,
        version: env!("CARGO_PKG_VERSION"),
        parts,
    }
}
