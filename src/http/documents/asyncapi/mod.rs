//! The AsyncAPI document of the socket: its frames as schemas, in both directions.

mod client;
pub(crate) mod document;
mod schemas;
mod server;
