//! Why a body cannot be read: the errors of [`BodyDecoder`](super::BodyDecoder) and of its parts.

/// Why bytes are not a valid or complete body. Contains none of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    #[error("a chunk size is not a hexadecimal number")]
    ChunkSize,
    #[error("a chunk size is too large")]
    ChunkSizeTooLarge,
    #[error("a chunk extension is not valid")]
    ChunkExtension,
    #[error("the chunk extensions are too long")]
    ChunkExtensionsTooLong,
    #[error("a line of a chunked body does not end in CRLF")]
    LineEnd,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("a trailer field is not valid")]
    Trailer,
    #[error("there are too many trailer fields")]
    TooManyTrailers,
    #[error("the trailer section is too long")]
    TrailersTooLong,
    #[error("the connection ended before the body did")]
    Incomplete,
}
