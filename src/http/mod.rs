//! REST, the page and the documents.
//!
//! `server/` has the listeners and the application, `middleware/` what every request passes, `request/` what handlers
//! take, `response/` what they give, `routes/` the table and the handlers, `documents/` OpenAPI and AsyncAPI, `assets/`
//! the page. Handlers are thin: they take typed input, call one feature, and encode what it replies. Nothing here keeps
//! state but the flood guard and the table of connections.

mod assets;
mod documents;
mod middleware;
mod request;
mod response;
mod routes;
mod server;
mod state;

pub use assets::pages::Assets;
pub use documents::openapi::routes as documented_routes;
pub use middleware::flood::Guards;
pub use response::error::{Error, FieldError, Problem};
pub use routes::health::{Check, Health, Need, Part};
pub use server::application::{configure, configure_metrics};
pub use server::deadlines::{Connections, Watch};
pub use state::AppState;
