//! Changing a password, as a method of [`Auth`].
//!
//! Whoever changes it shows the present one: a login that was left open on a machine is not enough.
//! All other logins of the user end in the same transaction, since who had the old password may have
//! one. API keys stay; `logout-all` ends them where that is wanted.
//!
//! A login with the old password that is under way at that moment is either there before, and ended,
//! or finds another hash and is refused: both lock the user's row.
//!
//! Guesses are throttled as logins are. Bound: those of hashing.

use super::error::Error;
use super::login_failures::AttemptKind;
use super::password::Verification;
use super::password_places::{Familiarity, PasswordOrigin};
use super::password_text::{PreparedPassword, TypedPassword};
use super::principal::Principal;
use super::service::Auth;
use super::store::accounts as store;
use super::store::logins::revoke_other_sessions;
use std::net::IpAddr;

impl Auth {
    /// Replaces the caller's password, and ends all of their other logins. `address` is the
    /// client's, for the login throttle.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for a key, [`Error::NoPassword`] for a guest, [`Error::Throttled`],
    /// [`Error::Invalid`] for a wrong present password or a bad new one, [`Error::Overloaded`],
    /// [`Error::Database`].
    pub async fn change_password(
        &self,
        caller: &Principal,
        present: String,
        new: String,
        address: IpAddr,
    ) -> Result<(), Error> {
        let session_id = caller.session_id().ok_or(Error::NeedsSession)?;
        let new = PreparedPassword::new(new).map_err(|error| error.in_field("new_password"))?;
        let old = self.verify_present(caller, present, address).await?;
        // Who has a login is no stranger.
        let origin = PasswordOrigin::new(address, Familiarity::Known);
        let hash = self.inner.passwords.hash(new, origin).await;
        let hash = hash.map_err(|error| error.in_field("new_password"))?;
        let mut client = self.inner.database.client().await?;
        let tx = client.transaction().await?;
        let known = store::lock_password(&tx, caller.tenant_id, caller.user_id).await?;
        if known.as_deref() != Some(&*old) {
            // Somebody else was faster, with the same password.
            return Err(wrong_password());
        }
        store::set_password_hash(&tx, caller.tenant_id, caller.user_id, &hash).await?;
        let revoked = revoke_other_sessions(&tx, caller.user_id, session_id).await?;
        tx.commit().await?;
        tracing::info!(user.id = %caller.user_id, logins = revoked.len(), "a password was changed; other logins are over");
        self.apply_revoked(revoked);
        Ok(())
    }

    /// The hash of the caller's password, if `present` is that.
    async fn verify_present(&self, caller: &Principal, present: String, address: IpAddr) -> Result<String, Error> {
        let client = self.inner.database.client().await?;
        let found = store::find_password(&client, caller.tenant_id, caller.user_id).await?;
        drop(client);
        let (email, hash) = found.ok_or(Error::NoPassword)?;
        let attempt = self.inner.login_throttle.begin(AttemptKind::Login, &email, address)?;
        let origin = PasswordOrigin::new(address, Familiarity::Known);
        let verified = self
            .inner
            .passwords
            .verify(TypedPassword::new(present), Some(hash.clone()), origin);
        let outcome = verified.await.and_then(|verification| match verification {
            Verification::Wrong => Err(Error::Credentials),
            Verification::Right | Verification::RightInOldForm(_) => Ok(hash),
        });
        attempt.finish(outcome).map_err(|error| match error {
            Error::Credentials => wrong_password(),
            other => other,
        })
    }
}

fn wrong_password() -> Error {
    Error::invalid("password", "This is not the present password.")
}
