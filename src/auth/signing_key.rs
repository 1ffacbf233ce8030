//! The key that signs access tokens: given by the operator, or made once and kept beside the data.
//!
//! Several nodes must share one key, so they are given `JWT_SECRET`. A node alone needs no set-up.
//! The file is written under another name and then linked into place. So two processes that start
//! at once on one directory end up with the same key, and a crash never leaves half a key.

use super::error::Error;
use crate::config::{Config, Secret};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FILE_NAME: &str = "jwt.key";
const KEY_BYTES: usize = 32;

/// The secret that all nodes of an installation have: the signing key.
///
/// # Errors
/// [`Error::Key`] if the file can neither be read nor made.
pub fn load_signing_key(config: &Config) -> Result<Vec<u8>, Error> {
    load(config.auth.jwt_secret.as_ref(), &config.data_dir)
}

/// The signing key: `secret` if there is one, else the one in `data_dir`, which is made at the
/// first start.
fn load(secret: Option<&Secret>, data_dir: &Path) -> Result<Vec<u8>, Error> {
    if let Some(secret) = secret {
        // Its length is checked where it is read.
        return Ok(secret.expose().as_bytes().to_vec());
    }
    let path = data_dir.join(FILE_NAME);
    let failed = |error: std::io::Error| Error::Key(format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => decode(&path, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(data_dir, &path).map_err(failed)?;
            decode(&path, &fs::read_to_string(&path).map_err(failed)?)
        }
        Err(error) => Err(failed(error)),
    }
}

fn decode(path: &Path, text: &str) -> Result<Vec<u8>, Error> {
    // An operator's copy may have lost the mode; nobody else has business here.
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(0o600)) {
        tracing::warn!(%error, path = %path.display(), "cannot restrict the mode of the signing key");
    }
    match BASE64_STANDARD_NO_PAD.decode(text.trim()) {
        Ok(key) if key.len() >= KEY_BYTES => Ok(key),
        _ => Err(Error::Key(format!(
            "{} does not hold a key; restore it, or remove it to make a new one",
            path.display()
        ))),
    }
}

fn make(data_dir: &Path, path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let key: [u8; KEY_BYTES] = rand::random();
    let draft = data_dir.join(format!("{FILE_NAME}.{}", uuid::Uuid::now_v7()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(BASE64_STANDARD_NO_PAD.encode(key).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        // Another process was faster; its key is as good.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("parlance-keys-{}", uuid::Uuid::now_v7())))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = Dir::new();
        let first = load(None, &dir.0).unwrap();
        assert_eq!(first.len(), KEY_BYTES);
        assert_eq!(load(None, &dir.0).unwrap(), first);
        let mode = fs::metadata(dir.0.join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn starting_at_once_gives_one_key() {
        let dir = Dir::new();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load(None, &dir.0).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = Dir::new();
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.0.join(FILE_NAME), "c2hvcnQ").unwrap();
        assert!(load(None, &dir.0).unwrap_err().to_string().contains(FILE_NAME));
        assert_eq!(load(Some(&Secret::new("given")), &dir.0).unwrap(), b"given");
    }
}
