//! REST, the page and the documents: everything of a node that speaks HTTP.
//!
//! `server/` has the listeners and the application, `middleware/` what every request passes,
//! `request/` what is taken from a request, `response/` what responses share, `routes/` the table
//! of paths and the handlers, `documents/` OpenAPI and AsyncAPI, `assets/` the page. Handlers are
//! thin: they take typed input, call one feature, and encode its reply. Nothing here keeps state
//! but the flood guard, the deadlines of connections and the latest health checks.

mod assets;
mod documents;
mod middleware;
mod request;
mod response;
mod routes;
mod server;
mod state;

pub use assets::files::Assets;
pub use documents::openapi::routes as documented_routes;
pub use middleware::flood::FloodGuards;
pub use response::error::Error;
pub use response::problem::{FieldError, Problem};
pub use server::health::{Health, HealthParts};
pub use server::listener::{ListenError, Listener};
pub use server::serving::{HttpServers, HttpServersHandle, Listeners};
pub use server::upgrade::{ConnectionOptions, http_service};
pub use state::AppState;
