//! What a node does with the fingerprint of its secret: it is compared when the node starts, and
//! changed by `parlance secrets rotate`. Why, is in `secret_fingerprint.rs`.
//!
//! Used by `Auth::start` and the command.

use super::error::Error;
use super::secret_fingerprint::{SecretFingerprint, fits};
use super::store::installation as store;
use crate::database::Database;
use std::time::Duration;

/// The secrets of a node: the one it signs with, and the one it accepts besides.
pub(super) struct NodeSecrets<'a> {
    pub(super) signing: &'a [u8],
    pub(super) accepted: Option<&'a [u8]>,
}

/// How many nodes a database may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// Any number: it is the operator's.
    Possible,
    /// The private one has only this.
    None,
}

/// Refuses to run beside nodes with another secret. Leaves a fingerprint where there is none.
///
/// # Errors
/// [`Error::OtherSecret`], [`Error::Database`].
pub(super) async fn check(database: &Database, secrets: &NodeSecrets<'_>, neighbours: Neighbours) -> Result<(), Error> {
    let signing = SecretFingerprint::of(secrets.signing)?;
    let accepted = secrets.accepted.map(SecretFingerprint::of).transpose()?;
    let client = database.client().await?;
    store::insert_fingerprint(&client, signing).await?;
    if neighbours == Neighbours::None {
        return store::replace_fingerprint(&client, signing, Duration::ZERO).await;
    }
    if fits(&store::load_fingerprints(&client).await?, signing, accepted) {
        return Ok(());
    }
    Err(Error::OtherSecret)
}

/// Whether the secret of before has to be shown to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By `JWT_SECRET_PREVIOUS`.
    Needed,
    /// It is lost.
    Waived,
}

/// Makes the node's secret that of the database. The one of before stays known for `overlap`.
pub(super) async fn rotate(
    database: &Database,
    secrets: &NodeSecrets<'_>,
    proof: Proof,
    overlap: Duration,
) -> Result<(), Error> {
    let signing = SecretFingerprint::of(secrets.signing)?;
    let accepted = secrets.accepted.map(SecretFingerprint::of).transpose()?;
    let client = database.client().await?;
    store::insert_fingerprint(&client, signing).await?;
    let known = store::load_fingerprints(&client).await?;
    if known.present != signing && accepted != Some(known.present) && proof == Proof::Needed {
        return Err(Error::NotThePreviousSecret);
    }
    store::replace_fingerprint(&client, signing, overlap).await
}
