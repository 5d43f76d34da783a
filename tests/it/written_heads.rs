//! A client of HTTP/2 whose heads are written by the test, byte for byte, and whose answers a
//! library reads: it can say what no library lets it say, and understands what it is told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use super::{
    http2::{self, Whole},
    http2_frames::{
        CONTINUATION, END_HEADERS, END_STREAM, FRAME_HEAD_LEN, HEADERS, PREFACE_LEN, frame,
        payload_len,
    },
    raw_http2::block,
};

/// Longest payload of a frame (RFC 9113 section 4.2).
const MAX_FRAME: usize = 16_384;

type Heads = Arc<Mutex<VecDeque<Vec<u8>>>>;

pub struct WrittenHeads {
    send: h2::client::SendRequest<Bytes>,
    heads: Heads,
}

impl WrittenHeads {
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let (mut from_server, to_server) = stream.into_split();
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let (library, mut to_library) = tokio::io::split(theirs);
        let heads = Heads::default();
        tokio::spawn(rewrite(library, to_server, heads.clone()));
        tokio::spawn(async move {
            drop(tokio::io::copy(&mut from_server, &mut to_library).await);
            drop(to_library.shutdown().await);
        });
        let (send, connection) = http2::within(h2::client::handshake(ours))
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        Self { send, heads }
    }

    /// Sends a head with exactly these fields, in this order, and then a body. `None`: the head is
    /// all.
    pub async fn ask(
        &self,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Whole, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        self.heads.lock().expect("a lock").push_back(block(fields));
        // The library has to know whether the answer has a body.
        let method = fields
            .iter()
            .find(|(name, _)| *name == ":method")
            .map_or("GET", |(_, value)| value);
        let method = if method == "HEAD" { method } else { "GET" };
        let (answer, mut stream) =
            send.send_request(http2::request(method, "http://h/", &[]), body.is_none())?;
        if let Some(body) = body {
            // It may have been answered already.
            drop(stream.send_data(Bytes::copy_from_slice(body), true));
        }
        http2::whole(answer.await?).await
    }
}

/// Passes frames on, with other heads.
async fn rewrite(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: OwnedWriteHalf,
    heads: Heads,
) {
    let mut preface = [0; PREFACE_LEN];
    if from.read_exact(&mut preface).await.is_err() || to.write_all(&preface).await.is_err() {
        return;
    }
    loop {
        let mut head = [0; FRAME_HEAD_LEN];
        if from.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; payload_len(&head)];
        if from.read_exact(&mut payload).await.is_err() {
            return;
        }
        let frames = match head[3] {
            HEADERS => {
                let block = heads
                    .lock()
                    .expect("a lock")
                    .pop_front()
                    .expect("a head for each request");
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                head_frames(&block, head[4] & END_STREAM, stream)
            }
            CONTINUATION => continue,
            _ => [&head[..], &payload].concat(),
        };
        if to.write_all(&frames).await.is_err() {
            return;
        }
    }
}

/// A head in as many frames as it needs.
fn head_frames(block: &[u8], end_stream: u8, stream: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let count = block.chunks(MAX_FRAME).count();
    for (at, part) in block.chunks(MAX_FRAME).enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let last = if at + 1 == count { END_HEADERS } else { 0 };
        let flags = last | if at == 0 { end_stream } else { 0 };
        out.extend(frame(kind, flags, stream, part));
    }
    out
}
