//! `/admin/store`: a change of the store's key while it is in use, for `menshen keys rotate
//! --store`; and everything in it, sealed, for `menshen export`. Whoever has the admin token gets
//! nothing readable by that: it needs the encryption key too.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};

use tokio::sync::mpsc;

use super::{Operations, exchange::Refused};
use crate::{audit::Event, store::backup::Encryptor};

/// Things in one sealed piece: even of the largest it is small.
const PIECE: usize = 32;

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

pub(super) async fn rotate_key(
    State(state): State<Arc<Operations>>,
) -> Result<Json<KeyChange>, Refused> {
    Ok(Json(KeyChange {
        begun: state.administration.rotate_store_key().await?,
    }))
}

pub(super) async fn reencrypt(
    State(state): State<Arc<Operations>>,
) -> Result<Json<ResealStep>, Refused> {
    let step = state.administration.reencrypt().await?;
    Ok(Json(ResealStep {
        records: step.records,
        finished: step.finished,
    }))
}

pub(super) async fn export(State(state): State<Arc<Operations>>) -> Result<Response, Refused> {
    let Some(key) = &state.export_key else {
        let says = "this store has no key that outlives it, so nothing could read an export";
        return Err(Refused::new(StatusCode::CONFLICT, says));
    };
    let mut export = state
        .store
        .export()
        .await
        .map_err(|fault| Refused::fault(&fault))?;
    let (mut encryptor, header) =
        Encryptor::begin(key, state.clock.now(), state.is_live, &state.entropy)
            .map_err(|fault| Refused::fault(&fault))?;
    state.audit.record(&Event::StoreExported);
    let (hand, body) = mpsc::channel(2);
    tokio::spawn(async move {
        let handed = async {
            hand.send(Ok(Bytes::from(header)))
                .await
                .map_err(io::Error::other)?;
            while let Some(things) = export.next().await {
                for chunk in things.map_err(io::Error::other)?.chunks(PIECE) {
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
            // The answer must not look whole.
            drop(hand.send(Err(fault)).await);
        }
    });
    Ok((
        [(header::CONTENT_TYPE, "application/octet-stream")],
        Body::new(Pieces(body)),
    )
        .into_response())
}

/// A body that comes as it is made.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
