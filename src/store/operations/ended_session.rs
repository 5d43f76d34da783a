//! What is remembered of a session that has been ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bits::Bits;
use crate::{
    store::{RefreshSalt, UnknownFields},
    types::{SessionId, Timestamp},
};

/// How long after the end of a session its revocation is written to the log again when it is repeated.
const REPEAT_WINDOW: Duration = Duration::from_mins(1);
/// How long the record of an ended or expired session remains.
pub(in crate::store) const ENDED_SESSION_RETENTION: Duration = Duration::from_hours(7 * 24);

/// A session that has been ended: enough to say so to its refresh token.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::store) struct EndedSession {
    #[serde(rename = "i")]
    id: Bits,
    #[serde(rename = "s")]
    salt: Bits,
    /// Until when it is remembered.
    #[serde(rename = "t")]
    pub(in crate::store) until: Timestamp,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl EndedSession {
    pub(in crate::store) fn new(id: SessionId, salt: RefreshSalt, until: Timestamp) -> Self {
        Self {
            id: Bits(id.bits()),
            salt: Bits(u128::from_be_bytes(salt.0)),
            until,
            unknown: UnknownFields::default(),
        }
    }

    pub(in crate::store) const fn id(&self) -> SessionId {
        SessionId::from_bits(self.id.0)
    }

    pub(in crate::store) const fn salt(&self) -> RefreshSalt {
        RefreshSalt(self.salt.0.to_be_bytes())
    }

    pub(in crate::store) fn is_remembered(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether it ended a moment ago: a revocation that is repeated now may repeat one whose line in the
    /// log came too late for others.
    pub(in crate::store) fn is_recent(&self, now: Timestamp) -> bool {
        now.plus(ENDED_SESSION_RETENTION) < self.until.plus(REPEAT_WINDOW)
    }
}
