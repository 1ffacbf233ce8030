//! Which users are there, as far as access tokens are concerned.
//!
//! A token that is well signed may be of a user who is not there: the database was restored from a
//! backup, or is another one. So the first token of a user that this process sees costs one query,
//! and then none for [`REMEMBERED_FOR`]. Who gets a token from this process costs none.
//!
//! Used by `Auth`. Users are not deleted, so that one is there does not become wrong. That one is
//! not there is not remembered: to ask for it again takes a token that our key has signed.
//!
//! Bound: [`USERS_MAX`] are remembered, those of last. While the database is away, remembered users
//! go on; others get `unavailable`. Many tokens of one user wait for one query.

use super::error::Error;
use super::principal::Principal;
use super::store::accounts::has_user;
use super::token::TokenError;
use crate::database::Database;
use crate::ids::{TenantId, UserId};
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;

/// Users that are remembered: some 100 bytes each.
const USERS_MAX: u64 = 200_000;
/// How long one is remembered who does not come.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);

pub(super) struct KnownUsers {
    database: Database,
    users: Cache<(TenantId, UserId), ()>,
}

impl KnownUsers {
    pub(super) fn new(database: Database) -> Self {
        let users = Cache::builder()
            .max_capacity(USERS_MAX)
            .time_to_idle(REMEMBERED_FOR)
            .build();
        Self { database, users }
    }

    /// Remembers a user who was just read from the database.
    pub(super) async fn note(&self, principal: &Principal) {
        self.users.insert((principal.tenant_id, principal.user_id), ()).await;
    }

    /// Asserts that the user of a token is there.
    ///
    /// # Errors
    /// [`Error::Token`] if not, [`Error::LookUp`].
    pub(super) async fn check(&self, principal: &Principal) -> Result<(), Error> {
        let (tenant_id, user_id) = (principal.tenant_id, principal.user_id);
        let look_up = async {
            let client = self.database.client().await?;
            match has_user(&client, tenant_id, user_id).await? {
                true => Ok(()),
                false => Err(Error::Token(TokenError::UnknownUser)),
            }
        };
        let found = self.users.try_get_with((tenant_id, user_id), look_up).await;
        found.map_err(|error: Arc<Error>| match *error {
            Error::Token(reason) => Error::Token(reason),
            _ => Error::LookUp(error),
        })
    }
}
