//! `/admin/keys`: the signing keys of a running process, for `menshen keys`.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse, response::Response};
use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::{
    audit::Event,
    token::{KeyringError, Keyrings, Rotated},
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
}

/// What `menshen keys rotate` did.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyRotation {
    /// The key that signs now.
    pub signing: String,
}

impl Keys {
    pub fn of(keyrings: &Keyrings) -> Self {
        let keys = keyrings.current();
        Self {
            signing: keys.signing_kid().to_owned(),
            algorithm: keys.algorithm().as_str().to_owned(),
            verifying: keys.kids().map(str::to_owned).collect(),
        }
    }
}

pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Json<Keys> {
    Json(Keys::of(&state.keyrings))
}

pub(super) async fn rotate(State(state): State<Arc<AdminState>>) -> Response {
    match state.keyrings.rotate(&*state.probes.store, &state.entropy, state.clock.now()).await {
        Ok(Rotated::Added { kid }) => {
            let algorithm = state.keyrings.current().algorithm().as_str();
            state.audit.record(&Event::KeyAdded { kid: &kid, algorithm });
            Json(KeyRotation { signing: kid }).into_response()
        }
        Ok(Rotated::Overtaken { kid }) => Json(KeyRotation { signing: kid }).into_response(),
        Err(fault @ KeyringError::NotOurs) => (StatusCode::CONFLICT, fault.to_string()).into_response(),
        Err(fault) => {
            tracing::error!(error = %fault, "the signing keys could not be rotated");
            (StatusCode::SERVICE_UNAVAILABLE, "the store failed, nothing was changed or nobody knows").into_response()
        }
    }
}
