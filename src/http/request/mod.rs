//! What is taken from a request: the caller, bodies and parameters, the client's address, cookies, the origin.

pub(crate) mod client_address;
pub(crate) mod cookies;
pub(crate) mod cursor;
pub(crate) mod extract;
pub(crate) mod origin;
