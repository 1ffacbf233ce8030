//! Passwords: what is accepted, and hashing that neither stalls the server nor shows strangers who
//! has an account.
//!
//! argon2id takes 19 MiB and some 20 ms by design. It runs on blocking threads, at most one more at
//! once than there are cores: more would only make each slower. Its memory is kept from one hash to
//! the next, at most once for each of them. Left to the allocator, a hundred people who come at once leave a
//! gigabyte behind, because 19 MiB stay with every thread and are broken into pieces.
//!
//! An unknown address is checked against a dummy hash with the same parameters, so it takes as long
//! as a wrong password.
//!
//! Bound: the places of `password_places.rs`, which also says whose turn it is.

use super::error::Error;
use super::password_places::{PasswordOrigin, PasswordPermit, PasswordPlaces};
use super::password_text::{PreparedPassword, TypedPassword};
use argon2::password_hash::generate_salt;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use std::sync::Arc;

const MEMORY_KIB: u32 = 19 * 1_024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// A password that is guessed within so many attempts is a common one.
const GUESSES_MIN: u64 = 10_000;

/// Hashes and verifies, within the bounds above. Cheap to clone.
#[derive(Clone)]
pub(super) struct Passwords {
    pool: Arc<HashPool>,
}

struct HashPool {
    /// A hash keeps its place until it is done, also when nobody waits for it any more.
    places: PasswordPlaces,
    /// Memory to hash in that is not in use; with what is in use, at most once a place.
    memories: Mutex<Vec<HashMemory>>,
    dummy: String,
}

type HashMemory = Vec<Block>;

/// Whether a password is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    Wrong,
    Right,
    /// Hashed before there was one form of it; with the hash to keep from now on.
    RightInOldForm(String),
}

