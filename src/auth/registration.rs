//! A first login where the backend is asked: under which id is this person to be known?
//!
//! The person is proven first, without anything being changed (`NewUserId::Pending`); then the backend
//! is asked, under a key that follows from who it is; then the login is carried out with the
//! answer. Whatever ends the process in between, the next login of the same person asks the same
//! question again, and a backend that keeps to the key gives the same answer.
//!
//! Must stay true: nobody is asked about who is not proven, and nobody where registration is
//! closed. Who has come about meanwhile stands, and the answer is not used. An id that is
//! somebody's is never given again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Auth, AuthError};
use crate::{
    audit::Event,
    crypto,
    provider::hooks::{CreatedResponse, HookError, Hooks, NewUserRequest},
    store::{LoginOutcome, LoginProof, NewLogin, NewUserId, OutboxPolicy},
    types::UserId,
};

/// How often the backend is asked about one person when the id it answers was somebody's who is
/// gone.
const MAX_ROUNDS: u8 = 3;

/// Names a person towards the backend: a keyed hash.
type PersonKey = [u8; 32];

impl Auth {
    /// Goes on with the login of somebody whom the store does not know.
    pub(super) async fn register(&self, new: &NewLogin) -> Result<LoginOutcome, AuthError> {
        let Some(hooks) = &self.parts.hooks else {
            return Err(AuthError::Interrupted);
        };
        let person_key = self.person_key(&new.proof);
        let (_turn, has_waited) = self
            .parts
            .memory
            .registration_locks
            .take(person_key, hooks.timeout())
            .await
            .ok_or(AuthError::RegistrationUnavailable)?;
        if has_waited {
            match self.parts.store.login(new).await? {
                LoginOutcome::UnknownUser => {}
                known => return Ok(known),
            }
        }
        let mut refused_id = None;
        for round in 0..MAX_ROUNDS {
            let login = self
                .with_backend_answer(hooks, new, person_key, round, refused_id.as_ref())
                .await?;
            match self.parts.store.login(&login).await? {
                LoginOutcome::IdTaken { is_deleted } => {
                    let NewUserId::FromBackend(id) = login.new_user else {
                        return Err(AuthError::Interrupted);
                    };
                    self.parts.audit.record(&Event::HookIdTaken {
                        user: &id,
                        gone: is_deleted,
                    });
                    if !is_deleted {
                        tracing::error!(user = %id, "the backend gave a new user the id of another one: nobody was made");
                        return Err(AuthError::RegistrationUnavailable);
                    }
                    refused_id = Some(id);
                }
                done => return Ok(done),
            }
        }
        tracing::error!("the backend gives new users ids of users who are gone: nobody was made");
        Err(AuthError::RegistrationUnavailable)
    }

    /// The login with what the backend said.
    async fn with_backend_answer(
        &self,
        hooks: &Hooks,
        new: &NewLogin,
        person_key: PersonKey,
        round: u8,
        refused_id: Option<&UserId>,
    ) -> Result<NewLogin, AuthError> {
        let id = format!(
            "user.created.{}",
            hex::encode(if round == 0 {
                person_key
            } else {
                self.later_round_key(person_key, round)
            })
        );
        let person = NewUserRequest {
            id: &id,
            proof: &new.proof,
            user_type: &new.user_type,
            profile: &new.profile,
            refused_id,
        };
        let own_id = || self.new_user_id(new.now);
        Ok(match hooks.request_user_id(&person).await {
            Ok(CreatedResponse {
                id: Some(id),
                claims,
            }) => NewLogin {
                new_user: NewUserId::FromBackend(id),
                claims,
                ..new.clone()
            },
            Ok(CreatedResponse { id: None, claims }) => NewLogin {
                new_user: own_id()?,
                claims,
                ..new.clone()
            },
            Err(HookError::Refused) => return Err(AuthError::RegistrationClosed),
            // Whatever becomes of failures: the backend has a row under an id that menshen may come
            // to.
            Err(error @ HookError::IdsOverlap) => {
                tracing::error!(
                    error = %error,
                    "nobody was made: {error}; raise it above every id that the backend will ever give"
                );
                return Err(AuthError::RegistrationUnavailable);
            }
            Err(error) if self.parts.rules.hooks.continues => {
                tracing::warn!(error = %error, "the backend was not asked about a new user, and will be told: {error}");
                let outbox = OutboxPolicy {
                    created: true,
                    ..new.outbox
                };
                NewLogin {
                    new_user: own_id()?,
                    outbox,
                    ..new.clone()
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "the backend was not asked about a new user, so nobody was made: {error}");
                return Err(AuthError::RegistrationUnavailable);
            }
        })
    }

