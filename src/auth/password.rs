//! Passwords: what is accepted, and hashing that neither stalls the server nor tells strangers who has an account.
//!
//! argon2id takes 19 MiB and some 20 ms by design, so it runs on threads of its own, as many as there are cores: more would
//! only make each slower. They are always the same ones, because an allocator keeps what a thread has freed for that
//! thread: on whichever blocking threads there are, 19 MiB would stay behind with each of them. [`WAITING_MAX`] callers may
//! wait for a turn; the next gets `overloaded` at once. An unknown address is checked against a dummy hash with the same
//! parameters, so that it takes as long as a wrong password.

use super::Error;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// Shortest password, in characters.
pub(super) const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password, in characters.
pub(super) const PASSWORD_CHARS_MAX: usize = 256;
/// Callers that may wait for a hash: a few seconds' worth.
const WAITING_MAX: usize = 256;
/// How long a thread without work stays. Longer than any pause matters: a new thread would be a new place for 19 MiB.
const KEEP_ALIVE: Duration = Duration::from_hours(24);
const MEMORY_KIB: u32 = 19 * 1_024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// A password that is guessed within so many attempts is a common one.
const GUESSES_MIN: u64 = 10_000;

/// Hashes and verifies, within the bounds above. Cheap to clone.
#[derive(Clone)]
pub(super) struct Passwords {
    shared: Arc<Shared>,
}

struct Shared {
    /// Only for its blocking threads, one a core, which stay. `None` while it is dropped.
    threads: Option<Runtime>,
    /// One permit a caller, running or waiting.
    admitted: Semaphore,
    dummy: String,
}

impl Passwords {
    /// A hasher that uses at most `cores` threads at once.
    ///
    /// # Errors
    /// [`Error::Hash`] if the dummy cannot be hashed, i.e. there are not even 19 MiB of memory.
    pub(super) fn new(cores: usize) -> Result<Self, Error> {
        let cores = cores.max(1);
        let dummy = hash_now("no user has this password")?;
        let threads = Builder::new_current_thread()
            .thread_name("password")
            .max_blocking_threads(cores)
            .thread_keep_alive(KEEP_ALIVE)
            .build()
            .map_err(|error| Error::Hash(error.to_string()))?;
        let shared = Shared {
            threads: Some(threads),
            admitted: Semaphore::new(cores + WAITING_MAX),
            dummy,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The PHC string of a new password that [`check_length`] has accepted.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a common password, [`Error::Overloaded`] when too many wait.
    pub(super) async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move |_| {
            if zxcvbn::zxcvbn(&password, &[]).guesses() < GUESSES_MIN {
                return Err(Error::invalid(
                    "password",
                    "This password is among the first that are guessed.",
                ));
            }
            hash_now(&password)
        })
        .await
    }

    /// Whether `password` is the one of `hash`; without a hash (an unknown user) false, after the same time.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many wait.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        self.run(move |shared| {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&shared.dummy);
            let matches = argon2()?.verify_password(password.as_bytes(), hash).is_ok();
            Ok(matches && known)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _admitted = self.shared.admitted.try_acquire().map_err(|_| Error::Overloaded)?;
        let shared = Arc::clone(&self.shared);
        let threads = self.shared.threads.as_ref().ok_or(Error::Overloaded)?;
        threads
            .spawn_blocking(move || work(&shared))
            .await
            .map_err(|error| Error::Hash(error.to_string()))?
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // The last owner may be one of these threads, or a runtime's: neither may wait for them.
            threads.shutdown_background();
        }
    }
}

/// Checks the length of a password.
///
/// # Errors
/// [`Error::Invalid`].
pub(super) fn check_length(password: &str) -> Result<(), Error> {
    // Bytes first: counting characters of a megabyte is not for free.
    if password.len() > 4 * PASSWORD_CHARS_MAX
        || !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&password.chars().count())
    {
        let message = format!("A password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters.");
        return Err(Error::invalid("password", message));
    }
    Ok(())
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map_err(|error| Error::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> Result<String, Error> {
    let hash = argon2()?
        .hash_password(password.as_bytes())
        .map_err(|error| Error::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        for good in ["12345678", "ääääääää", &"x".repeat(256), &"🦀".repeat(256)] {
            assert!(check_length(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1234567",
            "äääääää",
            &"x".repeat(257),
            &"🦀".repeat(257),
            &"x".repeat(100_000),
        ] {
            assert!(check_length(bad).is_err(), "{}", bad.len());
        }
    }

    #[tokio::test]
    async fn common_passwords_are_refused_and_others_are_not() {
        let passwords = Passwords::new(2).unwrap();
        for common in [
            "password",
            "12345678",
            "password1",
            "password123",
            "qwertyuiop",
            "iloveyou",
            "aaaaaaaaaaaa",
        ] {
            assert!(
                matches!(passwords.hash(common.into()).await, Err(Error::Invalid { .. })),
                "{common}"
            );
        }
        for fine in [
            "correct horse battery staple",
            "passw0rd-Tr0ub4dor",
            "hunter2-hunter3",
            "s3cret-enough!",
            "Sup3r-s3cret-pw",
        ] {
            assert!(passwords.hash(fine.into()).await.is_ok(), "{fine}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_verifies() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            passwords
                .verify("correct horse battery".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horse batter".into(), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("no user has this password".into(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn hashing_keeps_to_its_threads() {
        let passwords = Passwords::new(2).unwrap();
        let threads = futures_util::future::join_all((0..20).map(|_| {
            passwords.run(|shared| {
                hash_now(&shared.dummy)?;
                Ok(std::thread::current().id())
            })
        }));
        let threads: std::collections::HashSet<_> = threads.await.into_iter().map(Result::unwrap).collect();
        assert!(threads.len() <= 2, "{threads:?}");
        assert!(!threads.contains(&std::thread::current().id()));
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_at_once() {
        let passwords = Passwords::new(1).unwrap();
        let _all = passwords
            .shared
            .admitted
            .acquire_many(1 + WAITING_MAX as u32)
            .await
            .unwrap();
        assert!(matches!(
            passwords.verify("x".into(), None).await,
            Err(Error::Overloaded)
        ));
    }
}
