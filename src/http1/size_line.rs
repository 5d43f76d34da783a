//! The line before each chunk: its size, and extensions, which are ignored and not passed on (RFC
//! 9112 section 7.1).
//!
//! Servers disagree on everything in this line but the digits, and such disagreements were used for
//! request smuggling (CVE-2025-22871, CVE-2025-55315). So there is one state for each position in
//! the grammar, and each byte is examined once.

use super::{
    InvalidBody, MAX_LENGTH, Peer, grammar::is_blank, grammar::is_text, grammar::is_token,
};

/// Most hexadecimal digits of a size. Any more would be leading zeros, or too large.
const MAX_DIGITS: u8 = 16;

/// Most bytes of extensions: for a client in its whole body (CVE-2023-39326), for a backend in one
/// line, since a backend may stream for days.
pub(super) const MAX_EXTENSION_LEN: u32 = 16 * 1024;

/// A partly read size line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeLine {
    size: u64,
    digits: u8,
    position: Position,
}

/// The position in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Size,
    /// `BWS` before a `;`.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// `BWS` before a `=` or the next `;`.
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    /// After a backslash in a quoted string.
    QuotedPair,
    AfterQuoted,
    /// An extension of a backend, which may be any text.
    Text,
    /// After the CR.
    Lf,
}

impl SizeLine {
    pub(super) const fn new() -> Self {
        Self {
            size: 0,
            digits: 0,
            position: Position::Size,
        }
    }

    /// Reads one byte. Returns the size after the last byte of the line; 0 for the last chunk.
    ///
    /// `extension_len`: length of the extensions so far, see [`MAX_EXTENSION_LEN`].
    pub(super) fn read(
        &mut self,
        byte: u8,
        peer: Peer,
        extension_len: &mut u32,
    ) -> Result<Option<u64>, InvalidBody> {
        if self.position == Position::Lf {
            return if byte == b'\n' {
                Ok(Some(self.size))
            } else {
                Err(InvalidBody::LineEnd)
            };
        }
        if byte == b'\n' {
            return Err(if self.digits == 0 {
                InvalidBody::ChunkSize
            } else {
                InvalidBody::LineEnd
            });
        }
        self.position = match self.position {
            Position::Size => self.read_size(byte, peer)?,
            in_extension => {
                next_in_extension(in_extension, byte, peer).ok_or(InvalidBody::ChunkExtension)?
            }
        };
        if !matches!(self.position, Position::Size | Position::Lf) {
            *extension_len += 1;
            if *extension_len > MAX_EXTENSION_LEN {
                return Err(InvalidBody::ChunkExtensionsTooLong);
            }
        }
        Ok(None)
    }

    fn read_size(&mut self, byte: u8, peer: Peer) -> Result<Position, InvalidBody> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(InvalidBody::ChunkSize),
            b'\r' => return Ok(Position::Lf),
            b';' => return Ok(after_semicolon(peer)),
            b' ' | b'\t' => return Ok(Position::BeforeSemicolon),
            _ => return Err(InvalidBody::ChunkSize),
        };
        // Cannot overflow: a size of at most `MAX_LENGTH` has room for one more digit.
        self.size = (self.size << 4) | u64::from(digit);
        self.digits += 1;
        if self.size > MAX_LENGTH || self.digits > MAX_DIGITS {
            return Err(InvalidBody::ChunkSizeTooLarge);
        }
        Ok(Position::Size)
    }
}

const fn after_semicolon(peer: Peer) -> Position {
    match peer {
        Peer::Client => Position::BeforeName,
        Peer::Backend => Position::Text,
    }
}

/// The next position in the grammar of `chunk-ext` (RFC 9112 section 7.1.1). `None`: the byte is
/// invalid.
fn next_in_extension(position: Position, byte: u8, peer: Peer) -> Option<Position> {
    let next = match (position, byte) {
        (Position::BeforeSemicolon, b'\r') if peer == Peer::Backend => Position::Lf,
        (Position::BeforeSemicolon, _) if is_blank(byte) => Position::BeforeSemicolon,
        (Position::BeforeSemicolon, b';') => after_semicolon(peer),
        (Position::BeforeName, _) if is_blank(byte) => Position::BeforeName,
        (Position::BeforeName | Position::Name, _) if is_token(byte) => Position::Name,
        (Position::Name | Position::AfterName, b'=') => Position::BeforeValue,
        (Position::Name | Position::AfterName, b';') => Position::BeforeName,
        (Position::Name | Position::AfterName, _) if is_blank(byte) => Position::AfterName,
        (Position::BeforeValue, _) if is_blank(byte) => Position::BeforeValue,
        (Position::BeforeValue, b'"') => Position::Quoted,
        (Position::BeforeValue | Position::Value, _) if is_token(byte) => Position::Value,
        (Position::Quoted, b'"') => Position::AfterQuoted,
        (Position::Quoted, b'\\') => Position::QuotedPair,
        (Position::Quoted | Position::QuotedPair, _) if is_text(byte) => Position::Quoted,
        (Position::Value | Position::AfterQuoted, b';') => Position::BeforeName,
        (Position::Value | Position::AfterQuoted, _) if is_blank(byte) => Position::BeforeSemicolon,
        (Position::Name | Position::Value | Position::AfterQuoted | Position::Text, b'\r') => {
            Position::Lf
        }
        (Position::Text, _) if is_text(byte) => Position::Text,
        _ => return None,
    };
    Some(next)
}
