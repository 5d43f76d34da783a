//! Reads and writes HTTP/1 messages on a connection, for the codec of [`crate::http1`], which does
//! no I/O.
//!
//! Buffers are bounded: a reader reads on only when its last part has been consumed, and a writer
//! gathers small parts and writes large ones without copying.

use std::{
    io::{self, IoSlice},
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::{
    http1::{
        BodyDecoder, BodyEncoder, BodyEvent, BodyLength, Decoded, InvalidBody, Peer, Trailers,
    },
    policy,
};

/// Bytes of a body that are read at once.
const READ_SIZE: usize = 16 * 1024;
/// Parts are gathered up to this number of bytes before they are written.
const GATHER_SIZE: usize = 16 * 1024;

/// The next event of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyPart {
    /// Bytes, which [`MessageReader::part`] returns.
    Data,
    /// The end of the body. There may be trailers.
    Complete,
}

/// Why a body cannot be read to its end.
#[derive(Debug)]
pub(super) enum MessageReadError {
    /// The connection ended or failed before the end of the body.
    Closed,
    /// The framing of the body is invalid.
    Invalid,
}

impl From<InvalidBody> for MessageReadError {
    fn from(error: InvalidBody) -> Self {
        if matches!(error, InvalidBody::Incomplete) {
            Self::Closed
        } else {
            Self::Invalid
        }
    }
}

/// Reads the bodies of the messages on one connection.
#[derive(Debug)]
pub(super) struct MessageReader {
    /// Bytes that were read and not consumed. After the end of one message they belong to the next.
    pub(super) input: BytesMut,
    decoder: BodyDecoder,
    /// Length of the part at the front of `input`.
    part_len: usize,
}

impl MessageReader {
    pub(super) fn new(input: BytesMut) -> Self {
        Self {
            input,
            decoder: BodyDecoder::new(BodyLength::None, Peer::Client),
            part_len: 0,
        }
    }

    /// Starts the body of a head that has been taken from the input.
    pub(super) fn begin_body(&mut self, length: BodyLength, peer: Peer) {
        (self.decoder, self.part_len) = (BodyDecoder::new(length, peer), 0);
    }

    pub(super) fn poll_part<R>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BodyPart, MessageReadError>>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        loop {
            if self.part_len > 0 {
                return Poll::Ready(Ok(BodyPart::Data));
            }
            let Decoded { skip, event } = self.decoder.decode(&self.input)?;
            self.input.advance(skip);
            match event {
                BodyEvent::Data(length) => self.part_len = length,
                BodyEvent::Complete => return Poll::Ready(Ok(BodyPart::Complete)),
                BodyEvent::NeedMore => match ready!(poll_fill(io, cx, &mut self.input)) {
                    Ok(0) => {
                        self.decoder.end_of_input()?;
                        return Poll::Ready(Ok(BodyPart::Complete));
                    }
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(Err(MessageReadError::Closed)),
                },
            }
        }
    }

    /// What has not been consumed of the last part.
    pub(super) fn part(&self) -> &[u8] {
        &self.input[..self.part_len]
    }

    /// Marks `length` bytes of the part as passed on.
    pub(super) fn consume(&mut self, length: usize) {
        self.decoder.consume(length);
        self.input.advance(length);
        self.part_len -= length;
    }

    /// Whether the body has been read to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.part_len == 0 && self.decoder.is_complete()
    }

    pub(super) fn take_trailers(&mut self) -> Option<Trailers> {
        self.decoder.take_trailers()
    }
}

/// Converts the gate's body length to the codec's.
pub(super) const fn body_length(length: policy::BodyLength) -> BodyLength {
    match length {
        policy::BodyLength::None => BodyLength::None,
        policy::BodyLength::Length(length) => BodyLength::Known(length),
        policy::BodyLength::Unknown => BodyLength::Chunked,
    }
}

/// Appends the parts to `out`.
pub(super) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends a status line.
pub(super) fn put_status_line(out: &mut Vec<u8>, status: StatusCode, reason: &[u8]) {
    let code = status.as_str().as_bytes();
    put(out, &[b"HTTP/1.1 ", code, b" ", reason, b"\r\n"]);
}

/// Appends a field.
pub(super) fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, &[name, b": ", value, b"\r\n"]);
}

/// Appends a `Content-Length` field.
pub(super) fn put_content_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(length).as_bytes();
    put_field(out, b"Content-Length", digits);
}

