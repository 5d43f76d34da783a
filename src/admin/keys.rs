//! `/admin/keys`: the signing keys of a running process, for `menshen keys`.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    rejection::{AdminRejection, JsonResult},
    state::{AdminState, SharedState},
};
use crate::{
    audit::{Actor, Event},
    token::{KeyringError, Keyrings, RotationResult},
};

/// The signing keys, as `menshen keys list` prints them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Key id (RFC 7517 section 4.5) of the one that signs.
    pub signing: String,
    /// `EdDSA`, `ES256`, `RS256` or `HS256`.
    pub algorithm: String,
    /// All that verify, the signing one first.
    pub verifying: Vec<String>,
    /// The one that signs next, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextKey>,
}

/// A key that is published and does not sign yet.
#[derive(Debug, Serialize, Deserialize)]
pub struct NextKey {
    pub kid: String,
    /// RFC 3339, UTC.
    pub signs_from: String,
}

/// The result of `menshen keys rotate`.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyRotation {
    /// The key that signs now.
    pub signing: String,
}

impl Keys {
    pub fn from_keyrings(keyrings: &Keyrings) -> Self {
        let keys = keyrings.current();
        Self {
            signing: keys.signing_kid().to_owned(),
            algorithm: keys.algorithm().as_str().to_owned(),
            verifying: keys.kids().map(str::to_owned).collect(),
            next: keys.next().map(|(kid, from)| NextKey {
                kid: kid.to_owned(),
                signs_from: from.rfc3339(),
            }),
        }
    }
}

pub(super) async fn list(State(state): SharedState) -> Json<Keys> {
    Json(Keys::from_keyrings(&state.keyrings))
}

pub(super) async fn rotate(State(state): SharedState) -> JsonResult<KeyRotation> {
    match rotate_signing_key(&state, Actor::Operator).await {
        Ok(kid) => Ok(Json(KeyRotation { signing: kid })),
        Err(error @ KeyringError::NotOurs) => {
            Err(AdminRejection::new(StatusCode::CONFLICT, error.to_string()))
        }
        Err(error) => Err(AdminRejection::internal(&error)),
    }
}

/// Adds a key that signs from now on, with a line of the audit log. The id of the key that signs
/// now; where another process rotates at the same moment, it is the key of that one.
pub async fn rotate_signing_key(state: &AdminState, by: Actor) -> Result<String, KeyringError> {
    let (keyrings, now) = (&state.keyrings, state.clock.now());
    match keyrings.rotate(&*state.store, &state.entropy, now).await? {
        RotationResult::Added { kid } => {
            state.audit.record(&Event::KeyAdded {
                kid: &kid,
                algorithm: keyrings.current().algorithm().as_str(),
                signs_from: now,
                by: by.as_str(),
            });
            Ok(kid)
        }
        RotationResult::Overtaken { kid } => Ok(kid),
    }
}
