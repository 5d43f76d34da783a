//! What both ends of a script share: an HTTP/1 connection, and bodies on an HTTP/2 stream.

use std::{
    io,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::Shutdown,
};
use tokio::net::UnixStream;

use super::{
    ledger::Message,
    wire::{Event, Reader},
};

/// Size of a small socket buffer.
const SMALL_BUFFER: usize = 8 * 1024;

/// Makes the socket buffers small.
pub(super) fn keep_small(socket: &UnixStream) {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, SMALL_BUFFER)
        .expect("a smaller buffer");
}

/// How much an end may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(pub(super) usize);

impl Room {
    pub(super) const ALL: Self = Self(usize::MAX);

    pub(super) fn is_unlimited(self) -> bool {
        self.0 == usize::MAX
    }

    /// Allows `size` bytes more, or all from now on, or none.
    pub(super) fn set(&mut self, size: usize) {
        self.0 = if matches!(size, 0 | usize::MAX) || self.is_unlimited() {
            size
        } else {
            self.0.saturating_add(size)
        };
    }

    fn use_up(&mut self, size: usize) {
        if !self.is_unlimited() {
            self.0 = self.0.saturating_sub(size);
        }
    }
}

/// An HTTP/1 connection that sends what the other side accepts, and reads what it may.
#[derive(Debug)]
pub(super) struct Http1Link {
    /// `None`: this side has closed it.
    socket: Option<UnixStream>,
    out: Vec<u8>,
    written: usize,
    /// This side ends after the pending bytes.
    ends: bool,
    pub(super) reader: Reader,
    /// The other side has closed its own.
    pub(super) is_over: bool,
}

impl Http1Link {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket: Some(socket),
            out: Vec::new(),
            written: 0,
            ends: false,
            reader: Reader::new(),
            is_over: false,
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Puts part of a body. Empty parts are skipped.
    pub(super) fn put_part(&mut self, part: &[u8], is_chunked: bool) {
        if is_chunked && !part.is_empty() {
            self.put(format!("{:x}\r\n", part.len()).as_bytes());
            self.put(part);
            self.put(b"\r\n");
        } else {
            self.put(part);
        }
    }

    pub(super) fn end_side(&mut self) {
        self.ends = true;
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    /// Whether the other side has closed its own, even with unread bytes before that, or this side
    /// is closed.
    pub(super) fn has_ended(&self) -> bool {
        self.is_over
            || self.socket.as_ref().is_none_or(|socket| {
                let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
                rustix::event::poll(&mut fds, Some(&Timespec::default()))
                    .is_ok_and(|ready| ready > 0)
            })
    }

    /// Sends and reads without waiting. Returns whether there was progress.
    pub(super) fn pump(&mut self, room: &mut Room) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let mut moved = false;
        while self.written < self.out.len() {
            match socket.try_write(&self.out[self.written..]) {
                Ok(count) => (self.written, moved) = (self.written + count, true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The other side reads no more.
                Err(_) => self.written = self.out.len(),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            if std::mem::take(&mut self.ends) {
                // It fails if the other side has disconnected.
                let _ = rustix::net::shutdown(socket, Shutdown::Write);
                moved = true;
            }
        }
        let mut buffer = [0; 16 * 1024];
        while room.0 > 0 && !self.is_over {
            let most = buffer.len().min(room.0);
            match socket.try_read(&mut buffer[..most]) {
                Ok(count @ 1..) => {
                    room.use_up(count);
                    self.reader.input.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => self.is_over = true,
            }
            moved = true;
        }
        moved
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        self.reader.next()
    }
}

/// The body that is sent on an HTTP/2 stream.
#[derive(Debug)]
pub(super) struct Http2Sender {
    stream: SendStream<Bytes>,
    sent: usize,
    is_over: bool,
}

impl Http2Sender {
    pub(super) fn new(stream: SendStream<Bytes>, is_over: bool) -> Self {
        Self {
            stream,
            sent: 0,
            is_over,
        }
    }

    pub(super) fn reset(&mut self) {
        self.stream.send_reset(h2::Reason::CANCEL);
        self.is_over = true;
    }

    /// Whether the other side has reset the stream.
    pub(super) fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.poll_reset(cx).is_ready()
    }

    /// Whether its end has been sent, or the other side accepts no more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends what the other side accepts. Returns whether there was progress.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>, message: &Message) -> bool {
        let mut moved = false;
        while !self.is_over {
            let rest = message.unsent(self.sent);
            if rest.is_empty() {
                if message.ended {
                    self.is_over = true;
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return true;
                }
                break;
            }
            self.stream.reserve_capacity(rest.len());
            if self.stream.capacity() == 0 {
                match self.stream.poll_capacity(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(_))) => {}
                    // The other side accepts no more.
                    Poll::Ready(_) => self.is_over = true,
                }
                continue;
            }
            let length = self.stream.capacity().min(rest.len());
            self.is_over = self
                .stream
                .send_data(Bytes::from_static(&rest[..length]), false)
                .is_err();
            self.sent += length;
            moved = true;
        }
        moved
    }
}

/// The next event of a body on an HTTP/2 stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Nothing,
    Some,
    /// It has ended, complete or not.
    Over,
}

/// Reads as much of a body as it may.
pub(super) fn receive(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
    room: &mut Room,
    message: &mut Message,
) -> Received {
    let mut received = Received::Nothing;
    // The end is read in any case.
    while room.0 > 0 || stream.is_end_stream() {
        match stream.poll_data(cx) {
            Poll::Pending => break,
            Poll::Ready(Some(Ok(part))) => {
                message.take(&part);
                room.use_up(part.len());
                let _ = stream.flow_control().release_capacity(part.len());
                received = Received::Some;
            }
            Poll::Ready(Some(Err(_))) => return Received::Over,
            Poll::Ready(None) => {
                match stream.poll_trailers(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Err(_)) => {}
                    Poll::Ready(Ok(trailers)) => {
                        assert!(
                            trailers.is_none_or(|trailers: HeaderMap| trailers.is_empty()),
                            "trailers that were not sent"
                        );
                        message.complete();
                    }
                }
                return Received::Over;
            }
        }
    }
    received
}
