//! The application that every worker runs: the state, the middleware in its order, the routes.

use crate::http::middleware::flood::Guards;
use crate::http::middleware::request_log::request_log;
use crate::http::middleware::{bounds, compression, quotas};
use crate::http::routes::{metrics, table};
use crate::http::state::AppState;
use actix_governor::Governor;
use actix_web::middleware::from_fn;
use actix_web::web::{self, PayloadConfig, ServiceConfig};

/// Puts everything onto an application. The factory of each worker calls it with the same `state`.
pub fn configure(config: &mut ServiceConfig, state: web::Data<AppState>) {
    let guards = state.guards.clone();
    config
        .app_data(state)
        .app_data(PayloadConfig::new(bounds::BODY_BYTES_MAX))
        // `OPTIONS *` and the like, which are no paths.
        .default_service(web::to(table::not_found).wrap(from_fn(request_log)));
    // The last wrap is the outermost.
    let routes = table::routes()
        .wrap(from_fn(quotas::quotas))
        .wrap(from_fn(bounds::bound))
        .wrap(from_fn(compression::compress));
    match guards {
        Some(Guards { all, auth }) => {
            let guarded = routes.wrap(Governor::new(&auth)).wrap(Governor::new(&all));
            config.service(guarded.wrap(from_fn(request_log)));
        }
        None => {
            config.service(routes.wrap(from_fn(request_log)));
        }
    }
}

/// Puts `/metrics` onto the application of the listener that has nothing else.
pub fn configure_metrics(config: &mut ServiceConfig, state: web::Data<AppState>) {
    let routes = web::scope("")
        .service(web::resource("/metrics").get(metrics::scrape))
        .default_service(web::to(table::not_found));
    config.app_data(state).service(routes.wrap(from_fn(request_log)));
}
