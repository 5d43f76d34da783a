//! Trailer fields, which may follow the last chunk (RFC 9112 section 7.1.2).
//!
//! Must stay true: a name is a token, and a value has no control character other than the tab and
//! no surrounding blanks, so that no field can turn into two lines or into another field when it is
//! written.

use std::fmt;

use super::{
    InvalidBody, Peer,
    grammar::{is_blank, is_text, is_token, trim_blanks},
};

/// Most bytes of a trailer section.
pub(super) const MAX_TRAILERS_LEN: u32 = 16 * 1024;

/// Most trailer fields.
pub(super) const fn max_trailers(peer: Peer) -> usize {
    match peer {
        Peer::Client => 100,
        Peer::Backend => 256,
    }
}

/// Trailer fields in order, with their names in the received case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trailers {
    /// Names and values, concatenated.
    bytes: Vec<u8>,
    fields: Vec<FieldEnd>,
}

/// Where the name and the value of a field end. The name starts at the end of the previous field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FieldEnd {
    name: usize,
    value: usize,
}

/// A field that cannot be written as one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a trailer field is not a token, or its value has a control character")]
pub struct InvalidTrailer;

impl Trailers {
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            fields: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Names and values, in order, with duplicates.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.fields.iter().map(move |end| {
            let field = (
                &self.bytes[start..end.name],
                &self.bytes[end.name..end.value],
            );
            start = end.value;
            field
        })
    }

    /// Appends a field, without blanks around its value.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidTrailer> {
        if name.is_empty()
            || !name.iter().all(|&byte| is_token(byte))
            || !value.iter().all(|&byte| is_text(byte))
        {
            return Err(InvalidTrailer);
        }
        self.bytes.extend_from_slice(name);
        let name = self.bytes.len();
        self.bytes.extend_from_slice(trim_blanks(value));
        self.fields.push(FieldEnd {
            name,
            value: self.bytes.len(),
        });
        Ok(())
    }

    /// Removes the fields for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let (mut start, mut kept) = (0, 0);
        let bytes = &mut self.bytes;
        self.fields.retain_mut(|end| {
            let FieldEnd { name, value } = *end;
            let keeps = keep(&bytes[start..name], &bytes[name..value]);
            if keeps {
                bytes.copy_within(start..value, kept);
                *end = FieldEnd {
                    name: kept + (name - start),
                    value: kept + (value - start),
                };
                kept = end.value;
            }
            start = value;
            keeps
        });
        bytes.truncate(kept);
    }
}

/// Values may be personal data, so they are not printed.
impl fmt::Debug for Trailers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trailers")
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

/// A partly read trailer section. Allocates with the first field.
#[derive(Debug, Default)]
pub(super) struct TrailerSection {
    trailers: Option<Box<Trailers>>,
    len: u32,
    position: Position,
}

/// The position in the section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
    #[default]
    LineStart,
    Name,
    BeforeValue,
    Value,
    /// After the CR of a field line.
    FieldLf,
    /// After the CR of the empty line.
    LastLf,
}

impl TrailerSection {
    /// Reads one byte. `true`: it was the last one of the section.
    pub(super) fn read(&mut self, byte: u8, peer: Peer) -> Result<bool, InvalidBody> {
        self.len += 1;
        if self.len > MAX_TRAILERS_LEN {
            return Err(InvalidBody::TrailersTooLong);
        }
        self.position = match (self.position, byte) {
            (Position::LastLf, b'\n') => return Ok(true),
            (Position::FieldLf, b'\n') => {
                self.end_field();
                Position::LineStart
            }
            (Position::FieldLf | Position::LastLf, _) | (_, b'\n') => {
                return Err(InvalidBody::LineEnd);
            }
            (Position::LineStart, b'\r') => Position::LastLf,
            (Position::LineStart, _) if is_token(byte) => {
                if self
                    .trailers
                    .as_ref()
                    .is_some_and(|trailers| trailers.len() >= max_trailers(peer))
                {
                    return Err(InvalidBody::TooManyTrailers);
                }
                self.push(byte);
                Position::Name
            }
            (Position::Name, b':') => {
                self.end_name();
                Position::BeforeValue
            }
            (Position::Name, _) if is_token(byte) => {
                self.push(byte);
                Position::Name
            }
            (Position::BeforeValue | Position::Value, b'\r') => Position::FieldLf,
            (Position::BeforeValue, _) if is_blank(byte) => Position::BeforeValue,
            (Position::BeforeValue | Position::Value, _) if is_text(byte) => {
                self.push(byte);
                Position::Value
            }
            (Position::LineStart | Position::Name | Position::BeforeValue | Position::Value, _) => {
                return Err(InvalidBody::Trailer);
            }
        };
        Ok(false)
    }

    /// The fields. `None`: there were none.
    pub(super) fn take(&mut self) -> Option<Trailers> {
        self.trailers.take().map(|trailers| *trailers)
    }

    fn push(&mut self, byte: u8) {
        self.trailers.get_or_insert_default().bytes.push(byte);
    }

    fn end_name(&mut self) {
        if let Some(trailers) = &mut self.trailers {
            let name = trailers.bytes.len();
            trailers.fields.push(FieldEnd { name, value: name });
        }
    }

    fn end_field(&mut self) {
        if let Some(trailers) = &mut self.trailers
            && let Some(end) = trailers.fields.last_mut()
        {
            let blanks = trailers.bytes[end.name..]
                .iter()
                .rev()
                .take_while(|&&byte| is_blank(byte))
                .count();
            end.value = trailers.bytes.len() - blanks;
            trailers.bytes.truncate(end.value);
        }
    }
}

#[cfg(test)]
mod tests;