    /// Who it is, so that each way of asking about one person has one key. WeChat's word for a
    /// person across apps comes first.
    fn person_key(&self, proof: &LoginProof) -> PersonKey {
        let mac = |parts: &[&[u8]]| crypto::mac(&self.parts.hook_key, parts);
        match proof {
            LoginProof::Wechat(said) => match &said.unionid {
                Some(unionid) => mac(&[b"unionid", unionid.as_str().as_bytes()]),
                None => mac(&[
                    b"openid",
                    said.app_id.as_str().as_bytes(),
                    said.openid.as_str().as_bytes(),
                ]),
            },
            LoginProof::Sms(guess) => mac(&[b"phone", guess.phone.as_str().as_bytes()]),
            LoginProof::Password(name, _) => mac(&[b"username", name.as_str().as_bytes()]),
        }
    }

    /// Another question about the same person, as stable as the first.
    fn later_round_key(&self, person_key: PersonKey, round: u8) -> PersonKey {
        crypto::mac(&self.parts.hook_key, &[b"again", &person_key, &[round]])
    }
}

/// One at a time for one person, so that a double tap asks the backend once.
#[derive(Debug, Default)]
pub(super) struct KeyedLock {
    taken: Arc<Mutex<HashMap<PersonKey, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Somebody's turn; ends when dropped.
pub(super) struct KeyedLockGuard {
    person_key: PersonKey,
    taken: Arc<Mutex<HashMap<PersonKey, Arc<tokio::sync::Mutex<()>>>>>,
    /// Given back before the table is looked at.
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl KeyedLock {
    /// Waits for the turn, at most so long; says whether it had to wait.
    async fn take(&self, person_key: PersonKey, most: Duration) -> Option<(KeyedLockGuard, bool)> {
        let turn = Arc::clone(
            self.taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(person_key)
                .or_default(),
        );
        let (guard, has_waited) = match Arc::clone(&turn).try_lock_owned() {
            Ok(guard) => (Some(guard), false),
            Err(_) => (
                tokio::time::timeout(most, turn.lock_owned()).await.ok(),
                true,
            ),
        };
        // Whoever gave up waiting leaves the table as whoever is done does.
        let turn = KeyedLockGuard {
            person_key,
            taken: Arc::clone(&self.taken),
            guard,
        };
        turn.guard.is_some().then_some((turn, has_waited))
    }
}

impl Drop for KeyedLockGuard {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's own is the last one: nobody waits, and nobody can come while the table is
        // held.
        if taken
            .get(&self.person_key)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            taken.remove(&self.person_key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn one_person_has_one_turn_and_the_table_is_empty_afterwards() {
        let registration_locks = Arc::new(KeyedLock::default());
        let (first, has_waited) = registration_locks.take([1; 32], LONG).await.unwrap();
        assert!(!has_waited);
        let (other, has_waited) = registration_locks.take([2; 32], LONG).await.unwrap();
        assert!(!has_waited, "somebody else is not held up");
        let (waiting, theirs) = (
            Arc::clone(&registration_locks),
            Arc::clone(&registration_locks),
        );
        let second = tokio::spawn(async move {
            waiting
                .take([1; 32], LONG)
                .await
                .map(|(_, has_waited)| has_waited)
        });
        assert!(
            theirs.take([1; 32], Duration::ZERO).await.is_none(),
            "the time is over"
        );
        drop((first, other));
        assert_eq!(second.await.unwrap(), Some(true));
        assert!(registration_locks.taken.lock().unwrap().is_empty());
    }
}
