//! Passwords: argon2id (RFC 9106) with OWASP's parameters, and a bound on concurrent computations.
//!
//! One password costs 19 MiB and some tens of milliseconds, so a flood must not get many computed:
//! two run at a time, a few wait, and more are rejected.
//!
//! Must stay true: an unknown name costs what a wrong password costs; a password is in no log,
//! error or `Debug`.

use std::{sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    entropy::{Entropy, NoEntropy},
    store::PasswordHash,
    types::{Malformed, Secret},
};

/// Most computations at a time.
const MAX_RUNNING: usize = 2;
/// Most computations that wait.
const MAX_WAITING: usize = 16;
/// Further slots for clients from known networks, which a flood from unknown ones cannot take.
const MAX_WAITING_KNOWN: usize = 4;
/// `Retry-After` where all slots are taken: all waiting computations have finished by then.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// KiB, passes, lanes: the OWASP Password Storage Cheat Sheet's first choice of small memory.
const ARGON2_COST: (u32, u32, u32) = (19_456, 2, 1);
/// Bytes of a hash.
const HASH_LEN: usize = 32;

/// The hash that is compared for an unknown name. No password gives these bytes; and if one did,
/// there is no user to log in.
const DECOY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password as typed: bytes, nothing normalised.
#[derive(Debug, Clone)]
pub struct Password(Secret<String>);

impl Password {
    /// Parses a password to be compared.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::with_min_len(text, 1).ok_or(Malformed("must be 1 to 256 bytes"))
    }

    /// Parses a password to be set.
    pub fn parse_new(text: &str) -> Result<Self, Malformed> {
        Self::with_min_len(text, 12).ok_or(Malformed("must be 12 to 256 bytes"))
    }

    /// The password itself. A review looks at every call of this.
    pub const fn expose(&self) -> &String {
        self.0.expose()
    }

    fn with_min_len(text: &str, least: usize) -> Option<Self> {
        (least..=256)
            .contains(&text.len())
            .then(|| Self(Secret::new(text.to_owned())))
    }
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct Passwords {
    entropy: Entropy,
    slots: Arc<Semaphore>,
    known_slots: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The network that a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientNetwork {
    /// The owner of the name has lately logged in from this network.
    Known,
    Unknown,
}

/// Why a password was not hashed or verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// All slots are taken.
    #[error("too many passwords at once")]
    Busy,
    /// The stored hash cannot be read.
    #[error("a password hash cannot be read")]
    Unreadable,
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// Out of memory, or the task ended without a result.
    #[error("a password could not be computed")]
    Failed,
}

