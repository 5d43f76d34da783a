//! Decodes a body: separates framing from data, and finds the end (RFC 9112 sections 6 and 7).
//!
//! Must stay true: the same bytes give the same data and the same end however they are split; after
//! an error nothing more is data.

use super::{
    BodyLength, InvalidBody, Peer, Trailers, size_line::SizeLine, trailers::TrailerSection,
};

/// What is at the front of the input: `skip` bytes of framing, which are consumed in any case, and
/// then the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    pub skip: usize,
    pub event: BodyEvent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEvent {
    /// The input is consumed, and the body goes on.
    NeedMore,
    /// Data of this length, at least one byte, starts at `skip`.
    Data(usize),
    /// The body is complete. The bytes from `skip` on are not part of the message.
    Complete,
}

/// Decodes one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    peer: Peer,
    /// Bytes of chunk extensions: in a client's whole body, or in a backend's current line.
    extension_len: u32,
    trailers: TrailerSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body of known length with this number of missing bytes, at least one.
    Known(u64),
    UntilClose,
    SizeLine(SizeLine),
    /// A chunk with this number of missing bytes, at least one.
    Chunk(u64),
    /// After the last byte of a chunk, before the CR.
    ChunkCr,
    ChunkLf,
    Trailers,
    Complete,
    Failed(InvalidBody),
}

impl BodyDecoder {
    pub fn new(length: BodyLength, peer: Peer) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Known(0) => State::Complete,
            BodyLength::Known(length) => State::Known(length),
            BodyLength::Chunked => State::SizeLine(SizeLine::new()),
            BodyLength::UntilClose => State::UntilClose,
        };
        Self {
            state,
            peer,
            extension_len: 0,
            trailers: TrailerSection::default(),
        }
    }

    /// Reads the front of `input`, which are the bytes not consumed so far. The caller then removes
    /// `skip` bytes, and bytes of the data together with a call of [`Self::consume`]. Until then
    /// the same data is returned again.
    ///
    /// An error is final.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, InvalidBody> {
        let mut skip = 0;
        loop {
            let rest = &input[skip..];
            let event = match self.state {
                State::Complete => BodyEvent::Complete,
                State::Failed(error) => return Err(error),
                _ if rest.is_empty() => BodyEvent::NeedMore,
                State::UntilClose => BodyEvent::Data(rest.len()),
                State::Known(missing) | State::Chunk(missing) => BodyEvent::Data(
                    usize::try_from(missing)
                        .unwrap_or(usize::MAX)
                        .min(rest.len()),
                ),
                State::SizeLine(_) | State::ChunkCr | State::ChunkLf | State::Trailers => {
                    skip += 1;
                    self.state = self.read(rest[0]).unwrap_or_else(State::Failed);
                    continue;
                }
            };
            return Ok(Decoded { skip, event });
        }
    }

    /// Reads one byte of framing.
    fn read(&mut self, byte: u8) -> Result<State, InvalidBody> {
        match self.state {
            State::SizeLine(mut line) => {
                Ok(match line.read(byte, self.peer, &mut self.extension_len)? {
                    None => State::SizeLine(line),
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size),
                })
            }
            State::ChunkCr if byte == b'\r' => Ok(State::ChunkLf),
            State::ChunkLf if byte == b'\n' => {
                if self.peer == Peer::Backend {
                    self.extension_len = 0;
                }
                Ok(State::SizeLine(SizeLine::new()))
            }
            State::ChunkCr | State::ChunkLf => Err(InvalidBody::ChunkEnd),
            State::Trailers if self.trailers.read(byte, self.peer)? => Ok(State::Complete),
            other => Ok(other),
        }
    }

    /// Consumes `len` bytes of the data that was returned last, at most all of it.
    pub fn consume(&mut self, len: usize) {
        let len = len as u64;
        self.state = match self.state {
            State::Known(missing) if missing <= len => State::Complete,
            State::Known(missing) => State::Known(missing - len),
            State::Chunk(missing) if missing <= len => State::ChunkCr,
            State::Chunk(missing) => State::Chunk(missing - len),
            other => other,
        };
    }

    /// The peer has closed the connection. An error, unless the body is complete or ends with the
    /// connection.
    pub fn end_of_input(&mut self) -> Result<(), InvalidBody> {
        self.state = match self.state {
            State::Complete | State::UntilClose => State::Complete,
            failed @ State::Failed(_) => failed,
            _ => State::Failed(InvalidBody::Incomplete),
        };
        if let State::Failed(error) = self.state {
            Err(error)
        } else {
            Ok(())
        }
    }

    /// Whether the body is complete and all of its data was consumed.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The trailer fields of a complete body. `None`: there were none, or they have been taken.
    pub fn take_trailers(&mut self) -> Option<Trailers> {
        if self.is_complete() {
            self.trailers.take()
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
