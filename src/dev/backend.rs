//! A backend that returns the request that it received, so that a person or a test can see what the
//! gate forwarded.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::listener::LoopbackListener;

/// Most bytes of a body.
const MAX_BODY_LEN: usize = 16 * 1024 * 1024;

/// The running backend; it stops when dropped.
#[derive(Debug)]
pub struct SampleBackend {
    listener: LoopbackListener,
    requests: Arc<AtomicUsize>,
}

/// The request that the backend received, which is its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRequest {
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// Every header field in order of arrival, the name in lower case; bytes outside ASCII are
    /// shown as `?`.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl SampleBackend {
    /// Starts it on a free loopback port.
    pub async fn start() -> io::Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(async move |request: Request| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(request).await
        });
        let listener = LoopbackListener::start(router).await?;
        Ok(Self { listener, requests })
    }

    /// The address of the listener.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// For `upstream.urls`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl ReceivedRequest {
    /// All values of a header, by its lower-case name.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// JSON with a line for each header, since `curl` shows it to people as it is.
    fn to_json(&self) -> String {
        let Self {
            method,
            target,
            headers,
            body_bytes,
        } = self;
        let fields = headers
            .iter()
            .map(|(name, value)| format!("    {}", json!([name, value])));
        let fields = fields.collect::<Vec<_>>().join(",\n");
        let (method, target) = (json!(method), json!(target));
        format!(
            "{{\n  \"method\": {method},\n  \"target\": {target},\n  \"headers\": [\n{fields}\n  ],\n  \"body_bytes\": {body_bytes}\n}}\n"
        )
    }
}

async fn answer(request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_LEN).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let shown = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|&b| if b.is_ascii() { char::from(b) } else { '?' })
            .collect()
    };
    let received = ReceivedRequest {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), shown(value.as_bytes())))
            .collect(),
        body_bytes: body.len(),
    };
    (
        [(header::CONTENT_TYPE, "application/json")],
        received.to_json(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_what_it_received() {
        let backend = SampleBackend::start().await.unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let sent = client
            .post(format!("{}/a/b?c=%20d", backend.url()))
            .header("X-One", "1")
            .header("X-One", "2")
            .body("hello");
        let received: ReceivedRequest = sent.send().await.unwrap().json().await.unwrap();
        assert_eq!(
            (received.method.as_str(), received.target.as_str()),
            ("POST", "/a/b?c=%20d")
        );
        assert_eq!(received.header("x-one").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(received.body_bytes, 5);
        assert_eq!(backend.requests(), 1);
    }

    #[test]
    fn what_it_answers_can_be_read_back_whatever_it_received() {
        for headers in [
            vec![],
            vec![
                ("x-a".to_owned(), "\"\\ ?".to_owned()),
                ("x-a".to_owned(), String::new()),
            ],
        ] {
            let received = ReceivedRequest {
                method: "GET".to_owned(),
                target: "/\"".to_owned(),
                headers,
                body_bytes: 0,
            };
            assert_eq!(
                serde_json::from_str::<ReceivedRequest>(&received.to_json()).unwrap(),
                received
            );
        }
    }
}
