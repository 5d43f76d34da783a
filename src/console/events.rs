//! The updates of the first page, as server-sent events.
//!
//! Must stay true: they keep no session open, and end with it.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    now,
    page_context::PageContext,
    state::{Console, SharedConsole},
};
use crate::admin::ChunkStream;

/// How often the session is looked at where no sample comes.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// A browser that takes an update no sooner is gone.
const MAX_SENDING_TIME: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
) -> Response {
    let Ok(permit) = console.streams.clone().try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages update themselves",
        )
            .into_response();
    };
    let (parts, body) = mpsc::channel(1);
    tokio::spawn(send(console, context, parts, permit));
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::new(ChunkStream(body)),
    )
        .into_response()
}

async fn send(
    console: Arc<Console>,
    context: PageContext,
    parts: mpsc::Sender<io::Result<Bytes>>,
    _permit: OwnedSemaphorePermit,
) {
    let mut sampled = console.parts.memory.sampled();
    let generation = console.parts.memory.reload_state().generation;
    loop {
        tokio::select! {
            changed = sampled.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
            // The browser has left the page.
            () = parts.closed() => return,
        }
        // The next config may have another token. The browser asks again.
        if console.parts.memory.reload_state().generation != generation {
            return;
        }
        let (sessions, token) = (&console.parts.memory.sessions, &console.parts.token);
        let is_open = context
            .session
            .as_ref()
            .is_some_and(|session| sessions.find_by_key(session.key, token, false).is_some());
        let event = if is_open {
            let figures = now::figures(&console, &context).await.into_string();
            format!(
                "event: figures\ndata: {}\n\n",
                figures.replace(['\r', '\n'], " ")
            )
        } else {
            "event: end\ndata: \n\n".to_owned()
        };
        let sent = timeout(MAX_SENDING_TIME, parts.send(Ok(event.into()))).await;
        if !matches!(sent, Ok(Ok(()))) || !is_open {
            return;
        }
    }
}
