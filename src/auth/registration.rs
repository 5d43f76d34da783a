//! The first login of a person, where the backend gives the user's id.
//!
//! The store checks the proof and changes nothing (`NewUserId::Pending`); then the backend is
//! asked, under an idempotency key derived from the person; then the login is carried out with its
//! response. If the process ends in between, the next login of the same person sends the same
//! request, and a backend that respects the key gives the same response.
//!
//! Must stay true: the backend is asked only about a person whose proof is right, and only where
//! registration is open. A user who was created meanwhile is kept, and the response is not used.
//! The id of a user is never assigned again.

use super::{Auth, AuthError, memory::PersonKey};
use crate::{
    audit::Event,
    crypto,
    error::ErrorCode,
    provider::hooks::{CreatedResponse, HookError, Hooks, NewUserRequest},
    store::{LoginOutcome, LoginProof, NewLogin, NewUserId, OutboxPolicy},
    types::UserId,
};

/// Most requests about one person when the backend responds with ids of deleted users.
const MAX_ROUNDS: u8 = 3;

impl Auth {
    /// Continues the login of a person who is unknown to the store.
    pub(super) async fn register(&self, new: &NewLogin) -> Result<LoginOutcome, AuthError> {
        let Some(hooks) = &self.hooks else {
            return Err(AuthError::Interrupted);
        };
        let person_key = self.person_key(&new.proof);
        let (_lock, has_waited) = self
            .memory
            .registration_locks
            .lock(person_key, hooks.timeout())
            .await
            .ok_or(AuthError::RegistrationUnavailable)?;
        if has_waited {
            match self.store.login(new).await? {
                LoginOutcome::UnknownUser => {}
                known => return Ok(known),
            }
        }
        let mut refused_id = None;
        for round in 0..MAX_ROUNDS {
            let login = self
                .with_backend_answer(hooks, new, person_key, round, refused_id.as_ref())
                .await?;
            match self.store.login(&login).await? {
                LoginOutcome::IdTaken { is_deleted } => {
                    let NewUserId::FromBackend(id) = login.new_user else {
                        return Err(AuthError::Interrupted);
                    };
                    self.audit.record(&Event::HookIdTaken {
                        user: &id,
                        gone: is_deleted,
                    });
                    if !is_deleted {
                        tracing::error!(user = %id, "the backend gave a new user the id of another user: no user was created");
                        return Err(AuthError::RegistrationUnavailable);
                    }
                    refused_id = Some(id);
                }
                done => return Ok(done),
            }
        }
        tracing::error!(
            "the backend gives new users the ids of deleted users: no user was created"
        );
        Err(AuthError::RegistrationUnavailable)
    }

    /// The login with the backend's response.
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
        let (id, claims, outbox) = match hooks.request_user_id(&person).await {
            Ok(CreatedResponse { id, claims }) => (id, claims, new.outbox),
            Err(HookError::Refused) => return Err(ErrorCode::RegistrationClosed.into()),
            // Whatever `on_failure` says: the backend has a row under an id that menshen may
            // generate later.
            Err(error @ HookError::IdsOverlap) => {
                tracing::error!(
                    error = %error,
                    "no user was created: {error}; raise it above every id that the backend will ever give"
                );
                return Err(AuthError::RegistrationUnavailable);
            }
            Err(error) if self.rules.continues_without_backend => {
                tracing::warn!(error = %error, "the backend could not be asked about a new user and will be notified later: {error}");
                let outbox = OutboxPolicy {
                    created: true,
                    ..new.outbox
                };
                (None, new.claims.clone(), outbox)
            }
            Err(error) => {
                tracing::warn!(error = %error, "the backend could not be asked about a new user, so no user was created: {error}");
                return Err(AuthError::RegistrationUnavailable);
            }
        };
        let new_user = match id {
            Some(id) => NewUserId::FromBackend(id),
            None => self.new_user_id(new.now)?,
        };
        Ok(NewLogin {
            new_user,
            claims,
            outbox,
            ..new.clone()
        })
    }

    /// The key of the person: one for each way of logging in. The unionid, which names a person
    /// across apps, comes first.
    fn person_key(&self, proof: &LoginProof) -> PersonKey {
        let mac = |parts: &[&[u8]]| crypto::mac(&self.hook_key, parts);
        match proof {
            LoginProof::Wechat(identity) => match &identity.unionid {
                Some(unionid) => mac(&[b"unionid", unionid.as_str().as_bytes()]),
                None => mac(&[
                    b"openid",
                    identity.app_id.as_str().as_bytes(),
                    identity.openid.as_str().as_bytes(),
                ]),
            },
            LoginProof::Sms(guess) => mac(&[b"phone", guess.phone.as_str().as_bytes()]),
            LoginProof::Password(name, _) => mac(&[b"username", name.as_str().as_bytes()]),
        }
    }

    /// The key of a later request about the same person, as stable as the first.
    fn later_round_key(&self, person_key: PersonKey, round: u8) -> PersonKey {
        crypto::mac(&self.hook_key, &[b"again", &person_key, &[round]])
    }
}
