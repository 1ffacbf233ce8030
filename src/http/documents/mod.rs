//! The documents of the interface, made from the code: OpenAPI for the routes, AsyncAPI for the
//! socket.

pub(crate) mod asyncapi;
pub(crate) mod openapi;
