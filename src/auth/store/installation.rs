//! The statements of what all nodes of a database have in common.

use crate::auth::error::Error;
use crate::auth::secret_fingerprint::{KnownFingerprints, SecretFingerprint};
use crate::database::{Client, Statement};
use std::time::Duration;

/// Notes a fingerprint where there is none yet.
pub(in crate::auth) async fn insert_fingerprint(client: &Client, own: SecretFingerprint) -> Result<(), Error> {
    const INSERT: Statement = Statement::new(
        "installation.insert",
        "INSERT INTO installation (secret_fingerprint) VALUES ($1) ON CONFLICT DO NOTHING",
    );
    client.execute(&INSERT, &[&own.0.as_slice()]).await?;
    Ok(())
}

pub(in crate::auth) async fn load_fingerprints(client: &Client) -> Result<KnownFingerprints, Error> {
    const LOAD: Statement = Statement::new(
        "installation.load",
        "SELECT secret_fingerprint, CASE WHEN previous_until > now() THEN previous_fingerprint END AS previous \
         FROM installation",
    );
    let row = client.query_one(&LOAD, &[]).await?;
    let fingerprint = |bytes: Vec<u8>| {
        bytes
            .try_into()
            .map(SecretFingerprint)
            .map_err(|_| Error::Word("installation"))
    };
    let previous: Option<Vec<u8>> = row.try_get("previous")?;
    Ok(KnownFingerprints {
        present: fingerprint(row.try_get("secret_fingerprint")?)?,
        previous: previous.map(fingerprint).transpose()?,
    })
}

/// The key of the marks in opaque credentials; the same for all nodes, for ever.
pub(in crate::auth) async fn load_mark_key(client: &Client) -> Result<Vec<u8>, Error> {
    const LOAD: Statement = Statement::new(
        "installation.load_mark_key",
        "SELECT credential_mark_key FROM installation",
    );
    let row = client.query_one(&LOAD, &[]).await?;
    Ok(row.try_get("credential_mark_key")?)
}

/// Makes another fingerprint the present one. The one of before stays known for `overlap`.
pub(in crate::auth) async fn replace_fingerprint(
    client: &Client,
    present: SecretFingerprint,
    overlap: Duration,
) -> Result<(), Error> {
    const REPLACE: Statement = Statement::new(
        "installation.replace",
        "UPDATE installation SET secret_fingerprint = $1, previous_fingerprint = secret_fingerprint, \
                previous_until = now() + $2::float8 * interval '1 second' \
         WHERE secret_fingerprint <> $1",
    );
    client
        .execute(&REPLACE, &[&present.0.as_slice(), &overlap.as_secs_f64()])
        .await?;
    Ok(())
}
