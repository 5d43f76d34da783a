//! A strict HTTP/1 reader for both ends of a script: it accepts what RFC 9112 requires, and nothing
//! that it merely tolerates.

use bytes::{Bytes, BytesMut};

/// The next event.
#[derive(Debug)]
pub(super) enum Event {
    /// [`Reader::begin_body`] must be called next.
    Head(Head),
    Data(Bytes),
    End,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The framing in the fields. `None`: there is none.
    pub(super) fn body(&self) -> Option<Body> {
        match (
            &self.values("transfer-encoding")[..],
            &self.values("content-length")[..],
        ) {
            ([], []) => None,
            (["chunked"], []) => Some(Body::Chunked),
            ([], [length]) => Some(Body::Length(length.parse().expect("a length"))),
            both => panic!("two framings: {both:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(usize),
    Chunked,
}

#[derive(Debug)]
enum State {
    Head,
    /// Missing bytes of the body.
    Length(usize),
    ChunkSize,
    Chunk(usize),
    /// After the data of a chunk, or after the last chunk.
    ChunkEnd(bool),
}

/// Reads the messages on one connection, and panics if they are invalid.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) input: BytesMut,
    state: State,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            input: BytesMut::new(),
            state: State::Head,
        }
    }

    pub(super) fn begin_body(&mut self, body: Body) {
        self.state = match body {
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::ChunkSize,
        };
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            match self.state {
                State::Head => return self.head().map(Event::Head),
                State::Length(0) => {
                    self.state = State::Head;
                    return Some(Event::End);
                }
                State::Length(left) | State::Chunk(left) => {
                    let length = left.min(self.input.len());
                    if length == 0 {
                        return None;
                    }
                    let left = left - length;
                    self.state = match self.state {
                        State::Length(_) => State::Length(left),
                        _ if left == 0 => State::ChunkEnd(false),
                        _ => State::Chunk(left),
                    };
                    return Some(Event::Data(self.input.split_to(length).freeze()));
                }
                State::ChunkSize => {
                    let size = self.line()?;
                    let size = usize::from_str_radix(&size, 16)
                        .unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
                    self.state = if size == 0 {
                        State::ChunkEnd(true)
                    } else {
                        State::Chunk(size)
                    };
                }
                State::ChunkEnd(is_last) => {
                    assert_eq!(self.line()?, "", "the end of a chunk");
                    self.state = if is_last {
                        State::Length(0)
                    } else {
                        State::ChunkSize
                    };
                }
            }
        }
    }

    /// A line, without its line end.
    fn line(&mut self) -> Option<String> {
        let end = self.input.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.input.split_to(end + 2);
        let line = String::from_utf8(line[..end].to_vec()).expect("text");
        assert!(!line.contains(['\r', '\n', '\0']), "not one line: {line:?}");
        Some(line)
    }

    fn head(&mut self) -> Option<Head> {
        self.input.windows(4).position(|end| end == b"\r\n\r\n")?;
        let line = self.line()?;
        let mut fields = Vec::new();
        loop {
            let field = self.line()?;
            if field.is_empty() {
                return Some(Head { line, fields });
            }
            let (name, value) = field
                .split_once(": ")
                .unwrap_or_else(|| panic!("no field: {field:?}"));
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(
                !name.is_empty() && name.bytes().all(is_token),
                "no name: {field:?}"
            );
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
}
