//! Reads a body: what of the bytes is framing, what is data, and where the body ends (RFC 9112
//! sections 6 and 7).
//!
//! Must stay true: the same bytes give the same data and the same end however they are split; after
//! an error nothing more is data.

use super::{
    BodyLength, InvalidBody, Peer, Trailers, size_line::SizeLine, trailers::TrailerSection,
};

/// The front of the input: `skip` bytes of framing, which are used up whatever the event, and then
/// the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    pub skip: usize,
    pub event: BodyEvent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEvent {
    /// The input has been used up, and the body goes on.
    NeedMore,
    /// So many bytes of data, at least one, begin at `skip`.
    Data(usize),
    /// The body is whole. What begins at `skip` is not part of the message.
    Complete,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    peer: Peer,
    /// Bytes of chunk extensions: of a client's whole body, of a backend's present line.
    extension_len: u32,
    trailers: TrailerSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body of known length that lacks so many bytes, at least one.
    Known(u64),
    UntilClose,
    SizeLine(SizeLine),
    /// A chunk that lacks so many bytes, at least one.
    Chunk(u64),
    /// Between the last byte of a chunk and its CR.
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

    /// Reads the front of `input`, the bytes that the caller has not used up yet. The caller then
    /// removes `skip` bytes, and those of the data that it takes, which it says with
    /// [`Self::take_data`]. Until then the same data is named again.
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

    /// Uses up `len` bytes of the data that was named last. It may be fewer than were named, never
    /// more.
    pub fn take_data(&mut self, len: usize) {
        let len = len as u64;
        self.state = match self.state {
            State::Known(missing) if missing <= len => State::Complete,
            State::Known(missing) => State::Known(missing - len),
            State::Chunk(missing) if missing <= len => State::ChunkCr,
            State::Chunk(missing) => State::Chunk(missing - len),
            other => other,
        };
    }

    /// The peer sends nothing more. An error unless the body is whole, or ends with the connection.
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

    /// Whether the body is whole and all of its data was taken.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The trailer fields of a whole body. `None`: there were none, or they have been taken.
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
