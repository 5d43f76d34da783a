//! The HTTP/1 codec: message bodies in both directions, and the response heads of a backend (RFC
//! 9112).
//!
//! Two servers in a chain must find the same end of every message, or one client gets another's
//! response. So the rules for that end are in one module without I/O: bytes in, events out. The
//! proxy reads and writes the bytes.
//!
//! Must stay true: no received chunk extension or line end is passed on, because every body gets
//! new framing; a client's bytes are read strictly by the RFC; a backend's bytes may be untidy, but
//! must have only one reading; every byte of framing is examined once, however the bytes are split
//! into reads; the memory for a body is bounded.

mod decode;
mod encode;
mod grammar;
mod invalid_body;
mod response;
mod size_line;
mod trailers;

pub use decode::{BodyDecoder, BodyEvent, Decoded};
pub use encode::{BodyEncoder, TooLong, TooShort};
pub use invalid_body::InvalidBody;
pub use response::{
    InvalidHead, ParsedHead, ResponseFraming, parse_response, response_body, unfold,
};
pub use trailers::{InvalidTrailer, Trailers};

/// Largest `Content-Length` and largest chunk, in bytes: up to this number a 64-bit float is exact.
pub const MAX_LENGTH: u64 = 1 << 53;

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body follows the head.
    None,
    /// `Content-Length`.
    Known(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The end of the connection ends the body. Only responses have such a body.
    UntilClose,
}

/// The sender of the bytes, which decides how strictly they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Read strictly: whatever another server could read differently is an error.
    Client,
    /// Blanks after a chunk size, and any printable text as a chunk extension, are accepted too,
    /// since every reader finds the same end.
    Backend,
}

#[cfg(test)]
mod tests;
