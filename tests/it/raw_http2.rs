//! A connection of HTTP/2 on which each frame is written by hand.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::http2_frames::{GOAWAY, HEADERS, PING, RST_STREAM, frame};

/// A connection on which each frame is written by hand.
pub struct Raw {
    pub stream: TcpStream,
    heard: Vec<u8>,
}

/// A frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Raw {
    pub fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .expect("a write");
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    /// `false`: the other side has ended the connection.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream
            .write_all(&frame(kind, flags, stream, payload))
            .is_ok()
    }

    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], last: bool) -> bool {
        self.frame(HEADERS, if last { 5 } else { 4 }, stream, &block(fields))
    }

    /// The answer to a stream: its status, or what ended it.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some(frame) = self.next() else {
                return Outcome::Ended;
            };
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    return Outcome::Status(status(&frame.payload));
                }
                RST_STREAM if frame.stream == stream => return Outcome::Reset,
                GOAWAY => return Outcome::Ended,
                _ => {}
            }
        }
    }

    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, _flags, s, t, u, v, rest @ ..] = &self.heard[..] {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([*s & 0x7f, *t, *u, *v]);
                    let frame = Frame {
                        kind: *kind,
                        stream,
                        payload: rest[..length].to_vec(),
                    };
                    self.heard.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => return None,
                Ok(read) => self.heard.extend_from_slice(&part[..read]),
                Err(fault) if fault.kind() == ErrorKind::ConnectionReset => return None,
                Err(fault) => panic!("no frame and no end: {fault}"),
            }
        }
    }

    /// Waits until the other side has heard all that was said. `false`: it has ended the
    /// connection.
    pub fn ping(&mut self) -> bool {
        if !self.frame(PING, 0, 0, b"anything") {
            return false;
        }
        loop {
            match self.next() {
                Some(Frame { kind: PING, .. }) => return true,
                Some(Frame { kind: GOAWAY, .. }) | None => return false,
                Some(_) => {}
            }
        }
    }

    /// The same on a connection that has been told to end.
    pub fn ping_through_goaway(&mut self) -> bool {
        self.frame(PING, 0, 0, b"anything")
            && std::iter::from_fn(|| self.next()).any(|frame| frame.kind == PING)
    }

    /// All that is said until the end.
    pub(super) fn text(&mut self) -> String {
        drop(self.stream.read_to_end(&mut self.heard));
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    Reset,
    Ended,
}

/// A header block of literals that are not indexed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        let mut rest = text.len();
        if rest < 127 {
            out.push(u8::try_from(rest).expect("short"));
        } else {
            out.push(127);
            rest -= 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).expect("short") | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).expect("short"));
        }
        out.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// `:status` is the first field of an answer's block, and comes by its index or as digits (RFC 7541
/// appendix A).
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        // A literal value for the name of index 8; Huffman codes of digits are not worth a table.
        _ => 0,
    }
}

pub const PLAIN: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/open/x"),
    (":authority", "shop.example"),
];

/// A good request but for one field.
pub(super) fn but(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    PLAIN
        .iter()
        .map(|&(known, said)| {
            if known == name {
                (name, value)
            } else {
                (known, said)
            }
        })
        .collect()
}

/// A good request and one more field.
pub(super) fn and(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [&PLAIN[..], &[(name, value)]].concat()
}
