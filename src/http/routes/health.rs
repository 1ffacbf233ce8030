//! Health over HTTP: whether the process lives, and whether the node should get work.
//!
//! `live` says only that the process responds: a broken database must not make an orchestrator
//! restart it. `ready` is about the node and its parts, and is false from the beginning of a
//! shutdown. Credentials that need a look-up are not looked up here: everybody may ask as often as
//! they like.

use crate::auth::Scope;
use crate::http::request::caller;
use crate::http::server::health::report::{HealthReport, HealthStatus, PoolReport};
use crate::http::state::AppState;
use actix_web::{HttpRequest, HttpResponse, web};

/// Whether the process responds.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = HealthReport)))]
pub(crate) async fn live(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(state.health.liveness())
}

/// Whether the node should get work: 503 if not. Admins also see the pool of database connections.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = HealthReport), (status = 503, body = HealthReport)))]
pub(crate) async fn ready(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let mut report = state.health.readiness().await;
    // Anyone who is nobody, or has wrong credentials, gets the plain report: an orchestrator must
    // always get one.
    let caller = caller::identify_by_token(&request, &state);
    if caller.is_ok_and(|caller| caller.scopes().contains(Scope::Admin)) {
        report.pool = Some(pool(&state));
    }
    if report.status == HealthStatus::Ok {
        HttpResponse::Ok().json(report)
    } else {
        HttpResponse::ServiceUnavailable().json(report)
    }
}

fn pool(state: &AppState) -> PoolReport {
    let pool = state.database.status();
    PoolReport {
        size: pool.connections,
        overflow: pool.connections.saturating_sub(pool.connections_kept),
        idle: pool.idle,
        waiting: pool.waiting,
        max: pool.connections_max,
    }
}

/// As `ready`, but always 200: for people and dashboards.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = HealthReport)))]
pub(crate) async fn health(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(state.health.readiness().await)
}
