//! Withdrawals of consent that WeChat pushes.

use std::time::Duration;

use super::{Auth, AuthError};
use crate::{
    audit::Event,
    crypto,
    provider::wechat::{AuthorizationChange, AuthorizationEvent},
    store::{CodeHash, Withdrawal, WithdrawalOutcome, WithdrawalScope},
    types::named_enum,
};

/// An account created so much later than the event is a new one of a user who has returned. Also
/// the tolerance for WeChat's clock being behind ours.
const RETURN_GRACE: Duration = Duration::from_mins(5);
/// How long an event is remembered: longer than a push is accepted (`wechat.push.max_age` is an
/// hour at most).
const EVENT_RETENTION: Duration = Duration::from_hours(2);
/// Bytes of the idempotency key of an event.
const EVENT_KEY_LEN: usize = 16;
/// Kinds of data, by WeChat's numbers.
const NICKNAME_AND_AVATAR: u16 = 6;
const PHONE: u16 = 8;
const TYPED_NICKNAME: u16 = 19;
const CHOSEN_AVATAR: u16 = 20;

named_enum! {
    /// The result of a withdrawal, by its metric label.
    pub enum WithdrawalResult {
        /// Done.
        Done = "done",
        /// Done before.
        Repeated = "repeated",
        /// No user has this openid.
        UnknownOpenId = "nobody",
        /// It is about an earlier account of this openid.
        Outdated = "outdated",
    }
}

impl Auth {
    /// Carries out a push. Idempotent: each event is carried out once, over all replicas.
    pub async fn withdraw_consent(
        &self,
        event: &AuthorizationEvent,
    ) -> Result<WithdrawalResult, AuthError> {
        let scope = match &event.change {
            AuthorizationChange::Cancelled | AuthorizationChange::Revoked(None) => {
                WithdrawalScope::Account
            }
            AuthorizationChange::ProfileCleaned => {
                self.withdrawn_data(event, vec![NICKNAME_AND_AVATAR])
            }
            AuthorizationChange::Revoked(Some(kinds)) => self.withdrawn_data(event, kinds.clone()),
        };
        let (is_profile, is_phone) = match &scope {
            WithdrawalScope::Account => (false, false),
            WithdrawalScope::Data { profile, phone, .. } => (*profile, *phone),
        };
        let now = self.now();
        let event_hash = CodeHash(crypto::mac(
            &self.code_key,
            &[b"wechat push", &event.digest],
        ));
        let withdrawal = Withdrawal {
            app_id: event.app_id.clone(),
            openid: event.openid.clone(),
            scope,
            account_created_until: event.at.plus(RETURN_GRACE),
            notice: (event_hash, now.plus(EVENT_RETENTION)),
        };
        match self
            .store
            .withdraw(&withdrawal, self.rules.outbox, now)
            .await?
        {
            WithdrawalOutcome::Cleared(user) => {
                self.audit.record(&Event::DataWithdrawn {
                    user: &user.id,
                    profile: is_profile,
                    phone: is_phone,
                });
            }
            WithdrawalOutcome::Erased { user, revoked } => {
                self.apply_locally(&revoked, "erased");
                self.audit.record(&Event::AccountErased {
                    user: &user,
                    by: "wechat",
                });
            }
            WithdrawalOutcome::Repeated => return Ok(WithdrawalResult::Repeated),
            WithdrawalOutcome::UnknownOpenId => return Ok(WithdrawalResult::UnknownOpenId),
            WithdrawalOutcome::Outdated => return Ok(WithdrawalResult::Outdated),
        }
        self.outbox_dispatcher.wake();
        Ok(WithdrawalResult::Done)
    }

    /// The idempotency key is a keyed hash of the whole event: two events in one second have two,
    /// and neither identifies a person.
    fn withdrawn_data(&self, event: &AuthorizationEvent, kinds: Vec<u16>) -> WithdrawalScope {
        let has = |wanted: &[u16]| wanted.iter().any(|kind| kinds.contains(kind));
        let key = crypto::mac(&self.hook_key, &[b"withdrawal", &event.digest]);
        WithdrawalScope::Data {
            profile: has(&[NICKNAME_AND_AVATAR, TYPED_NICKNAME, CHOSEN_AVATAR]),
            phone: has(&[PHONE]),
            key: hex::encode(&key[..EVENT_KEY_LEN]),
            kinds,
        }
    }
}
