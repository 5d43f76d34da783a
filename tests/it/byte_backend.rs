//! A backend that keeps every byte of every connection, and reads them as strictly as RFC 9112
//! allows: what is not the next message, and nothing but it, is a finding.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_recv_buffer_size;

/// One request, as its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub target: String,
    pub head: String,
    /// The bytes after the head, with their framing.
    pub wire: Vec<u8>,
    /// The body that they are.
    pub body: Vec<u8>,
}

/// A connection: its messages, what came after the last whole one, and whether it has ended.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    pub messages: Vec<Message>,
    pub rest: Vec<u8>,
    pub ended: bool,
}

/// What the backend does when a head or a whole message is there.
pub struct Reply {
    /// Sent as it is.
    pub bytes: Vec<u8>,
    /// The connection ends after it.
    pub close: bool,
}

impl Reply {
    /// A whole answer whose body names the request, so that an answer to another request shows.
    pub fn naming(target: &str) -> Self {
        let bytes = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        );
        Self {
            bytes: bytes.into_bytes(),
            close: false,
        }
    }

    pub fn bytes(text: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: text.into(),
            close: false,
        }
    }

    pub const fn then_close(mut self) -> Self {
        self.close = true;
        self
    }
}

/// What to answer, by target: `early` once the head is there, `late` once the whole message is.
#[derive(Clone, Copy)]
pub struct Answers {
    pub early: fn(&str) -> Option<Reply>,
    pub late: fn(&str) -> Reply,
    /// Whether it reads on after the head.
    pub reads: fn(&str) -> bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            early: |_| None,
            late: Reply::naming,
            reads: |_| true,
        }
    }
}

pub struct ByteBackend {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl ByteBackend {
    pub fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        // So that what it does not read is held up at its sender, not in the system.
        set_socket_recv_buffer_size(&listener, 4096).expect("a socket option");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = connections.clone();
        // It ends with the program: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Kept::new(kept.clone());
                std::thread::spawn(move || {
                    converse(stream, answers, &kept);
                    kept.change(|connection| connection.ended = true);
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub fn connections(&self) -> Vec<Connection> {
        self.connections.lock().expect("a lock").clone()
    }

    /// The connection on which a message with this target came, whole or begun.
    pub fn of(&self, target: &str) -> Connection {
        self.find(target)
            .unwrap_or_else(|| panic!("{target} has not come: {:?}", self.connections()))
    }

    fn find(&self, target: &str) -> Option<Connection> {
        let begins = format!(" {target} HTTP/1.1\r\n");
        self.connections().into_iter().find(|connection| {
            connection
                .messages
                .iter()
                .any(|message| message.target == target)
                || String::from_utf8_lossy(&connection.rest).contains(&begins)
        })
    }

    /// Waits until a message with this target has come, whole or begun.
    pub fn wait_for(&self, target: &str) {
        self.wait_until(target, |_| true);
    }

    /// Waits until the connection of this message has ended.
    pub fn wait_for_end(&self, target: &str) -> Connection {
        self.wait_until(target, |connection| connection.ended)
    }

    pub fn wait_until(&self, target: &str, is_so: impl Fn(&Connection) -> bool) -> Connection {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match self.find(target) {
                Some(connection) if is_so(&connection) => return connection,
                _ => assert!(Instant::now() < end, "{target}: {:?}", self.connections()),
            }
            std::thread::yield_now();
        }
    }
}

/// One connection among those that are kept.
struct Kept {
    all: Arc<Mutex<Vec<Connection>>>,
    at: usize,
}

impl Kept {
    fn new(all: Arc<Mutex<Vec<Connection>>>) -> Self {
        let at = {
            let mut all = all.lock().expect("a lock");
            all.push(Connection::default());
            all.len() - 1
        };
        Self { all, at }
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        change(&mut self.all.lock().expect("a lock")[self.at]);
    }
}

fn converse(mut stream: TcpStream, answers: Answers, kept: &Kept) {
    let mut bytes = Vec::new();
    let mut answered_early = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        loop {
            kept.change(|connection| connection.rest.clone_from(&bytes));
            let Some((target, whole)) = split(&bytes) else {
                break;
            };
            if !answered_early && let Some(reply) = (answers.early)(&target) {
                answered_early = true;
                if !say(&mut stream, &reply) {
                    return;
                }
            }
            while !(answers.reads)(&target) {
                // For as long as the program lives.
                std::thread::park();
            }
            let Some((message, length)) = whole else {
                break;
            };
            bytes.drain(..length);
            // Both before the answer: a client that has it may look at once.
            kept.change(|connection| {
                connection.messages.push(message);
                connection.rest.clone_from(&bytes);
            });
            if !answered_early && !say(&mut stream, &(answers.late)(&target)) {
                return;
            }
            answered_early = false;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// `false`: the connection has to end.
fn say(stream: &mut TcpStream, reply: &Reply) -> bool {
    stream.write_all(&reply.bytes).is_ok() && !reply.close
}

/// The target of the first message, and the message with its length once it is whole. `None`: no
/// head yet, or none at all.
fn split(bytes: &[u8]) -> Option<(String, Option<(Message, usize)>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if version != "HTTP/1.1"
        || method.is_empty()
        || !method.bytes().all(|byte| byte.is_ascii_uppercase())
    {
        return None;
    }
    let fields = fields.to_ascii_lowercase();
    let field = |name: &str| {
        fields
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let after = &bytes[end..];
    let body = match (field("content-length"), field("transfer-encoding")) {
        (None, None) => Some((Vec::new(), 0)),
        (Some(length), None) => {
            let length: usize = length.parse().ok()?;
            after.get(..length).map(|body| (body.to_vec(), length))
        }
        (None, Some("chunked")) => chunks(after),
        _ => return None,
    };
    let message = body.map(|(body, length)| {
        let wire = after[..length].to_vec();
        (
            Message {
                target: target.to_owned(),
                head: head.clone(),
                wire,
                body,
            },
            end + length,
        )
    });
    Some((target.to_owned(), message))
}

/// A chunked body and its length on the wire, once its last chunk is there.
fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (all, mut body) = (bytes.len(), Vec::new());
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok())?;
        bytes = bytes.get(line + 2..)?;
        let chunk = bytes.get(..size + 2)?;
        assert_eq!(
            &chunk[size..],
            b"\r\n",
            "the end of a chunk, or trailers that nobody asked for"
        );
        body.extend_from_slice(&chunk[..size]);
        bytes = &bytes[size + 2..];
        if size == 0 {
            return Some((body, all - bytes.len()));
        }
    }
}
