//! Who makes a request, for the flood guard: found out before it is asked.
//!
//! Used by `request_log.rs`, which is outermost. A file of its own because the guard is a part of
//! the state, and this needs the state. Nothing is asked of what is free: that has a guard which
//! counts networks only. Pure but for the keys of credentials.

use super::flood::FloodSubject;
use crate::http::request::evidence::Evidence;
use crate::http::request::origin;
use crate::http::routes::access;
use crate::http::state::AppState;
use actix_web::{HttpMessage as _, HttpRequest};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Notes who makes a request, if that is known.
pub(super) fn note(request: &HttpRequest, state: &AppState) {
    if state.flood_guards.is_none() || access::is_free(request.match_info().as_str()) {
        return;
    }
    let subject = if origin::is_foreign_embedding(request, state) {
        FloodSubject::Embedded
    } else {
        match Evidence::of(request, state) {
            Evidence::Token(user) => FloodSubject::User(user),
            // Only we make marked credentials, so nobody picks hashes.
            Evidence::Marked(credential) => {
                let mut hasher = DefaultHasher::new();
                credential.hash(&mut hasher);
                FloodSubject::Marked(hasher.finish())
            }
            Evidence::Unproven | Evidence::Nothing => return,
        }
    };
    request.extensions_mut().insert(subject);
}
