//! What the operations on phones take and give: codes that are sent, and phones that are bound to
//! users.

use std::time::Duration;

use super::{CodeHash, NewSession, OutboxPolicy, RevocationOutcome, Session, User};
use crate::types::{Phone, SmsPurpose, Timestamp, UserId};

/// Names one message, so that its reservation can be repeated or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmsId(pub u128);

/// How many messages may go out, and how codes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmsLimits {
    /// How long a code is good for.
    pub code_ttl: Duration,
    /// Least time between two messages to one phone.
    pub resend_after: Duration,
    /// Most messages to one phone within any hour.
    pub per_phone_hour: u32,
    /// Most messages to one phone within any 24 hours.
    pub per_phone_day: u32,
    /// Most messages of the whole service on one day of China's calendar (UTC+8).
    pub daily_budget: u64,
    /// Guesses at the codes of one phone, of all clients together; a new code brings no new ones.
    pub max_attempts: u32,
}

/// A message about to be sent: its slots are taken, and its code is the phone's code from now on.
#[derive(Debug, Clone)]
pub struct SmsReservation {
    pub id: SmsId,
    pub phone: Phone,
    pub purpose: SmsPurpose,
    /// Keyed hash of (phone, code).
    pub code: CodeHash,
    pub limits: SmsLimits,
    /// A test phone, to which nothing is sent: it costs nothing, so only the guesses are limited.
    pub is_test: bool,
    pub now: Timestamp,
}

/// Whether a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsReservationOutcome {
    /// It may: send it.
    Granted,
    /// Too soon after the last one, or the guesses are used up: wait so long.
    Cooldown(Duration),
    /// Over the phone's hour or day.
    PhoneQuota(Duration),
    /// Over the day of the service.
    Budget(Duration),
}

/// The slots that a message gives back because it was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsRefund {
    /// Those of the phone and of the day's budget.
    All,
    /// That of the day's budget. Those of the phone stay taken, so that a number that cannot be
    /// reached is not tried without end.
    Budget,
    /// None: the vendor has counted the request.
    Nothing,
}

/// Names one guess, so that repeating it counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessId(pub u128);

/// A guess at the code that was sent to a phone.
#[derive(Debug, Clone)]
pub struct SmsGuess {
    pub id: GuessId,
    pub phone: Phone,
    pub purpose: SmsPurpose,
    pub code: CodeHash,
    pub max_attempts: u32,
}

/// Why a phone is believed to be the user's.
#[derive(Debug, Clone)]
pub enum PhoneProof {
    /// A code that was sent to it.
    Sms(SmsGuess),
    /// WeChat named the phone, to this very session.
    Wechat(Phone),
}

/// A phone to bind to the user of a session; it takes the place of the one before it.
#[derive(Debug, Clone)]
pub struct PhoneBinding {
    pub user: UserId,
    /// Must be active: a change of phone takes the old session and the new phone.
    pub session: crate::types::SessionId,
    pub proof: PhoneProof,
    /// Where the phone is another user's: join the two, and open this session if the caller's own
    /// user is the one that goes. `None`: that is a conflict.
    pub merge: Option<NewSession>,
    /// With that session end the others of its client type.
    pub single_per_client_type: bool,
    /// What goes into the outbox, if it comes about.
    pub outbox: OutboxPolicy,
    pub now: Timestamp,
}

/// What became of a binding.
#[derive(Debug, Clone)]
pub enum BindOutcome {
    /// The phone is the user's.
    Bound(Box<User>),
    /// Two users have become one.
    Merged(Box<MergedUser>),
    /// No such code: wrong, used, too old, or guessed at too often.
    CodeWrong,
    /// The phone is another user's, and joining the two is not allowed or would contradict itself.
    Conflict,
    /// The user is disabled.
    Disabled,
    /// The session has ended, or its user was deleted.
    SessionEnded,
}

/// Two users that have become one: the older one, with the identities of both.
#[derive(Debug, Clone)]
pub struct MergedUser {
    /// Who is left.
    pub user: User,
    /// Who is gone. The id is never used again.
    pub merged_id: UserId,
    /// A session of the one who is left, where the caller's own ended with its user.
    pub session: Option<Session>,
    pub global_epoch: u64,
    /// What that ended.
    pub revoked: RevocationOutcome,
}

impl PhoneProof {
    /// The phone that is proven.
    pub const fn phone(&self) -> &Phone {
        match self {
            Self::Sms(guess) => &guess.phone,
            Self::Wechat(phone) => phone,
        }
    }
}

/// What became of taking a phone away from its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnbindOutcome {
    Unbound(Box<User>),
    /// There was none.
    NotBound(Box<User>),
    /// It is the only way in.
    OnlyIdentity,
    /// The session has ended, or its user was deleted.
    SessionEnded,
}
