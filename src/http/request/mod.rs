//! What is taken from a request: the caller, bodies and parameters, the client's address, cookies,
//! the origin.

pub(crate) mod address_quota;
mod body;
pub(crate) mod caller;
pub(crate) mod client_address;
pub(crate) mod cookies;
pub(crate) mod cursor;
pub(crate) mod evidence;
pub(crate) mod headers;
pub(crate) mod hosts;
pub(crate) mod json_body;
pub(crate) mod log_fields;
pub(crate) mod matched_route;
pub(crate) mod origin;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod payer;
pub(crate) mod progress;
pub(crate) mod token;
mod wrong_field;
