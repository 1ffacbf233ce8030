//! Health: whether the process lives, and whether it should get work.
//!
//! `live` says only that the process answers: a broken database must not make an orchestrator restart it. `ready` asks
//! each named part, all at once, each for [`CHECK_TIMEOUT`] at most, and is false from the beginning of a shutdown. A part
//! without which the node still serves is `degraded` when it fails, and the node stays ready.
//!
//! Everybody may ask, as often as they like, and no quota counts it. So one question is under way at a time, and its
//! answer is good for [`REMEMBERED_FOR`]: what the parts cost does not grow with those who ask. Credentials that need a
//! look-up are not looked up here for the same reason.

use crate::auth::Scope;
use crate::http::request::extract;
use crate::http::state::AppState;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use utoipa::ToSchema;

/// Longest a part may take to answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long what the parts have answered is repeated.
const REMEMBERED_FOR: Duration = Duration::from_secs(1);

/// Whether a node can serve without a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It cannot.
    Required,
    /// It can, more slowly or with less.
    Optional,
}

/// Asks a part how it is; the error is for operators, and says nothing that strangers should not read.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A part that readiness depends on.
#[derive(Clone)]
pub struct Part {
    /// Its name in the answer.
    pub name: &'static str,
    /// Which kind of it is in use, where there are several.
    pub kind: Option<&'static str>,
    /// Whether the node is ready without it.
    pub need: Need,
    /// How it is.
    pub check: Check,
}

impl Part {
    /// A part that the node cannot serve without.
    pub fn required<F>(name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name,
            kind: None,
            need: Need::Required,
            check: Arc::new(move || Box::pin(check())),
        }
    }

    async fn ask(&self) -> PartAnswer {
        let answer = tokio::time::timeout(CHECK_TIMEOUT, (self.check)()).await;
        let failure = answer.unwrap_or_else(|_| Err("no answer in time".to_owned())).err();
        PartAnswer {
            status: match (&failure, self.need) {
                (None, _) => PartStatus::Ok,
                (Some(_), Need::Required) => PartStatus::Failing,
                (Some(_), Need::Optional) => PartStatus::Degraded,
            },
            kind: self.kind,
            detail: failure,
        }
    }
}

/// What readiness depends on. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    draining: Arc<AtomicBool>,
    started: Instant,
    parts: Arc<[Part]>,
    remembered: Arc<Mutex<Option<Remembered>>>,
}

/// What the parts have answered, each by its name, and when.
struct Remembered {
    at: Instant,
    parts: BTreeMap<&'static str, PartAnswer>,
}

impl Health {
    /// Readiness that depends on `parts`; the node's time begins.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self {
            draining: Arc::default(),
            started: Instant::now(),
            parts: parts.into(),
            remembered: Arc::default(),
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

    fn answer(&self, status: Status) -> HealthAnswer {
        HealthAnswer {
            status,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            parts: BTreeMap::new(),
            pool: None,
        }
    }

    /// Asks every part, or repeats what they have just answered. Whoever comes meanwhile waits for the same answers.
    async fn ask_parts(&self) -> BTreeMap<&'static str, PartAnswer> {
        let mut remembered = self.remembered.lock().await;
        if let Some(Remembered { at, parts }) = &*remembered
            && at.elapsed() < REMEMBERED_FOR
        {
            return parts.clone();
        }
        let asked = self.parts.iter().map(|part| async { (part.name, part.ask().await) });
        let parts: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        *remembered = Some(Remembered {
            at: Instant::now(),
            parts: parts.clone(),
        });
        parts
    }

    /// How the node is and its parts are. That it is going away is never remembered, but known.
    async fn ask(&self) -> HealthAnswer {
        let mut parts = self.ask_parts().await;
        let is_ready = parts.values().all(|part| part.status != PartStatus::Failing);
        let node = if self.is_draining() {
            PartStatus::Failing
        } else {
            PartStatus::Ok
        };
        parts.insert(
            "node",
            PartAnswer {
                status: node,
                kind: None,
                detail: self.is_draining().then(|| "going away".to_owned()),
            },
        );
        let status = match (self.is_draining(), is_ready) {
            (true, _) => Status::Draining,
            (false, true) => Status::Ok,
            (false, false) => Status::Unavailable,
        };
        HealthAnswer {
            parts,
            ..self.answer(status)
        }
    }
}

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It serves.
    Ok,
    /// A part that it needs fails.
    Unavailable,
    /// It is going away.
    Draining,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartStatus {
    /// Well.
    Ok,
    /// Failing, and the node serves without it.
    Degraded,
    /// Failing, and the node should get no work.
    Failing,
}

