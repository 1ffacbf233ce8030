//! The application that every worker runs: the state, the middleware in its order, the routes.

use crate::http::middleware::bounds::bounds;
use crate::http::middleware::compression::compression;
use crate::http::middleware::flood::FloodGuards;
use crate::http::middleware::quotas::quotas;
use crate::http::middleware::request_log::request_log;
use crate::http::routes::{health, metrics, table};
use crate::http::state::AppState;
use actix_governor::Governor;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};

/// Puts everything onto an application. The factory of each worker calls it with the same `state`.
pub(super) fn configure(config: &mut ServiceConfig, state: web::Data<AppState>) {
    let flood_guards = state.flood_guards.clone();
    config
        .app_data(state)
        // `OPTIONS *` and the like, which are no paths.
        .default_service(web::to(table::not_found).wrap(from_fn(request_log)));
    // The last wrap is the outermost.
    let routes = table::routes()
        .wrap(from_fn(quotas))
        .wrap(from_fn(bounds))
        .wrap(from_fn(compression));
    match flood_guards {
        Some(FloodGuards { all, auth, free, .. }) => {
            let guarded = routes.wrap(Governor::new(&auth)).wrap(Governor::new(&all));
            let guarded = guarded.wrap(Governor::new(&free));
            config.service(guarded.wrap(from_fn(request_log)));
        }
        None => {
            config.service(routes.wrap(from_fn(request_log)));
        }
    }
}

/// Puts `/metrics` and health onto the application of the listener that has nothing else.
pub(super) fn configure_metrics(config: &mut ServiceConfig, state: web::Data<AppState>) {
    let routes = web::scope("")
        .service(web::resource("/metrics").get(metrics::scrape))
        .service(web::resource("/health").get(health::health))
        .service(web::resource("/health/live").get(health::live))
        .service(web::resource("/health/ready").get(health::ready))
        .default_service(web::to(table::not_found));
    config.app_data(state).service(routes.wrap(from_fn(request_log)));
}
