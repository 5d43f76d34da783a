//! The records, as they are sealed and written.
//!
//! A field that is added later needs a default, so that older records still read. Each record that may
//! be written back keeps fields that it does not know, as a newer version wrote them.

use serde::{Deserialize, Serialize};

use super::{bits::Bits, transaction::ReadView};
use crate::{
    store::{StoredKey, UnknownFields},
    types::{
        AppId, OpenId, Phone, Secret, SessionId, SmsPurpose, Timestamp, UnionId, UserId, Username,
    },
};

/// Whose openid it is.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct OpenIdRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) app_id: AppId,
    pub(in crate::store) openid: OpenId,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl OpenIdRecord {
    pub(in crate::store) fn new(user: &UserId, app_id: &AppId, openid: &OpenId) -> Self {
        Self {
            user: user.clone(),
            app_id: app_id.clone(),
            openid: openid.clone(),
            unknown: UnknownFields::default(),
        }
    }
}

/// A person across apps.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UnionIdRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) unionid: UnionId,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl UnionIdRecord {
    pub(in crate::store) fn new(user: &UserId, unionid: &UnionId) -> Self {
        Self {
            user: user.clone(),
            unionid: unionid.clone(),
            unknown: UnknownFields::default(),
        }
    }
}

/// Whose phone it is.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct PhoneRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) phone: Phone,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl PhoneRecord {
    pub(in crate::store) fn new(user: &UserId, phone: &Phone) -> Self {
        Self {
            user: user.clone(),
            phone: phone.clone(),
            unknown: UnknownFields::default(),
        }
    }
}

/// Whose name it is, and the password for it.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UsernameRecord {
    pub(in crate::store) user: UserId,
    pub(in crate::store) username: Username,
    pub(in crate::store) password: String,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

impl UsernameRecord {
    pub(in crate::store) fn new(user: &UserId, username: &Username, password: String) -> Self {
        Self {
            user: user.clone(),
            username: username.clone(),
            password,
            unknown: UnknownFields::default(),
        }
    }
}

/// The codes and messages of a phone.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SmsRecord {
    pub(in crate::store) phone: Phone,
    /// Messages of the last day, the oldest first.
    pub(in crate::store) sent: Vec<(Bits, Timestamp)>,
    /// The code that counts.
    pub(in crate::store) code: Option<SmsCodeRecord>,
    /// The code before it, which counts again when the message turns out not to have been sent.
    pub(in crate::store) replaced: Option<SmsCodeRecord>,
    /// The code that was used last, for the answer to a repeated binding.
    pub(in crate::store) used: Option<SmsCodeRecord>,
    /// Guesses since `attempts_until` was set first.
    pub(in crate::store) attempts: u32,
    pub(in crate::store) attempts_until: Timestamp,
    /// The last guesses that were compared, the oldest first, and whether each was right: a repeat has
    /// the same outcome and is not counted again.
    #[serde(default)]
    pub(in crate::store) guesses: Vec<(Bits, bool)>,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

/// A code.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::store) struct SmsCodeRecord {
    /// Of the message that carries it.
    pub(in crate::store) id: Bits,
    pub(in crate::store) hash: [u8; 32],
    pub(in crate::store) purpose: SmsPurpose,
    pub(in crate::store) until: Timestamp,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

/// Messages of one day.
#[derive(Default, Serialize, Deserialize)]
pub(in crate::store) struct SmsBudget {
    /// Days since 1970-01-01 in UTC+8.
    pub(in crate::store) day: u64,
    pub(in crate::store) sent: u64,
    #[serde(flatten)]
    pub(in crate::store) unknown: UnknownFields,
}

/// A login code that has been used.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct UsedCode {
    pub(in crate::store) until: Timestamp,
    /// What a client may be told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::store) login: Option<CodeLogin>,
}

/// The login that a code was used for.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct CodeLogin {
    pub(in crate::store) client: [u8; 32],
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) user: UserId,
    pub(in crate::store) session: SessionId,
}

/// A signing key.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct KeyRecord {
    kid: String,
    algorithm: String,
    private: Vec<u8>,
    created_at: Timestamp,
    /// Absent: since it was made.
    #[serde(default)]
    signs_from: Option<Timestamp>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl KeyRecord {
    /// Key id.
    pub(in crate::store) fn kid(&self) -> &str {
        &self.kid
    }

    /// What a newer version added.
    pub(in crate::store) const fn unknown(&self) -> &UnknownFields {
        &self.unknown
    }

    pub(in crate::store) fn from_key(key: &StoredKey, unknown: UnknownFields) -> Self {
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.clone(),
            private: key.private.expose().clone(),
            created_at: key.created_at,
            signs_from: Some(key.signs_from),
            unknown,
        }
    }

    pub(in crate::store) fn into_key(self) -> StoredKey {
        StoredKey {
            kid: self.kid,
            algorithm: self.algorithm,
            private: Secret::new(self.private),
            created_at: self.created_at,
            signs_from: self.signs_from.unwrap_or(self.created_at),
        }
    }
}

/// The epoch below which every token is revoked. It lies with the keyring, so reading it costs
/// nothing, and no operation commits under an older one.
pub(in crate::store) fn global_epoch(view: &dyn ReadView) -> u64 {
    view.cipher().keyring().global_epoch()
}
