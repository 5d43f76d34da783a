//! Frames a body for sending (RFC 9112 sections 6 and 7).
//!
//! Must stay true: a body ends once, and never by an empty part, whose size line would be that of
//! the last chunk; a body of known length is never longer than announced, and cannot be finished
//! before it is complete.

use super::{BodyLength, Trailers};

/// The body is longer than the head announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is longer than announced")]
pub struct TooLong;

/// The body is shorter than the head announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is shorter than announced")]
pub struct TooShort;

/// Frames one body.
#[derive(Debug)]
pub struct BodyEncoder {
    state: State,
    /// A part was started and not ended.
    in_part: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes that may still follow.
    Known(u64),
    Chunked,
    UntilClose,
    Finished,
}

impl BodyEncoder {
    pub const fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::None => State::Known(0),
            BodyLength::Known(length) => State::Known(length),
            BodyLength::Chunked => State::Chunked,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self {
            state,
            in_part: false,
        }
    }

    /// Starts a part of exactly `len` bytes: appends the framing before it to `out`. The caller
    /// then sends the part, and ends it with [`Self::end_part`]. An empty part has no effect.
    pub fn begin_part(&mut self, len: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
        debug_assert!(!self.in_part, "parts do not overlap");
        if len == 0 {
            return Ok(());
        }
        match &mut self.state {
            State::Known(missing) => *missing = missing.checked_sub(len as u64).ok_or(TooLong)?,
            State::Chunked => push_size_line(len, out),
            State::UntilClose => {}
            State::Finished => return Err(TooLong),
        }
        self.in_part = true;
        Ok(())
    }

    /// Ends the current part: appends the framing after it to `out`.
    pub fn end_part(&mut self, out: &mut Vec<u8>) {
        if self.in_part && self.state == State::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        self.in_part = false;
    }

    /// Ends the body: appends the framing after it to `out`. Only a chunked body has trailers; for
    /// others they are dropped. A second call appends nothing.
    pub fn finish(
        &mut self,
        trailers: Option<&Trailers>,
        out: &mut Vec<u8>,
    ) -> Result<(), TooShort> {
        if self.in_part {
            return Err(TooShort);
        }
        match self.state {
            State::Known(0) | State::UntilClose | State::Finished => {}
            State::Known(_) => return Err(TooShort),
            State::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flat_map(Trailers::iter) {
                    for part in [name, b": ", value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.state = State::Finished;
        Ok(())
    }

    /// Whether [`Self::finish`] has succeeded.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }
}

fn push_size_line(len: usize, out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let first = len.checked_ilog2().unwrap_or(0) / 4;
    for place in (0..=first).rev() {
        out.push(DIGITS[(len >> (4 * place)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
