//! A backend of HTTP/2 made of single frames, for what no library sends on demand: refused streams,
//! and a GOAWAY at any moment.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::http2_frames::{
    ACK, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_LEN, GOAWAY, HEADERS, PING, PREFACE_LEN,
    RST_STREAM, SETTINGS, STATUS_200, frame, payload_len,
};

/// What has come on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The head; `true`: it is the whole request.
    Head(bool),
    /// A part of the body; `true`: the last one.
    Data(bool),
}

/// What the backend does then.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Wait,
    /// 200 with this body.
    Answer(&'static str),
    /// 200 with a body in these DATA frames, the last of which ends the stream.
    Frames(&'static [&'static str]),
    /// The same, where trailers end the stream: a literal field that is indexed nowhere, `x: y`.
    FramesAndTrailers(&'static [&'static str]),
    /// 200 with `content-length: 0` and these trailers: `x: y`.
    TrailersAfterNothing,
    /// 200 without a body.
    Head,
    /// `RST_STREAM(REFUSED_STREAM)`.
    Refuse,
    /// GOAWAY for reasons like `NO_ERROR` (0), which says that the streams up to this one before
    /// the present were processed.
    GoAway(u32),
}

/// Asked with how many heads have come so far, this one included.
pub type Script = fn(usize, Event) -> Action;

pub struct FrameBackend {
    pub address: SocketAddr,
    /// Heads that have come, of every connection.
    heads: Arc<Mutex<usize>>,
}

impl FrameBackend {
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(0));
        let counted = heads.clone();
        // It ends with the program: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counted = counted.clone();
                std::thread::spawn(move || drop(converse(stream, script, &counted)));
            }
        });
        Self { address, heads }
    }

    /// Waits until so many heads have come.
    pub fn wait_for_heads(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.heads() < count {
            assert!(Instant::now() < end, "only {} heads", self.heads());
            std::thread::yield_now();
        }
    }

    pub fn heads(&self) -> usize {
        *self.heads.lock().expect("a lock")
    }
}

fn converse(mut stream: TcpStream, script: Script, heads: &Mutex<usize>) -> std::io::Result<()> {
    let mut preface = [0; PREFACE_LEN];
    stream.read_exact(&mut preface)?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    // Which head a stream is.
    let mut numbers = std::collections::HashMap::new();
    loop {
        let mut head = [0; FRAME_HEAD_LEN];
        stream.read_exact(&mut head)?;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; payload_len(&head)];
        stream.read_exact(&mut payload)?;
        let last = flags & END_STREAM != 0;
        let event = match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
                continue;
            }
            PING if flags & ACK == 0 => {
                stream.write_all(&frame(PING, ACK, 0, &payload))?;
                continue;
            }
            HEADERS => {
                let mut heads = heads.lock().expect("a lock");
                *heads += 1;
                numbers.insert(id, *heads);
                Event::Head(last)
            }
            DATA => Event::Data(last),
            _ => continue,
        };
        let Some(number) = numbers.get(&id).copied() else {
            continue;
        };
        match script(number, event) {
            Action::Wait => {}
            Action::Answer(body) => {
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &[STATUS_200]))?;
                stream.write_all(&frame(DATA, END_STREAM, id, body.as_bytes()))?;
                numbers.remove(&id);
            }
            Action::Head => {
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &[STATUS_200]))?;
            }
            Action::Frames(parts) => {
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &[STATUS_200]))?;
                for (at, part) in parts.iter().enumerate() {
                    let last = if at + 1 == parts.len() { END_STREAM } else { 0 };
                    stream.write_all(&frame(DATA, last, id, part.as_bytes()))?;
                }
            }
            Action::FramesAndTrailers(parts) => {
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &[STATUS_200]))?;
                for part in parts {
                    stream.write_all(&frame(DATA, 0, id, part.as_bytes()))?;
                }
                stream.write_all(&frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    id,
                    b"\x00\x01x\x01y",
                ))?;
            }
            Action::TrailersAfterNothing => {
                // Index 28 of HPACK's static table is `content-length`.
                let head = [&[STATUS_200], &b"\x0f\x0d\x010"[..]].concat();
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &head))?;
                stream.write_all(&frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    id,
                    b"\x00\x01x\x01y",
                ))?;
            }
            Action::Refuse => {
                stream.write_all(&frame(RST_STREAM, 0, id, &7_u32.to_be_bytes()))?;
                numbers.remove(&id);
            }
            Action::GoAway(reason) => {
                let last_processed = id.saturating_sub(2);
                stream.write_all(&frame(
                    GOAWAY,
                    0,
                    0,
                    &[last_processed.to_be_bytes(), reason.to_be_bytes()].concat(),
                ))?;
                numbers.remove(&id);
            }
        }
    }
}
