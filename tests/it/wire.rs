//! A client that says exactly what it is told to say, and reads what comes back.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The one value of a header; panics when there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(
            values.next().is_none(),
            "{name} twice in {:?}",
            self.headers
        );
        value
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|fault| panic!("{fault} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The wire code of a refusal.
    pub fn error(&self) -> Option<&str> {
        self.header("X-Menshen-Error")
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).expect("a connection")
    }

    /// As `connect`, where nobody may listen any more.
    pub fn try_connect(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have answered and ended already; what it said is still to be read.
        drop(self.stream.get_mut().write_all(bytes.as_ref()));
    }

    /// Reads one answer; `None` when the connection ended instead.
    pub fn receive(&mut self) -> Option<Answer> {
        self.receive_to("GET")
    }

    /// As `receive`, to a request with this method.
    pub fn receive_to(&mut self, method: &str) -> Option<Answer> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(fault) if fault.kind() == ErrorKind::ConnectionReset => return None,
            Err(fault) => panic!("no answer and no end: {fault}"),
        }
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("not an answer: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a header line");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("not a header: {line:?}"));
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if status == 100 {
            return self.receive_to(method);
        }
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Some(answer);
        }
        if let Some(length) = answer.header("Content-Length") {
            answer.body = vec![0; length.parse().expect("a length")];
            self.stream
                .read_exact(&mut answer.body)
                .expect("a whole body");
        } else if answer.header("Transfer-Encoding") == Some("chunked") {
            answer.body = self.chunks();
        } else {
            self.stream.read_to_end(&mut answer.body).expect("a body");
        }
        Some(answer)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("a chunk size");
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).expect("a chunk");
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whether the other side has ended the connection and said nothing more.
    pub fn ended(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(fault) => rest.is_empty() && fault.kind() == ErrorKind::ConnectionReset,
        }
    }

    pub fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }
}

/// An address that refuses connections for as long as this lives: the port is taken, so that nobody
/// else comes to listen on it meanwhile.
pub struct Nobody {
    pub address: SocketAddr,
    _socket: OwnedFd,
}

impl Nobody {
    pub fn new() -> Self {
        let socket =
            rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = rustix::net::getsockname(&socket)
            .expect("an address")
            .try_into()
            .expect("an address of IP");
        Self {
            address,
            _socket: socket,
        }
    }
}

/// Sends one request on a connection of its own.
pub fn ask(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut client = Client::connect(to);
    client.send(request(method, path, headers, body));
    client.receive_to(method).expect("an answer")
}

/// The bytes of a well-formed request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    out.push_str("\r\n");
    [out.as_bytes(), body].concat()
}

/// Posts JSON.
pub fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    ask(to, "POST", path, &headers, body.to_string().as_bytes())
}
