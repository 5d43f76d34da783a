//! The client of the demo: one request on one connection.
//!
//! It sends exactly the bytes of a head, so that an odd path arrives as it is and the explanation
//! is of what was sent.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::call::Call;

/// Time for one response, which takes milliseconds on a loopback socket.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of a response.
const MAX_RESPONSE_LEN: usize = 256 * 1024;
/// Most header fields of a response.
const MAX_HEADERS: usize = 64;

/// A client of the server at one address.
#[derive(Debug, Clone)]
pub(super) struct DemoClient {
    address: String,
}

/// The head of a request, as it is sent.
pub(super) struct SentHead {
    /// All header fields in order.
    pub(super) headers: Vec<(String, String)>,
    pub(super) bytes: Vec<u8>,
}

impl DemoClient {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    /// The head that [`DemoClient::send`] needs for this call.
    pub(super) fn head(&self, call: &Call) -> SentHead {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            own("Host", &self.address),
            own("User-Agent", "mini-program-of-the-demo"),
        ];
        headers.extend(call.headers.iter().map(|(name, value)| own(name, value)));
        if let Some(body) = &call.body {
            headers.push(own("Content-Length", &body.len().to_string()));
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", call.method, call.path);
        for (name, value) in &headers {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("\r\n");
        let bytes = head.into_bytes();
        SentHead { headers, bytes }
    }

    /// Sends a call with its head, and reads the response.
    pub(super) async fn send(
        &self,
        call: &Call,
        head: &SentHead,
    ) -> anyhow::Result<Response<Bytes>> {
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let body = call.body.as_deref().unwrap_or_default();
            stream
                .write_all(&[&head.bytes, body.as_bytes()].concat())
                .await?;
            read_response(&mut stream).await
        };
        let response = timeout(RESPONSE_TIMEOUT, exchange).await;
        response
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("menshen did not answer {} {}", call.method, call.path))
    }
}

/// Reads a response whose length its head says, as all of menshen and of the sample backend do.
async fn read_response(stream: &mut TcpStream) -> anyhow::Result<Response<Bytes>> {
    let mut read = Vec::new();
    loop {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut slots);
        if let httparse::Status::Complete(len) = parsed.parse(&read)? {
            let head = response_head(&parsed)?;
            let end = len + body_len(&head)?;
            if read.len() >= end {
                return Ok(head.map(|()| Bytes::copy_from_slice(&read[len..end])));
            }
        }
        ensure!(read.len() < MAX_RESPONSE_LEN, "the response is too long");
        if stream.read_buf(&mut read).await? == 0 {
            bail!("the connection ended within the response");
        }
    }
}

fn response_head(parsed: &httparse::Response<'_, '_>) -> anyhow::Result<Response<()>> {
    let mut head = Response::builder().status(parsed.code.unwrap_or_default());
    for field in parsed.headers.iter() {
        head = head.header(field.name, field.value);
    }
    Ok(head.body(())?)
}

fn body_len(head: &Response<()>) -> anyhow::Result<usize> {
    if head.status() == StatusCode::NO_CONTENT {
        return Ok(0);
    }
    let len = head
        .headers()
        .get(header::CONTENT_LENGTH)
        .context("the response does not say its length")?;
    Ok(len.to_str()?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::backend::{ReceivedRequest, SampleBackend};

    #[tokio::test]
    async fn a_request_arrives_as_it_is_written() {
        let backend = SampleBackend::start().await.unwrap();
        let client = DemoClient::new(&backend.address().to_string());
        let call = Call::get("/menu/../%2e%2e/orders").with_forged_headers();
        let head = client.head(&call);
        let response = client.send(&call, &head).await.unwrap();
        let received: ReceivedRequest = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(received.target, call.path);
        let sent = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()));
        assert_eq!(received.headers, sent.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_an_error_with_the_request_in_it() {
        let backend = SampleBackend::start().await.unwrap();
        let client = DemoClient::new(&backend.address().to_string());
        drop(backend);
        tokio::task::yield_now().await;
        let call = Call::get("/orders");
        let error = client.send(&call, &client.head(&call)).await.unwrap_err();
        assert!(error.to_string().contains("GET /orders"), "{error}");
    }
}
