//! What every request passes on its way in, and every response on its way out.
//!
//! Outermost first: the request log (with CORS, security headers and problem documents), the flood
//! guard, compression, the bounds of head and time, the quotas. `server/application.rs` puts them
//! into that order.

pub(crate) mod bounds;
pub(crate) mod compression;
mod cors;
pub(crate) mod flood;
mod flood_subject;
mod log_sample;
mod problems;
pub(crate) mod quotas;
pub(crate) mod request_log;
mod security_headers;
