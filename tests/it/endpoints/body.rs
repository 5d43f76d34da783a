//! A body as one side reads or writes it.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::oneshot;

use super::{
    Broken,
    wire::{Framing, READ_SIZE, Wire, parse_head},
};

/// A body as it comes.
#[derive(Debug)]
pub struct BodyReader {
    how: Reading,
    /// Dropped once the body is complete.
    complete: Option<oneshot::Sender<()>>,
    pub trailers: HeaderMap,
}

#[derive(Debug)]
enum Reading {
    Http1(Arc<Wire>, Framing),
    Http2(h2::RecvStream),
}

impl BodyReader {
    pub(super) fn http1(
        wire: &Arc<Wire>,
        framing: Framing,
        complete: Option<oneshot::Sender<()>>,
    ) -> Self {
        let framing = if framing == Framing::Length(0) {
            Framing::Complete
        } else {
            framing
        };
        let mut reader = Self {
            how: Reading::Http1(wire.clone(), framing),
            complete,
            trailers: HeaderMap::new(),
        };
        if framing == Framing::Complete {
            reader.tell_complete();
        }
        reader
    }

    pub(super) fn http2(stream: h2::RecvStream) -> Self {
        Self {
            how: Reading::Http2(stream),
            complete: None,
            trailers: HeaderMap::new(),
        }
    }

    fn tell_complete(&mut self) {
        if let Some(complete) = self.complete.take() {
            // The connection may have ended.
            let _ = complete.send(());
        }
    }

    /// The next part. `None`: the body is whole.
    pub async fn part(&mut self) -> Result<Option<Bytes>, Broken> {
        let part = match &mut self.how {
            Reading::Http1(wire, framing) => next_part(wire, framing, &mut self.trailers).await?,
            Reading::Http2(stream) => loop {
                let Some(part) = stream.data().await.transpose()? else {
                    self.trailers = stream.trailers().await?.unwrap_or_default();
                    break None;
                };
                stream.flow_control().release_capacity(part.len())?;
                if !part.is_empty() {
                    break Some(part);
                }
            },
        };
        if part.is_none() {
            self.tell_complete();
        }
        Ok(part)
    }

    /// Reads to the end, whatever comes: its length, where it is whole.
    pub async fn rest(&mut self) -> Result<usize, Broken> {
        let mut length = 0;
        while let Some(part) = self.part().await? {
            length += part.len();
        }
        Ok(length)
    }

    /// Reads to the end of a short body.
    pub async fn text(&mut self) -> Result<String, Broken> {
        let mut all = Vec::new();
        while let Some(part) = self.part().await? {
            all.extend_from_slice(&part);
        }
        Ok(String::from_utf8(all)?)
    }
}

async fn next_part(
    wire: &Wire,
    framing: &mut Framing,
    trailers: &mut HeaderMap,
) -> Result<Option<Bytes>, Broken> {
    let short = || Broken("it ends within its body".to_owned());
    loop {
        match *framing {
            Framing::Complete => return Ok(None),
            Framing::UntilEnd => {
                let part = wire.some(READ_SIZE).await?;
                return Ok(Some(part).filter(|part| !part.is_empty()));
            }
            Framing::Length(left) => {
                let part = wire.some(left).await?;
                *framing = if part.len() == left {
                    Framing::Complete
                } else {
                    Framing::Length(left - part.len())
                };
                return if part.is_empty() {
                    Err(short())
                } else {
                    Ok(Some(part))
                };
            }
            Framing::BeforeChunk => {
                let line = wire.line().await?;
                let size = usize::from_str_radix(&line, 16)
                    .map_err(|_| Broken(format!("no chunk size: {line:?}")))?;
                *framing = Framing::Chunk(size);
                if size == 0 {
                    loop {
                        let line = wire.line().await?;
                        if line.is_empty() {
                            break;
                        }
                        let field = format!("\r\n{line}");
                        trailers.extend(parse_head(&field).1);
                    }
                    *framing = Framing::Complete;
                }
            }
            Framing::Chunk(left) => {
                let part = wire.some(left).await?;
                if part.is_empty() {
                    return Err(short());
                }
                *framing = Framing::Chunk(left - part.len());
                if part.len() == left {
                    let end = wire.line().await?;
                    assert_eq!(end, "", "the end of a chunk");
                    *framing = Framing::BeforeChunk;
                }
                return Ok(Some(part));
            }
        }
    }
}

/// A body to be written.
#[derive(Debug)]
pub enum BodyWriter {
    /// `true`: in chunks.
    Http1(Arc<Wire>, bool),
    Http2(h2::SendStream<Bytes>),
}

impl BodyWriter {
    /// Returns when all of it is the system's, or the peer's window has taken it.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Broken> {
        assert!(!bytes.is_empty(), "an empty chunk would be the end");
        match self {
            Self::Http1(wire, false) => wire.write(&bytes).await,
            Self::Http1(wire, true) => {
                let size = format!("{:x}\r\n", bytes.len());
                wire.write(&[size.as_bytes(), &bytes, b"\r\n"].concat())
                    .await
            }
            Self::Http2(stream) => {
                while !bytes.is_empty() {
                    stream.reserve_capacity(bytes.len());
                    let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await;
                    let capacity =
                        capacity.ok_or_else(|| Broken("the stream is closed".to_owned()))??;
                    stream.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
                }
                Ok(())
            }
        }
    }

    pub async fn finish(&mut self) -> Result<(), Broken> {
        match self {
            Self::Http1(_, false) => Ok(()),
            Self::Http1(wire, true) => wire.write(b"0\r\n\r\n").await,
            Self::Http2(stream) => Ok(stream.send_data(Bytes::new(), true)?),
        }
    }

    /// With a trailer field; HTTP/2 alone.
    pub fn finish_with(&mut self, name: &'static str, value: &'static str) -> Result<(), Broken> {
        let Self::Http2(stream) = self else {
            panic!("no trailers are written in chunks here")
        };
        let fields = [(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )];
        Ok(stream.send_trailers(fields.into_iter().collect())?)
    }

    pub fn reset(&mut self, reason: Reason) {
        let Self::Http2(stream) = self else {
            panic!("HTTP/1.1 has no streams")
        };
        stream.send_reset(reason);
    }

    /// Waits until the peer wants no more of it: it has reset the stream, or its connection has
    /// ended.
    pub async fn peer_gone(&mut self) {
        match self {
            Self::Http1(wire, _) => wire.end().await,
            Self::Http2(stream) => drop(poll_fn(|cx| stream.poll_reset(cx)).await),
        }
    }
}
