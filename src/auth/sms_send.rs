//! Sending a code to a phone.
//!
//! Whether the phone has an account is never looked up, so neither the response nor its time can
//! tell. The slots are reserved before the vendor is called, and released only when certainly
//! nothing was sent.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Auth, AuthError, count};
use crate::{
    audit::Event,
    crypto,
    entropy::NoEntropy,
    provider::sms::{SmsError, SmsMessage},
    store::{CodeHash, GuessId, SmsGuess, SmsId, SmsReservation, SmsReservationOutcome},
    types::{ClientIp, Malformed, Phone, SmsCode, SmsPurpose},
};

/// How often the log repeats that the budget is spent.
const BUDGET_LOG_INTERVAL: Duration = Duration::from_mins(10);

/// The response to a code that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmsSendResponse {
    /// How long the code is valid.
    pub expires_in: Duration,
    /// How long until another code may be requested.
    pub resend_after: Duration,
}

impl Auth {
    /// Country codes of the served countries.
    pub fn countries(&self) -> &[String] {
        &self.rules.sms.countries
    }

    /// Parses a phone number of a served country.
    pub fn phone(&self, text: &str) -> Result<Phone, Malformed> {
        Phone::parse(text, &self.rules.sms.countries)
    }

    /// Sends a code.
    pub async fn sms_send(
        self: &Arc<Self>,
        phone: Phone,
        purpose: SmsPurpose,
        from: ClientIp,
    ) -> Result<SmsSendResponse, AuthError> {
        let this = Arc::clone(self);
        // In a task of its own: a client that hangs up must not leave a message half sent, its
        // slots neither used nor free, and no audit event.
        let task = tokio::spawn(async move {
            let result = this.reserve_and_send(phone, purpose, from).await;
            let label = result
                .as_ref()
                .map_or_else(|error| error.code().as_str(), |_| "sent");
            this.audit.record(&Event::SmsRequested {
                purpose: purpose.as_str(),
                result: label,
                from,
            });
            result
        });
        task.await.unwrap_or(Err(AuthError::Interrupted))
    }

    async fn reserve_and_send(
        &self,
        phone: Phone,
        purpose: SmsPurpose,
        from: ClientIp,
    ) -> Result<SmsSendResponse, AuthError> {
        let Some(vendors) = &self.sms else {
            return Err(AuthError::SmsOff);
        };
        self.limits.sms_per_ip.check(&from.network())?;
        // A vendor that hangs must not pile up requests here.
        let Ok(_place) = self.memory.sending.try_acquire() else {
            return Err(AuthError::SmsUnavailable(Duration::from_secs(1)));
        };
        let (limits, now) = (self.rules.sms_limits, self.now());
        let test_code = self.rules.sms.test_code(&phone, now);
        let is_test = test_code.is_some();
        let code = match test_code {
            Some(code) => code,
            None => self.entropy.sms_code()?,
        };
        let id = SmsId(u128::from_be_bytes(self.entropy.bytes()?));
        let reservation = SmsReservation {
            id,
            phone: phone.clone(),
            purpose,
            code: self.sms_code_hash(&phone, &code),
            limits,
            is_test,
            now,
        };
        self.check_reservation(self.store.reserve_sms(&reservation).await?)?;
        let response = SmsSendResponse {
            expires_in: limits.code_ttl,
            resend_after: limits.resend_after,
        };
        if is_test {
            return Ok(response);
        }
        let name = format!("{:032x}", id.0);
        let message = SmsMessage {
            id: &name,
            phone: &phone,
            code: &code,
            purpose,
            ttl: limits.code_ttl,
            now,
        };
        let Err(error) = vendors.send(&message).await else {
            return Ok(response);
        };
        if let Some(refund) = error.refund() {
            self.store
                .release_sms(&phone, id, refund, self.now())
                .await?;
        }
        Err(match error {
            // Its slot stays reserved, so a retry before that is useless.
            SmsError::RateLimited { retry_after } => {
                AuthError::SmsQuota(retry_after.max(limits.resend_after))
            }
            // A number that takes no messages looks like one that cannot be reached.
            SmsError::BadNumber | SmsError::BlockedNumber => AuthError::PhoneRefused,
            SmsError::Unavailable => AuthError::SmsUnavailable(Duration::from_secs(30)),
            // Its slot stays reserved for that long.
            SmsError::Unknown => AuthError::SmsUnavailable(limits.resend_after),
        })
    }

    fn check_reservation(&self, reserved: SmsReservationOutcome) -> Result<(), AuthError> {
        let (limit, error) = match reserved {
            SmsReservationOutcome::Granted => return Ok(()),
            SmsReservationOutcome::Cooldown(wait) => ("sms_resend", AuthError::SmsCooldown(wait)),
            SmsReservationOutcome::PhoneQuota(wait) => ("sms_per_phone", AuthError::SmsQuota(wait)),
            SmsReservationOutcome::Budget(wait) => {
                self.log_spent_budget();
                ("sms_daily_budget", AuthError::SmsQuota(wait))
            }
        };
        count(&self.metrics.rate_limited, &[limit]);
        Err(error)
    }

    /// At an interval: further requests must not fill the log.
    fn log_spent_budget(&self) {
        let (now, last) = (self.now().as_secs(), &self.memory.budget_logged_at);
        let logged_at = last.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(logged_at) >= BUDGET_LOG_INTERVAL.as_secs();
        if is_due
            && last
                .compare_exchange(logged_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            tracing::error!(
                "the day's budget of messages (sms.daily_budget) is spent: no more are sent today"
            );
        }
    }

    /// A guess for the store. Only the hash of a code is ever stored or compared.
    pub(super) fn guess(
        &self,
        phone: Phone,
        code: &SmsCode,
        purpose: SmsPurpose,
    ) -> Result<SmsGuess, NoEntropy> {
        let hash = self.sms_code_hash(&phone, code);
        Ok(SmsGuess {
            id: GuessId(u128::from_be_bytes(self.entropy.bytes()?)),
            phone,
            purpose,
            code: hash,
            max_attempts: self.rules.sms_limits.max_attempts,
        })
    }

    fn sms_code_hash(&self, phone: &Phone, code: &SmsCode) -> CodeHash {
        CodeHash(crypto::mac(
            &self.sms_key,
            &[phone.as_str().as_bytes(), code.expose().as_bytes()],
        ))
    }
}
