//! A first login where the backend is asked: under which id is this person to be known?
//!
//! The store checks the proof and changes nothing (`NewUserId::Pending`); then the backend is asked,
//! under an idempotency key derived from the person; then the login is carried out with its
//! response. If the process ends in between, the next login of the same person sends the same
//! request, and a backend that respects the key gives the same response.
//!
//! Must stay true: nobody is asked about who is not proven, and nobody where registration is
//! closed. Who has come about meanwhile stands, and the answer is not used. An id that is
//! somebody's is never given again.

use super::{Auth, AuthError, memory::PersonKey};
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

impl Auth {
    /// Goes on with the login of somebody whom the store does not know.
    pub(super) async fn register(&self, new: &NewLogin) -> Result<LoginOutcome, AuthError> {
        let Some(hooks) = &self.parts.hooks else {
            return Err(AuthError::Interrupted);
        };
        let person_key = self.person_key(&new.proof);
        let (_lock, has_waited) = self
            .parts
            .memory
            .registration_locks
            .lock(person_key, hooks.timeout())
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
        let (id, claims, outbox) = match hooks.request_user_id(&person).await {
            Ok(CreatedResponse { id, claims }) => (id, claims, new.outbox),
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
                (None, new.claims.clone(), outbox)
            }
            Err(error) => {
                tracing::warn!(error = %error, "the backend was not asked about a new user, so nobody was made: {error}");
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

    /// Who it is, so that each way of asking about one person has one key. WeChat's word for a
    /// person across apps comes first.
    fn person_key(&self, proof: &LoginProof) -> PersonKey {
        let mac = |parts: &[&[u8]]| crypto::mac(&self.parts.hook_key, parts);
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

    /// Another question about the same person, as stable as the first.
    fn later_round_key(&self, person_key: PersonKey, round: u8) -> PersonKey {
        crypto::mac(&self.parts.hook_key, &[b"again", &person_key, &[round]])
    }
}
