//! A body whose parts come from a channel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A body that is sent while it is produced.
pub struct ChunkStream(pub mpsc::Receiver<io::Result<Bytes>>);

impl axum::body::HttpBody for ChunkStream {
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
