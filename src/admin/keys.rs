//! `/admin/keys`: the signing keys of a running process, for `menshen keys`.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    rejection::{AdminRejection, JsonResult},
    state::SharedState,
};
use crate::{
    audit::Event,
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
    let now = state.clock.now();
    match state
        .keyrings
        .rotate(&*state.store, &state.entropy, now)
        .await
    {
        Ok(RotationResult::Added { kid }) => {
            let algorithm = state.keyrings.current().algorithm().as_str();
            state.audit.record(&Event::KeyAdded {
                kid: &kid,
                algorithm,
                signs_from: now,
            });
            Ok(Json(KeyRotation { signing: kid }))
        }
        Ok(RotationResult::Overtaken { kid }) => Ok(Json(KeyRotation { signing: kid })),
        Err(fault @ KeyringError::NotOurs) => {
            Err(AdminRejection::new(StatusCode::CONFLICT, fault.to_string()))
        }
        Err(fault) => Err(AdminRejection::internal(&fault)),
    }
}
