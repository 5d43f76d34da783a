//! `/admin/store`: rotation of the store's key while the store is in use, for `menshen keys rotate
//! --store`; and an encrypted export of the store, for `menshen export`. The admin token is not
//! enough to read an export: that needs the encryption key too.

use std::io;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use tokio::sync::mpsc;

use super::{
    chunk_stream::ChunkStream,
    rejection::{AdminRejection, JsonResult},
    state::SharedState,
};
use crate::{
    audit::Event,
    store::{Unreadable, backup::Encryptor},
};

/// Records in one encrypted chunk: small even with the largest records.
const CHUNK_RECORDS: usize = 32;

/// Whether a rotation was started.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyChange {
    /// `false`: one was already in progress.
    pub begun: bool,
}

/// One step of a rotation.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResealStep {
    /// Records read in this step.
    pub records: usize,
    /// Every record is encrypted with the newest key.
    pub finished: bool,
}

pub(super) async fn rotate_key(State(state): SharedState) -> JsonResult<KeyChange> {
    Ok(Json(KeyChange {
        begun: state.administration.rotate_store_key().await?,
    }))
}

pub(super) async fn reencrypt(State(state): SharedState) -> JsonResult<ResealStep> {
    let step = state.administration.reencrypt().await?;
    Ok(Json(ResealStep {
        records: step.records,
        finished: step.finished,
    }))
}

/// What an export is to be like.
#[derive(Debug, Deserialize)]
pub(super) struct ExportQuery {
    /// Records that cannot be read are left out.
    #[serde(default)]
    without_damaged: bool,
}

pub(super) async fn export(
    State(state): SharedState,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, AdminRejection> {
    let Query(ExportQuery { without_damaged }) = query?;
    let Some(key) = &state.export_key else {
        let says = "this store has no key that outlives it, so nothing could read an export";
        return Err(AdminRejection::new(StatusCode::CONFLICT, says));
    };
    let unreadable = if without_damaged {
        Unreadable::IsLeftOut
    } else {
        Unreadable::Fails
    };
    let begun = state.store.export(unreadable).await;
    let mut export = begun.map_err(|fault| AdminRejection::internal(&fault))?;
    let (mut encryptor, header) =
        Encryptor::begin(key, state.clock.now(), state.is_live, &state.entropy)
            .map_err(|fault| AdminRejection::internal(&fault))?;
    state.audit.record(&Event::StoreExported);
    let (hand, body) = mpsc::channel(2);
    tokio::spawn(async move {
        let handed = async {
            hand.send(Ok(Bytes::from(header)))
                .await
                .map_err(io::Error::other)?;
            while let Some(things) = export.next().await {
                for chunk in things.map_err(io::Error::other)?.chunks(CHUNK_RECORDS) {
                    let bytes = encryptor.chunk(chunk, false).map_err(io::Error::other)?;
                    hand.send(Ok(Bytes::from(bytes)))
                        .await
                        .map_err(io::Error::other)?;
                }
            }
            let end = encryptor.chunk(&[], true).map_err(io::Error::other)?;
            hand.send(Ok(Bytes::from(end)))
                .await
                .map_err(io::Error::other)
        };
        if let Err(fault) = handed.await {
            tracing::warn!(error = %fault, "an export was broken off: {fault}");
            // The response must not look complete.
            drop(hand.send(Err(fault)).await);
        }
    });
    Ok((
        [(header::CONTENT_TYPE, "application/octet-stream")],
        Body::new(ChunkStream(body)),
    )
        .into_response())
}
