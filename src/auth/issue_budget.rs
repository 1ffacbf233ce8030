//! How many logins and renewed tokens a user is given over time.
//!
//! Right credentials are not refused for the address that they come from, so the address does not
//! bound them. Each of them writes rows. So each user has a budget of them on each node: [`ISSUED`].
//! It is asked when it is known who it is, before anything is written. Used by `logins.rs`.
//!
//! Bounds: those of the budget. Beyond it [`Error::Throttled`]. Forgotten with the process.

use super::error::Error;
use crate::fairness::{SpendingBudget, SpendingRate};
use crate::ids::UserId;
use parking_lot::Mutex;
use std::time::Instant;

/// Twice as many at once as a user may have logins, which may all be renewed after a pause; and one
/// a second for any length of time.
const ISSUED: SpendingRate = SpendingRate {
    per_second: 1,
    burst: 200,
};

/// `None` inside when limits are off.
#[derive(Debug)]
pub(super) struct IssueBudget(Option<Mutex<SpendingBudget<UserId>>>);

impl IssueBudget {
    pub(super) fn new(is_limited: bool) -> Self {
        Self(is_limited.then(|| Mutex::new(SpendingBudget::new(ISSUED))))
    }

    /// Spends one.
    ///
    /// # Errors
    /// [`Error::Throttled`], with the time to wait.
    pub(super) fn spend(&self, user: UserId) -> Result<(), Error> {
        let Some(budget) = &self.0 else { return Ok(()) };
        budget.lock().spend(user, 1, Instant::now()).map_err(Error::Throttled)
    }
}
