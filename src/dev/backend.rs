//! A backend that answers what it received, so that a person or a test can see what the gate let through.

use std::{io, net::SocketAddr};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::listener::Listener;

/// Longest body that is read; what it counts needs no more.
const LONGEST_BODY: usize = 16 * 1024 * 1024;

/// The running backend; it stops when dropped.
#[derive(Debug)]
pub struct SampleBackend {
    listener: Listener,
}

/// What it received, as it answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// Every header field in order of arrival, the name in lower case; bytes outside ASCII are shown as `?`.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl SampleBackend {
    /// Starts it on a free loopback port.
    pub async fn start() -> io::Result<Self> {
        let router = Router::new().fallback(async |request: Request| answer(request).await);
        Listener::start(router).await.map(|listener| Self { listener })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// For `upstream.urls`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Received {
    /// All values of a header, by its lower-case name.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

async fn answer(request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let shown = |bytes: &[u8]| bytes.iter().map(|&b| if b.is_ascii() { char::from(b) } else { '?' }).collect();
    Json(Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), shown(value.as_bytes()))).collect(),
        body_bytes: body.len(),
    })
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_what_it_received() {
        let backend = SampleBackend::start().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let sent =
            client.post(format!("{}/a/b?c=%20d", backend.url())).header("X-One", "1").header("X-One", "2").body("hello");
        let received: Received = sent.send().await.unwrap().json().await.unwrap();
        assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/a/b?c=%20d"));
        assert_eq!(received.header("x-one").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(received.body_bytes, 5);
    }
}