impl Passwords {
    /// A hasher that uses at most `cores` threads at once.
    ///
    /// # Errors
    /// [`Error::Hash`] if the dummy cannot be hashed, i.e. there are not even 19 MiB of memory.
    pub(super) fn new(cores: usize) -> Result<Self, Error> {
        let cores = cores.max(1);
        let mut memory = HashMemory::new();
        let dummy = hash_in(&mut memory, "no user has this password")?;
        let pool = HashPool {
            places: PasswordPlaces::new(cores),
            memories: Mutex::new(vec![memory]),
            dummy,
        };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a common password, [`Error::Overloaded`] when too many wait.
    pub(super) async fn hash(&self, password: PreparedPassword, origin: PasswordOrigin) -> Result<String, Error> {
        let judging = self.pool.places.judge(origin).await?;
        let judge = move || {
            let is_common = zxcvbn::zxcvbn(password.judged_part(), &[]).guesses() < GUESSES_MIN;
            drop(judging);
            (!is_common).then_some(password)
        };
        let judged = tokio::task::spawn_blocking(judge).await;
        let judged = judged.map_err(|error| Error::Hash(error.to_string()))?;
        let password =
            judged.ok_or_else(|| Error::invalid("password", "This password is among the first that are guessed."))?;
        let permit = self.pool.places.hash(origin).await?;
        self.run(permit, move |_, memory| hash_in(memory, password.as_str()))
            .await
    }

    /// Whether `password` is the one of `hash`; without a hash (an unknown user) it is not, after
    /// the same time. Neither is one that is too long (`None`).
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many wait.
    pub(super) async fn verify(
        &self,
        password: Option<TypedPassword>,
        hash: Option<String>,
        origin: PasswordOrigin,
    ) -> Result<Verification, Error> {
        let permit = self.pool.places.hash(origin).await?;
        self.run(permit, move |pool, memory| {
            let known = hash.is_some() && password.is_some();
            let hash = hash.as_deref().unwrap_or(&pool.dummy);
            let prepared = password.as_ref().map(TypedPassword::prepare);
            if matches_in(memory, prepared.as_ref().map_or("", PreparedPassword::as_str), hash) {
                return Ok(if known {
                    Verification::Right
                } else {
                    Verification::Wrong
                });
            }
            let older = password.iter().flat_map(TypedPassword::older_forms);
            for form in older {
                if matches_in(memory, &form, hash)
                    && let Some(prepared) = &prepared
                    && known
                {
                    return Ok(Verification::RightInOldForm(hash_in(memory, prepared.as_str())?));
                }
            }
            Ok(Verification::Wrong)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        permit: PasswordPermit,
        work: impl FnOnce(&HashPool, &mut HashMemory) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let pool = Arc::clone(&self.pool);
        let work = move || {
            // A caller that gives up does not stop the work, so the permit is the work's.
            let _permit = permit;
            let mut memory = pool.memories.lock().pop().unwrap_or_default();
            let result = work(&pool, &mut memory);
            pool.memories.lock().push(memory);
            result
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Error::Hash(error.to_string()))?
    }
}

/// The PHC string of a password that this program itself gives to users; what people choose goes
/// through [`Passwords::hash`].
///
/// # Errors
/// [`Error::Hash`].
pub async fn hash_password(password: &'static str) -> Result<String, Error> {
    let prepared = TypedPassword::new(password.to_owned()).map(|typed| typed.prepare());
    let work = move || {
        hash_in(
            &mut HashMemory::new(),
            prepared.as_ref().map_or("", PreparedPassword::as_str),
        )
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Hash(error.to_string()))?
}

/// The PHC string of a password, with a new salt.
fn hash_in(memory: &mut HashMemory, password: &str) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Hash(error.to_string());
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None).map_err(|error| failed(&error))?;
    let parameters = HashParameters {
        algorithm: Algorithm::Argon2id,
        version: Version::V0x13,
        params,
        length: Params::DEFAULT_OUTPUT_LEN,
    };
    let salt = Salt::new(&generate_salt()).map_err(|error| failed(&error))?;
    let output = output_in(memory, password, &salt, &parameters).map_err(|error| failed(&error))?;
    let HashParameters {
        algorithm,
        version,
        params,
        ..
    } = parameters;
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params).map_err(|error| failed(&error))?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

/// Whether a password is the one of a PHC string; what is none, or not of argon2, is nobody's.
fn matches_in(memory: &mut HashMemory, password: &str, hash: &str) -> bool {
    let mut matches = || {
        let hash = PasswordHash::new(hash).ok()?;
        let (salt, expected) = (hash.salt?, hash.hash?);
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let parameters = HashParameters {
            algorithm,
            version,
            params: Params::try_from(&hash).ok()?,
            length: expected.len(),
        };
        let computed = output_in(memory, password, &salt, &parameters).ok()?;
        // Outputs are compared in constant time.
        Some(computed == expected)
    };
    matches().unwrap_or(false)
}

/// How a hash is computed.
struct HashParameters {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    /// Of the output, in bytes.
    length: usize,
}

fn output_in(
    memory: &mut HashMemory,
    password: &str,
    salt: &[u8],
    parameters: &HashParameters,
) -> argon2::password_hash::Result<Output> {
    let mut bytes = [0; Output::MAX_LENGTH];
    let bytes = bytes
        .get_mut(..parameters.length)
        .ok_or(argon2::password_hash::Error::OutputSize)?;
    let params = parameters.params.clone();
    memory.resize(params.block_count(), Block::default());
    Argon2::new(parameters.algorithm, parameters.version, params).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        bytes,
        memory,
    )?;
    Ok(Output::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::super::password_places::Familiarity;
    use super::*;
    use futures_util::FutureExt as _;

    fn typed(text: &str) -> Option<TypedPassword> {
        TypedPassword::new(text.to_owned())
    }

    fn prepared(text: &str) -> PreparedPassword {
        typed(text).unwrap().prepare()
    }

    fn origin() -> PasswordOrigin {
        PasswordOrigin::new(std::net::Ipv4Addr::LOCALHOST.into(), Familiarity::Unknown)
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
                matches!(
                    passwords.hash(prepared(common), origin()).await,
                    Err(Error::Invalid { .. })
                ),
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
            assert!(passwords.hash(prepared(fine), origin()).await.is_ok(), "{fine}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_verifies() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords
            .hash(prepared("correct horse battery"), origin())
            .await
            .unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |text: &str, hash: Option<&String>| {
            passwords.verify(typed(text), hash.cloned(), origin()).await.unwrap()
        };
        assert_eq!(verify("correct horse battery", Some(&hash)).await, Verification::Right);
        assert_eq!(verify("correct horse batter", Some(&hash)).await, Verification::Wrong);
        assert_eq!(verify("no user has this password", None).await, Verification::Wrong);
        let long = passwords.verify(None, Some(hash), origin()).await.unwrap();
        assert_eq!(long, Verification::Wrong);
    }

    #[tokio::test]
    async fn a_password_is_the_same_in_each_of_its_forms() {
        let passwords = Passwords::new(1).unwrap();
        let (composed, decomposed) = ("caf\u{e9} au lait", "cafe\u{301} au lait");
        let verify = async |text: &str, hash: &str| {
            passwords
                .verify(typed(text), Some(hash.to_owned()), origin())
                .await
                .unwrap()
        };
        let hash = passwords.hash(prepared(decomposed), origin()).await.unwrap();
        for form in [composed, decomposed, "caf\u{e9}\u{a0}au lait"] {
            assert_eq!(verify(form, &hash).await, Verification::Right, "{form}");
        }
        assert_eq!(verify("cafe au lait", &hash).await, Verification::Wrong);
        // Hashed as it was typed, before there was a rule.
        let old = hash_in(&mut HashMemory::new(), decomposed).unwrap();
        for form in [composed, decomposed] {
            let Verification::RightInOldForm(renewed) = verify(form, &old).await else {
                panic!("{form}");
            };
            assert_eq!(verify(composed, &renewed).await, Verification::Right);
        }
    }

    #[test]
    fn what_others_have_hashed_is_understood() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let (mut memory, password) = (HashMemory::new(), "correct horse battery");
        for (memory_kib, iterations, lanes) in [(64, 1, 1), (MEMORY_KIB, ITERATIONS, LANES), (256, 3, 4)] {
            let params = Params::new(memory_kib, iterations, lanes, None).unwrap();
            for algorithm in [Algorithm::Argon2id, Algorithm::Argon2i] {
                let argon2 = Argon2::new(algorithm, Version::V0x13, params.clone());
                let hash = argon2.hash_password(password.as_bytes()).unwrap().to_string();
                assert!(matches_in(&mut memory, password, &hash), "{hash}");
                assert!(!matches_in(&mut memory, "correct horse batter", &hash), "{hash}");
            }
        }
        let ours = hash_in(&mut memory, password).unwrap();
        assert!(
            Argon2::default()
                .verify_password(password.as_bytes(), ours.as_str())
                .is_ok()
        );
        assert_ne!(
            ours,
            hash_in(&mut memory, password).unwrap(),
            "each has a salt of its own"
        );
        for none in [
            "",
            "$",
            "password",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$scrypt$ln=16$aM15713r3Xsvxbi31lqr1Q$nFNh",
        ] {
            assert!(!matches_in(&mut memory, password, none), "{none}");
        }
    }

    #[tokio::test]
    async fn memory_is_kept_once_a_core() {
        let passwords = Passwords::new(2).unwrap();
        let hashes = (0..20).map(|_| passwords.verify(typed("x"), None, origin()));
        for verified in futures_util::future::join_all(hashes).await {
            assert_eq!(verified.unwrap(), Verification::Wrong);
        }
        assert!((1..=2).contains(&passwords.pool.memories.lock().len()));
    }

    #[tokio::test]
    async fn who_gives_up_does_not_free_the_permits_of_a_hash_under_way() {
        let passwords = Passwords::new(1).unwrap();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let permit = passwords.pool.places.hash(origin()).await.unwrap();
        let work = passwords.run(permit, move |_, _| {
            begun.send(()).unwrap();
            ends.blocking_recv().unwrap();
            Ok(())
        });
        tokio::select! {
            _ = work => panic!("it waits for the test"),
            begun = has_begun => begun.unwrap(),
        }
        let mut next = Box::pin(passwords.pool.places.hash(origin()));
        assert!(next.as_mut().now_or_never().is_none(), "the place is not free");
        drop(next);
        end.send(()).unwrap();
        let verified = passwords.verify(typed("x"), None, origin()).await.unwrap();
        assert_eq!(verified, Verification::Wrong);
        assert_eq!(passwords.pool.memories.lock().len(), 1);
    }

    /// The password of which judging took half a second: while such are judged, nobody waits for a
    /// hash.
    #[tokio::test]
    async fn judging_holds_no_hash_up() {
        let passwords = Passwords::new(1).unwrap();
        let held = passwords.pool.places.judge(origin()).await.unwrap();
        let long = "p4$$w0rd5Tr0ub4d0r&3".repeat(5);
        let mut signs_up = Box::pin(passwords.hash(prepared(&long), origin()));
        assert!(signs_up.as_mut().now_or_never().is_none());
        let verified = passwords.verify(typed("x"), None, origin()).await.unwrap();
        assert_eq!(verified, Verification::Wrong);
        drop(held);
        assert!(signs_up.await.is_ok());
    }
}
