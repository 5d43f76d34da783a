//! `/admin/store`: a change of the store's key while it is in use, for `menshen keys rotate --store`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{Operations, exchange::Refused};

/// Whether a change was begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyChange {
    /// `false`: one was under way already.
    pub begun: bool,
}

/// One step of a change.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResealStep {
    /// Records looked at in this step.
    pub records: usize,
    /// Every record is under the newest key.
    pub finished: bool,
}

pub(super) async fn rotate_key(State(state): State<Arc<Operations>>) -> Result<Json<KeyChange>, Refused> {
    Ok(Json(KeyChange { begun: state.administration.rotate_store_key().await? }))
}

pub(super) async fn reseal(State(state): State<Arc<Operations>>) -> Result<Json<ResealStep>, Refused> {
    let step = state.administration.reseal().await?;
    Ok(Json(ResealStep { records: step.records, finished: step.finished }))
}
