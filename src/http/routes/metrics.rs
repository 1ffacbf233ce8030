//! `/metrics`: what the server counts, for scrapers.
//!
//! On the main address unless `METRICS_BIND` names another, and then on that only: it tells no
//! secrets, but how busy the place is, which strangers need not know.

use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::metrics::{self, Readings};
use actix_web::{HttpResponse, web};

/// What the server counts, in the text format of OpenMetrics. `not_found` where it has an address of its own.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, body = String, content_type = metrics::MEDIA_TYPE)))]
pub(crate) async fn metrics(state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    if state.config.metrics.bind.is_some() {
        return Err(Error::new(Code::NotFound));
    }
    scrape(state).await
}

/// The same on the address of its own.
pub(crate) async fn scrape(state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    // A walk over all conversations and a few files of the system: not on a thread that serves
    // sockets.
    let text = web::block(move || metrics::metrics().expose(&read(&state)))
        .await
        .map_err(|error| Error::from_feature(Code::Internal, error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(metrics::MEDIA_TYPE).body(text))
}

/// The state of this node at this moment.
fn read(state: &AppState) -> Readings {
    let pool = state.database.status();
    let mut depths = state.commits.depths();
    depths.extend(state.conversations.depths());
    depths.extend(state.bus.depth());
    depths.push(state.limits.depth());
    let (cache_bytes, cache_entries) = state.cache.size();
    Readings {
        pool_size: pool.connections,
        pool_overflow: pool.connections.saturating_sub(pool.connections_kept),
        pool_idle: pool.idle,
        pool_waiting: pool.waiting,
        pool_max: pool.connections_max,
        replica: state
            .database
            .replica_status()
            .map(|replica| (replica.trouble.is_none(), replica.lag.map(|lag| lag.as_secs_f64()))),
        sockets_open: state.sessions.open_count(),
        sockets_max: state.config.sessions.connections_max,
        conversations_active: state.conversations.active_count(),
        cache_entries,
        cache_bytes,
        cache_invalidations_waiting: state.cache.remote().map_or(0, |remote| remote.waiting),
        bus: state.bus.reach(),
        depths,
    }
}
