//! A connection of HTTP/1.1, and where a message on it ends.

use std::{
    io::ErrorKind,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::{net::TcpStream, sync::watch};

use super::{BodyLength, Broken};

pub(super) const READ_SIZE: usize = 64 * 1024;

/// A connection of HTTP/1.1, and what has been read of it too early.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Mutex<BytesMut>,
    ended: watch::Sender<bool>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            unread: Mutex::default(),
            ended: watch::Sender::new(false),
        })
    }

    /// Waits until whoever reads has come to its end.
    pub(super) async fn end(&self) {
        // It cannot fail while this lives.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Reads what is there. `false`: there is nothing more.
    async fn fill(&self) -> Result<bool, Broken> {
        let mut part = BytesMut::with_capacity(READ_SIZE);
        let read = loop {
            match self
                .stream
                .readable()
                .await
                .and_then(|()| self.stream.try_read_buf(&mut part))
            {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => break read,
            }
        };
        if !matches!(read, Ok(1..)) {
            self.ended.send_replace(true);
        }
        self.unread.lock().expect("a lock").extend_from_slice(&part);
        Ok(read? > 0)
    }

    /// The bytes up to `end`, which is taken away. `None`: it has ended before the first of them.
    pub(super) async fn until(&self, end: &[u8]) -> Result<Option<String>, Broken> {
        loop {
            {
                let mut unread = self.unread.lock().expect("a lock");
                if let Some(at) = unread.windows(end.len()).position(|window| window == end) {
                    let text = unread.split_to(at);
                    unread.advance(end.len());
                    return Ok(Some(String::from_utf8(text.to_vec())?));
                }
            }
            if !self.fill().await? {
                let rest = self.unread.lock().expect("a lock");
                return if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(Broken(format!("it ends in {}", rest.escape_ascii())))
                };
            }
        }
    }

    pub(super) async fn line(&self) -> Result<String, Broken> {
        self.until(b"\r\n")
            .await?
            .ok_or_else(|| Broken("it ends where a line should come".to_owned()))
    }

    /// So many bytes at most, at least one. Empty: it has ended.
    pub(super) async fn some(&self, most: usize) -> Result<Bytes, Broken> {
        if self.unread.lock().expect("a lock").is_empty() && !self.fill().await? {
            return Ok(Bytes::new());
        }
        let mut unread = self.unread.lock().expect("a lock");
        let length = most.min(unread.len());
        Ok(unread.split_to(length).freeze())
    }

    pub(super) async fn write(&self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// First line and fields of a head.
pub(super) fn parse_head(text: &str) -> (&str, HeaderMap) {
    let (line, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let mut fields = HeaderMap::new();
    for field in rest.lines() {
        let (name, value) = field
            .split_once(": ")
            .unwrap_or_else(|| panic!("not a field: {field:?}"));
        fields.append(
            name.parse::<HeaderName>().expect("a name"),
            value.parse::<HeaderValue>().expect("a value"),
        );
    }
    (line, fields)
}

pub(super) fn body_length(fields: &HeaderMap, otherwise: Framing) -> Framing {
    match (
        fields.get(header::CONTENT_LENGTH),
        fields.get(header::TRANSFER_ENCODING),
    ) {
        (Some(length), None) => {
            Framing::Length(length.to_str().expect("text").parse().expect("a length"))
        }
        (None, Some(coding)) if coding == "chunked" => Framing::BeforeChunk,
        (None, None) => otherwise,
        both => panic!("framed by {both:?}"),
    }
}

/// Where a reader of HTTP/1.1 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(usize),
    BeforeChunk,
    /// So many bytes of a chunk are left.
    Chunk(usize),
    UntilEnd,
    Complete,
}

pub(super) fn framing_field(body: BodyLength) -> String {
    match body {
        BodyLength::None => String::new(),
        BodyLength::Known(length) => format!("Content-Length: {length}\r\n"),
        BodyLength::Unknown => "Transfer-Encoding: chunked\r\n".to_owned(),
    }
}