impl Passwords {
    pub fn new(entropy: Entropy) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            entropy,
            slots: semaphore(MAX_RUNNING + MAX_WAITING),
            known_slots: semaphore(MAX_WAITING_KNOWN),
            running: semaphore(MAX_RUNNING),
        }
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, PasswordError> {
        let salt: [u8; 16] = self.entropy.bytes()?;
        let password = password.clone();
        self.compute(ClientNetwork::Known, move || {
            let hash = hasher()?.hash_password_with_salt(password.expose().as_bytes(), &salt);
            hash.map(|hash| PasswordHash(Secret::new(hash.to_string())))
                .map_err(|_| PasswordError::Failed)
        })
        .await
    }

    /// Whether the password matches the hash, by the hash's own parameters, so older hashes keep
    /// working. `None`: an unknown name, which takes as long and never matches.
    pub async fn verify(
        &self,
        password: &Password,
        hash: Option<&PasswordHash>,
        network: ClientNetwork,
    ) -> Result<bool, PasswordError> {
        let password = password.clone();
        let has_hash = hash.is_some();
        let hash = hash.map_or_else(|| Secret::new(DECOY_HASH.to_owned()), |hash| hash.0.clone());
        let same = self.compute(network, move || {
            use argon2::password_hash::Error;
            match hasher()?.verify_password(password.expose().as_bytes(), hash.expose().as_str()) {
                Ok(()) => Ok(true),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(Error::OutOfMemory | Error::Internal) => Err(PasswordError::Failed),
                Err(_) => Err(PasswordError::Unreadable),
            }
        });
        Ok(same.await? && has_hash)
    }

    /// Runs the work on a blocking thread. The slots are released when it ends, also where the
    /// caller was cancelled.
    async fn compute<T: Send + 'static>(
        &self,
        network: ClientNetwork,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let slot = self.slot(network).ok_or(PasswordError::Busy)?;
        let turn = self
            .running
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Failed)?;
        let held = (slot, turn);
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(held);
            done
        });
        task.await.map_err(|_| PasswordError::Failed)?
    }

    fn slot(&self, network: ClientNetwork) -> Option<OwnedSemaphorePermit> {
        let take = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned().ok();
        match network {
            ClientNetwork::Unknown => take(&self.slots),
            ClientNetwork::Known => take(&self.slots).or_else(|| take(&self.known_slots)),
        }
    }
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let (memory, passes, lanes) = ARGON2_COST;
    let params =
        Params::new(memory, passes, lanes, Some(HASH_LEN)).map_err(|_| PasswordError::Failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other() {
        let passwords = Passwords::new(Entropy::default());
        let hash = passwords.hash(&password("correct horse")).await.unwrap();
        assert!(
            hash.0
                .expose()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.0.expose()
        );
        assert!(
            passwords
                .verify(
                    &password("correct horse"),
                    Some(&hash),
                    ClientNetwork::Unknown
                )
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(
                    &password("correct horsf"),
                    Some(&hash),
                    ClientNetwork::Unknown
                )
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(&password("correct horse"), None, ClientNetwork::Unknown)
                .await
                .unwrap()
        );
        let other = passwords.hash(&password("correct horse")).await.unwrap();
        assert_ne!(
            hash.0.expose(),
            other.0.expose(),
            "each has a salt of its own"
        );
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_is_read_by_its_own() {
        let passwords = Passwords::new(Entropy::default());
        let weaker = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        let weaker = weaker
            .hash_password_with_salt(b"an old password", b"some salt")
            .unwrap()
            .to_string();
        let hash = PasswordHash(Secret::new(weaker));
        assert!(
            passwords
                .verify(
                    &password("an old password"),
                    Some(&hash),
                    ClientNetwork::Unknown
                )
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(
                    &password("another password"),
                    Some(&hash),
                    ClientNetwork::Unknown
                )
                .await
                .unwrap()
        );
        for text in [
            "",
            "plain",
            "$2b$12$abc",
            "$argon2id$v=19$m=1,t=2,p=1$AAAA$AAAA",
        ] {
            let hash = PasswordHash(Secret::new(text.to_owned()));
            let read = passwords
                .verify(&password("x"), Some(&hash), ClientNetwork::Unknown)
                .await;
            assert!(
                matches!(read, Err(PasswordError::Unreadable)),
                "{text:?} {read:?}"
            );
        }
    }

    /// The comparison with the hash of no user takes the same time: another form or other parameters
    /// would be recognizable.
    #[test]
    fn the_decoy_costs_what_a_real_hash_costs() {
        let decoy = argon2::PasswordHash::new(DECOY_HASH).unwrap();
        let real = hasher()
            .unwrap()
            .hash_password_with_salt(b"a password", &[7; 16])
            .unwrap();
        assert_eq!(
            (decoy.algorithm, decoy.version, decoy.params.clone()),
            (real.algorithm, real.version, real.params)
        );
        let lengths = |hash: &argon2::PasswordHash| {
            (
                hash.salt.as_ref().unwrap().len(),
                hash.hash.as_ref().unwrap().len(),
            )
        };
        assert_eq!(lengths(&decoy), (16, HASH_LEN));
        assert!(matches!(
            hasher().unwrap().verify_password(b"a password", &decoy),
            Err(argon2::password_hash::Error::PasswordInvalid)
        ));
    }

    #[tokio::test]
    async fn more_at_once_than_there_are_places_are_turned_away() {
        let passwords = Passwords::new(Entropy::default());
        let one = password("a password");
        let asked = (0..MAX_RUNNING + MAX_WAITING + 5)
            .map(|_| passwords.verify(&one, None, ClientNetwork::Unknown));
        let known =
            (0..=MAX_WAITING_KNOWN).map(|_| passwords.verify(&one, None, ClientNetwork::Known));
        let (answers, known) = futures::join!(
            futures::future::join_all(asked),
            futures::future::join_all(known)
        );
        let busy = |answers: &[Result<bool, PasswordError>]| {
            answers
                .iter()
                .filter(|answer| matches!(answer, Err(PasswordError::Busy)))
                .count()
        };
        assert_eq!((busy(&answers), busy(&known)), (5, 1));
        assert!(
            !passwords
                .verify(&one, None, ClientNetwork::Unknown)
                .await
                .unwrap(),
            "the places are free again"
        );
    }

    #[test]
    fn lengths_are_in_bytes_and_a_password_does_not_print() {
        for (text, to_compare, to_set) in [
            ("", false, false),
            ("x", true, false),
            ("elevenbytes", true, false),
            ("twelve bytes", true, true),
            ("四个汉字", true, true),
            ("三个字", true, false),
            (&"x".repeat(256), true, true),
            (&"x".repeat(257), false, false),
        ] {
            assert_eq!(
                (
                    Password::parse(text).is_ok(),
                    Password::parse_new(text).is_ok()
                ),
                (to_compare, to_set),
                "{text:?}"
            );
        }
        assert!(!format!("{:?}", password("hunter2")).contains("hunter2"));
    }
}
