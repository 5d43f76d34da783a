//! The outbox: what the backend has to hear of, kept until it has.
//!
//! An event is written in the same step as what happened, so neither is there without the other. It
//! names people by our own ids alone: what is personal about a user who is erased must not live on
//! here.

use serde::{Deserialize, Serialize};

use super::{CodeHash, RevocationOutcome, User};
use crate::types::{AppId, OpenId, Timestamp, UserId};

/// Which events an operation puts into the outbox; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config, and none depends on another"
)]
pub struct OutboxPolicy {
    pub created: bool,
    pub deleted: bool,
    pub merged: bool,
    pub withdrawn: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxEvent {
    /// A user was made.
    Created { user: UserId },
    /// A user was erased.
    Deleted { user: UserId },
    /// Two users were merged; `merged_id` was deleted.
    Merged {
        user: UserId,
        #[serde(rename = "gone")]
        merged_id: UserId,
    },
    /// A user took back what an app was allowed to have: the numbers of WeChat's `RevokeInfo`.
    /// `key` is of this event alone.
    Withdrawn {
        user: UserId,
        app: AppId,
        kinds: Vec<u16>,
        key: String,
    },
}

/// An event that was taken to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    pub event: OutboxEvent,
    /// When it happened.
    pub at: Timestamp,
    /// How often it has been taken, this time included.
    pub attempts: u32,
    pub receipt: OutboxReceipt,
}

/// Where an event lies; means something to the engine that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxReceipt(pub Vec<u8>);

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Events, counted up to 1000.
    pub waiting: usize,
    /// When the oldest of those counted happened.
    pub oldest: Option<Timestamp>,
}

/// A withdrawal of consent that WeChat has sent. Carried out once.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    pub app_id: AppId,
    pub openid: OpenId,
    pub scope: WithdrawalScope,
    /// It is about an account created by then: a later one belongs to a user who has returned.
    pub account_created_until: Timestamp,
    /// Keyed hash of the notice, and until when it is remembered: longer than a recorded notice can
    /// be replayed.
    pub notice: (CodeHash, Timestamp),
}

/// What is taken back.
#[derive(Debug, Clone)]
pub enum WithdrawalScope {
    /// The account.
    Account,
    /// Nickname and avatar, the phone; and for the backend all that WeChat named, and what the
    /// event is known by.
    Data {
        profile: bool,
        phone: bool,
        kinds: Vec<u16>,
        key: String,
    },
}

/// What became of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithdrawalOutcome {
    /// The data is gone; the user as they are then.
    Cleared(Box<User>),
    /// The user is gone.
    Erased {
        user: UserId,
        revoked: RevocationOutcome,
    },
    /// The notice was carried out before.
    Repeated,
    /// The openid belongs to no user.
    UnknownOpenId,
    /// It is about an account before this one.
    Outdated,
}

impl OutboxEvent {
    /// What the event is called on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "user.created",
            Self::Deleted { .. } => "user.deleted",
            Self::Merged { .. } => "user.merged",
            Self::Withdrawn { .. } => "user.withdrawn",
        }
    }

    /// The event's id, the same on every delivery: an id of a user is never assigned again.
    pub fn id(&self) -> String {
        match self {
            Self::Created { user } => format!("user.created.{user}"),
            Self::Deleted { user } => format!("user.deleted.{user}"),
            Self::Merged { user: _, merged_id } => format!("user.merged.{merged_id}"),
            Self::Withdrawn {
                user,
                app: _,
                kinds: _,
                key,
            } => format!("user.withdrawn.{user}.{key}"),
        }
    }
}
