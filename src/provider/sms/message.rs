//! A message with a code for a phone.

use std::time::Duration;

use crate::{
    config::CodeValues,
    types::{Phone, SmsCode, SmsPurpose, Timestamp},
};

/// A message with a code for a phone.
#[derive(Debug, Clone, Copy)]
pub struct SmsMessage<'a> {
    /// Its id, for a vendor that gets it twice and for lookups in a vendor's records: visible
    /// ASCII.
    pub id: &'a str,
    pub phone: &'a Phone,
    pub code: &'a SmsCode,
    pub purpose: SmsPurpose,
    /// How long the code is valid. Texts say it in whole minutes, rounded down, but one at least.
    pub ttl: Duration,
    /// For signatures: a vendor rejects a time that is minutes away from its own.
    pub now: Timestamp,
}

impl<'a> SmsMessage<'a> {
    pub(super) fn values(&self) -> CodeValues<'a> {
        CodeValues {
            code: self.code,
            minutes: (self.ttl.as_secs() / 60).max(1),
        }
    }
}
