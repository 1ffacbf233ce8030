//! How far a request has come, for the response of one that runs out of time: the request itself is
//! gone by then.

use crate::rate_limit::QuotaDecision;
use actix_web::{HttpMessage, HttpRequest};
use std::cell::Cell;
use std::rc::Rc;

/// How far a request has come. Clones share it: one is in the request's extensions, one with the
/// deadline.
#[derive(Clone, Default)]
pub(crate) struct RequestProgress(Rc<Progress>);

#[derive(Default)]
struct Progress {
    is_reading_body: Cell<bool>,
    quota: Cell<Option<QuotaDecision>>,
}

impl RequestProgress {
    /// Of a request under a deadline; of any other, one that nobody looks at.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Notes whether the rest of the body is being waited for.
    pub(crate) fn set_reading_body(&self, is_reading: bool) {
        self.0.is_reading_body.set(is_reading);
    }

    pub(crate) fn is_reading_body(&self) -> bool {
        self.0.is_reading_body.get()
    }

    /// Notes what was decided about the payer's quota.
    pub(crate) fn set_quota(&self, decision: QuotaDecision) {
        self.0.quota.set(Some(decision));
    }

    /// What was decided about the payer's quota, if it was.
    pub(crate) fn quota(&self) -> Option<QuotaDecision> {
        self.0.quota.get()
    }
}
