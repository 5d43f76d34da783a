//! Both endpoints of an exchange, held by the test: a client and a backend of either protocol,
//! which read and write a body exactly when the test says so, and leave in every way that a socket
//! or a stream allows.

mod backend;
mod body;
mod client;
mod pair;
mod wire;

use std::{net, time::Duration};

use rustix::net::{
    Shutdown,
    sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size},
};
use tokio::{net::TcpStream, runtime::Runtime};

pub use self::{
    backend::{BackendEnd, Exchange, Leave, Responder},
    body::{BodyReader, BodyWriter},
    client::{Answer, ClientEnd, Pending},
    pair::{Pair, for_each_pair},
};
use super::menshen::{Menshen, Setup};

/// Longer than anything here takes on a busy machine. What ends only by a timeout of menshen's
/// takes an hour.
const DEADLINE: Duration = Duration::from_mins(1);
/// Buffers of the endpoints' sockets: what an endpoint does not read is soon held up at its sender.
const SOCKET_BUFFER: usize = 128 * 1024;
/// Window of a connection of HTTP/2, so that one stream that is not read holds up no other.
const CONNECTION_WINDOW: u32 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What the head of a message says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    None,
    Known(usize),
    /// In chunks, or as the DATA frames of a stream.
    Unknown,
}

/// The other endpoint has gone, or what it sent is no message.
#[derive(Debug)]
#[expect(dead_code, reason = "a failing test prints it")]
pub struct Broken(String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Fails where something does not come to its end.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| panic!("{what}: it does not end"))
}

/// A menshen before this backend whose own timeouts are an hour, with `/open/**` for everybody.
fn menshen_before(backend: &BackendEnd) -> Menshen {
    let protocol = if backend.protocol == Protocol::Http1 {
        "http1"
    } else {
        "http2"
    };
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\nbody_timeout = \"1h\"\n\
         keepalive_timeout = \"1h\"\n\
         [upstream]\nurls = [\"http://{}\"]\nprotocol = \"{protocol}\"\nread_timeout = \"1h\"\nwrite_timeout = \"1h\"\n\
         idle_timeout = \"1h\"\n\
         [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"",
        backend.address
    );
    Setup::before(backend.address).with(&config).start()
}

/// A second handle of an endpoint's socket, by which it leaves.
#[derive(Debug)]
pub struct Socket(net::TcpStream);

impl Socket {
    /// As the system closes the socket of a process that has ended: a reset where bytes were not
    /// read, else the end of its bytes, and a reset for what comes later.
    pub fn close(&self) {
        if rustix::io::ioctl_fionread(&self.0).expect("a socket") > 0 {
            self.reset();
        } else {
            let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
        }
    }

    /// A reset at once.
    pub fn reset(&self) {
        // It may have ended already.
        let _ = rustix::net::connect_unspec(&self.0);
    }
}

fn prepare(stream: net::TcpStream) -> (TcpStream, Socket) {
    set_socket_recv_buffer_size(&stream, SOCKET_BUFFER).expect("a socket option");
    set_socket_send_buffer_size(&stream, SOCKET_BUFFER).expect("a socket option");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_nonblocking(true).expect("a socket option");
    let socket = Socket(stream.try_clone().expect("a handle"));
    (TcpStream::from_std(stream).expect("a stream"), socket)
}