/// A part of the node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PartAnswer {
    /// How it is.
    status: PartStatus,
    /// Which kind of it is in use, where there are several (`in_process` or `redis` for the bus).
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The pool of database connections.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolAnswer {
    /// Connections that exist.
    size: usize,
    /// Of these, those beyond the number that is kept.
    overflow: usize,
    /// Of these, those that nobody uses.
    idle: usize,
    /// Callers that wait for one.
    waiting: usize,
    /// How many there may be.
    max: usize,
}

/// The state of the node and its parts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthAnswer {
    /// How the node is.
    status: Status,
    /// The program's version.
    version: &'static str,
    /// Whole seconds since the node was started.
    uptime_seconds: u64,
    /// Each part by its name; none where only the process was asked about.
    parts: BTreeMap<&'static str, PartAnswer>,
    /// The pool of database connections; for admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<PoolAnswer>,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = HealthAnswer)))]
pub(crate) async fn live(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(state.health.answer(Status::Ok))
}

/// Whether the node should get work: 503 if not. Admins also see the pool of database connections.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = HealthAnswer), (status = 503, body = HealthAnswer)))]
pub(crate) async fn ready(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let mut answer = state.health.ask().await;
    // Whoever is nobody, or has wrong credentials, gets the plain answer: an orchestrator must always get one.
    let caller = extract::identify_by_token(&request, &state);
    if caller.is_ok_and(|caller| caller.scopes().contains(Scope::Admin)) {
        let pool = state.database.status();
        answer.pool = Some(PoolAnswer {
            size: pool.connections,
            overflow: pool.connections.saturating_sub(pool.connections_kept),
            idle: pool.idle,
            waiting: pool.waiting,
            max: pool.connections_max,
        });
    }
    if answer.status == Status::Ok {
        HttpResponse::Ok().json(answer)
    } else {
        HttpResponse::ServiceUnavailable().json(answer)
    }
}

/// As `ready`, but always 200: for people and dashboards.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = HealthAnswer)))]
pub(crate) async fn health(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(state.health.ask().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn part(name: &'static str, need: Need, answer: Result<(), String>) -> Part {
        Part {
            need,
            ..Part::required(name, move || std::future::ready(answer.clone()))
        }
    }

    #[tokio::test]
    async fn only_what_is_needed_and_fails_makes_a_node_unready() {
        let away = || Err("away".to_owned());
        let optional = Health::new(vec![
            part("a", Need::Required, Ok(())),
            part("b", Need::Optional, away()),
        ]);
        let answer = optional.ask().await;
        assert_eq!(
            (answer.status, answer.parts["b"].status),
            (Status::Ok, PartStatus::Degraded)
        );
        assert_eq!(answer.parts["b"].detail.as_deref(), Some("away"));
        let answer = Health::new(vec![part("a", Need::Required, away())]).ask().await;
        assert_eq!(
            (answer.status, answer.parts["a"].status),
            (Status::Unavailable, PartStatus::Failing)
        );
        optional.drain();
        let answer = optional.ask().await;
        assert_eq!(
            (answer.status, answer.parts["node"].status),
            (Status::Draining, PartStatus::Failing)
        );
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_question() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let part = Part::required("a", move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::task::yield_now().await;
                Ok(())
            }
        });
        let health = Health::new(vec![part]);
        let answers = join_all((0..100).map(|_| health.ask())).await;
        assert!(answers.iter().all(|answer| answer.status == Status::Ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        health.drain();
        assert_eq!(health.ask().await.status, Status::Draining, "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_says_nothing_is_failing_in_time() {
        let silent = Part::required("a", std::future::pending);
        let answer = Health::new(vec![silent]).ask().await;
        assert_eq!(answer.parts["a"].detail.as_deref(), Some("no answer in time"));
    }
}
