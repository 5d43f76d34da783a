//! Faulty responses of simulated vendors.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame};

/// The page of another server, in place of JSON.
pub(super) const HTML_PAGE: &str = "<html><body>It works!</body></html>";

/// Half a response, then the connection ends.
pub(super) fn truncated_response() -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/plain"),
            (header::CONTENT_LENGTH, "100"),
        ],
        Body::new(TruncatedBody::Whole),
    )
        .into_response()
}

/// A body that breaks off.
#[derive(Debug, Clone, Copy)]
enum TruncatedBody {
    Whole,
    Broken,
}

impl HttpBody for TruncatedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match *self {
            Self::Whole => {
                *self = Self::Broken;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                    b"{\"openid\":\"o1\"",
                )))))
            }
            Self::Broken => Poll::Ready(Some(Err(io::Error::other("as scripted")))),
        }
    }
}