/// Reads the available bytes. 0: the peer has closed its side.
pub(super) fn poll_fill<R>(
    io: &mut R,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>>
where
    R: AsyncRead + Unpin + ?Sized,
{
    if input.capacity() - input.len() < READ_SIZE / 4 {
        input.reserve(READ_SIZE);
    }
    pin!(io.read_buf(input)).poll(cx)
}

/// Writes the messages on one connection.
#[derive(Debug)]
pub(super) struct MessageWriter {
    /// Heads, framing and small parts. The bytes before `written` have been written.
    out: Vec<u8>,
    written: usize,
    encoder: BodyEncoder,
    /// Unwritten bytes of the current large part.
    part_left: usize,
    /// Everything has been written and flushed.
    flushed: bool,
}

impl MessageWriter {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::new(),
            written: 0,
            encoder: BodyEncoder::new(BodyLength::None),
            part_left: 0,
            flushed: true,
        }
    }

    /// Whether everything has been written.
    pub(super) const fn is_flushed(&self) -> bool {
        self.flushed && self.part_left == 0
    }

    /// The buffer for a head.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.flushed = false;
        &mut self.out
    }

    /// Starts the body of the message whose head has been put.
    pub(super) fn begin_body(&mut self, length: BodyLength) {
        (self.encoder, self.part_left) = (BodyEncoder::new(length), 0);
    }

    /// Writes from the front of `part`, which is not empty, and returns the number of bytes
    /// written. After `Pending` the caller must pass the same bytes again.
    pub(super) fn poll_part<W>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        part: &[u8],
    ) -> Poll<io::Result<usize>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        self.flushed = false;
        if self.part_left == 0 {
            self.encoder
                .begin_part(part.len(), &mut self.out)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            if self.out.len() + part.len() <= GATHER_SIZE {
                self.out.extend_from_slice(part);
                self.encoder.end_part(&mut self.out);
                return Poll::Ready(Ok(part.len()));
            }
            self.part_left = part.len();
        }
        let part = &part[..part.len().min(self.part_left)];
        loop {
            let waiting = &self.out[self.written..];
            let slices = [IoSlice::new(waiting), IoSlice::new(part)];
            let slices = if waiting.is_empty() {
                &slices[1..]
            } else {
                &slices[..]
            };
            let count = match ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => count,
            };
            let Some(taken) = count.checked_sub(waiting.len()) else {
                self.written += count;
                continue;
            };
            self.out.clear();
            self.written = 0;
            if taken > 0 {
                self.part_left -= taken;
                if self.part_left == 0 {
                    self.encoder.end_part(&mut self.out);
                }
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the body is shorter than announced.
    pub(super) fn finish(&mut self, trailers: Option<&Trailers>) -> io::Result<()> {
        self.flushed = false;
        self.encoder
            .finish(trailers, &mut self.out)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Flushes the buffer and frees it.
    pub(super) fn poll_flush<W>(&mut self, io: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        if !self.out.is_empty() {
            drop(mem::take(&mut self.out));
            self.written = 0;
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// A connection is reusable only when its message has been written completely.
    #[tokio::test]
    async fn a_message_is_flushed_when_all_of_it_is_written() {
        let (mut ours, mut theirs) = duplex(10);
        let mut writer = MessageWriter::new();
        assert!(writer.is_flushed());
        writer.out().extend_from_slice(b"head\r\n\r\n");
        writer.begin_body(BodyLength::Chunked);
        assert_eq!(
            poll_fn(|cx| writer.poll_part(&mut ours, cx, &[b'x'; 50]))
                .await
                .unwrap(),
            50
        );
        writer.finish(None).unwrap();
        let mut read = Vec::new();
        loop {
            let flushed = poll_fn(|cx| Poll::Ready(writer.poll_flush(&mut ours, cx))).await;
            assert_eq!(writer.is_flushed(), flushed.is_ready());
            if flushed.is_ready() {
                break;
            }
            let mut bytes = [0; 3];
            let count = theirs.read(&mut bytes).await.unwrap();
            read.extend_from_slice(&bytes[..count]);
        }
        drop(ours);
        theirs.read_to_end(&mut read).await.unwrap();
        assert!(
            read.starts_with(b"head\r\n\r\n32\r\n") && read.ends_with(b"x\r\n0\r\n\r\n"),
            "{}",
            read.escape_ascii()
        );
    }
}
