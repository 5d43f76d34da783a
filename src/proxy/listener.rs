//! Listening sockets. They are bound before anything starts; each accepted connection is counted
//! and given to the next worker in turn.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net, runtime::Handle};

use super::{
    connection::{ConnectionService, http1, http2},
    connection_tracker::ConnectionPermit,
    snapshot::ServerLimits,
    socket::{MaybeTls, Socket},
    tls::{Tls, TlsConnection},
};

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`). With a full
/// queue clients retry after a second.
const BACKLOG: u32 = 4096;

/// How long a write of the overload response may make no progress.
const OVERLOADED_TIMEOUT: Duration = Duration::from_secs(1);

/// A bound, listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// TCP with TLS.
    Tls(TcpListener),
    /// The socket file is removed when the listener is dropped.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds `IP:PORT`, `tls:IP:PORT` or `unix:PATH`. Replaces a socket file on which no process
    /// listens. Needs a tokio runtime.
    pub fn bind(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let path = Path::new(path);
            let is_socket =
                fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
            if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
                fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            return Ok(Self::Unix(listener, path.to_owned()));
        }
        let (address, variant): (_, fn(TcpListener) -> Self) = address
            .strip_prefix("tls:")
            .map_or((address, Self::Tcp), |address| (address, Self::Tls));
        let not_an_address = io::Error::new(
            io::ErrorKind::InvalidInput,
            "not IP:PORT, tls:IP:PORT or unix:PATH",
        );
        let address: SocketAddr = address.parse().map_err(|_| not_an_address)?;
        let socket = if address.is_ipv4() {
            net::TcpSocket::new_v4()?
        } else {
            net::TcpSocket::new_v6()?
        };
        // Lets a restart bind the port while old connections are in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std().map(variant)
    }

    /// Its address: `127.0.0.1:8080` (for port 0 with the port that the system chose),
    /// `tls:127.0.0.1:8443` or `unix:PATH`.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(|at| at.to_string())
                .unwrap_or_default(),
            Self::Tls(listener) => listener
                .local_addr()
                .map(|at| format!("tls:{at}"))
                .unwrap_or_default(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Its TLS configuration, if it has one.
    fn tls(&self, service: &ConnectionService) -> io::Result<Option<Arc<Tls>>> {
        match self {
            Self::Tls(_) => service
                .tls
                .clone()
                .map(Some)
                .ok_or_else(|| io::Error::other("no certificate")),
            Self::Tcp(_) | Self::Unix(..) => Ok(None),
        }
    }

    /// Accepts connections until the task is dropped, each on the next worker.
    pub(super) async fn accept_all(
        &self,
        service: Arc<ConnectionService>,
        workers: Workers,
    ) -> io::Result<()> {
        let tls = self.tls(&service)?;
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let listener = net::TcpListener::from_std(listener.try_clone()?)?;
                loop {
                    let accepted = listener.accept().await.and_then(|(stream, peer)| {
                        let stream = AcceptedStream::Tcp(stream.into_std()?, tls.clone());
                        Ok((stream, Some(peer.ip())))
                    });
                    start_or_pause(&service, &workers, accepted).await;
                }
            }
            Self::Unix(listener, _) => {
                let listener = net::UnixListener::from_std(listener.try_clone()?)?;
                loop {
                    let accepted = listener.accept().await;
                    let accepted = accepted.and_then(|(stream, _)| stream.into_std());
                    let accepted = accepted.map(|stream| (AcceptedStream::Unix(stream), None));
                    start_or_pause(&service, &workers, accepted).await;
                }
            }
        }
    }

    /// Serves the connections that wait in the queue. Closing the socket would reset them, although
    /// a request may have been sent on them.
    pub(super) fn accept_waiting(&self, service: &Arc<ConnectionService>, workers: &Workers) {
        let Ok(tls) = self.tls(service) else { return };
        // An error means that the queue is empty, or that accepting failed.
        while let Ok((stream, peer)) = self.accept(tls.as_ref()) {
            start_serving(service, workers, stream, peer);
        }
    }

    /// The next connection in the queue, and its peer. The socket is non-blocking.
    fn accept(&self, tls: Option<&Arc<Tls>>) -> io::Result<(AcceptedStream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((AcceptedStream::Tcp(stream, tls.cloned()), Some(peer.ip())))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((AcceptedStream::Unix(stream), None))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // The file may have been removed already.
            drop(fs::remove_file(path));
        }
    }
}

/// The runtimes that serve connections, one thread each.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

impl Workers {
    pub(super) fn new(handles: Vec<Handle>) -> Self {
        Self {
            handles: handles.into(),
            next: Arc::default(),
        }
    }

    fn next(&self) -> (usize, &Handle) {
        let worker = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        (worker, &self.handles[worker])
    }

    /// All workers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter()
    }
}

enum AcceptedStream {
    /// With TLS where its configuration is given.
    Tcp(std::net::TcpStream, Option<Arc<Tls>>),
    Unix(std::os::unix::net::UnixStream),
}

impl AcceptedStream {
    /// Registers the connection, which is already non-blocking, with the caller's runtime, and does
    /// the TLS handshake. `None`: the client has disconnected, or the handshake failed.
    async fn open(
        self,
        limits: ServerLimits,
        permit: Arc<ConnectionPermit>,
    ) -> Option<ReadyConnection> {
        let Self::Tcp(stream, Some(tls)) = self else {
            let socket = self.open_plain(limits.body_timeout, Some(permit))?;
            return Some(ReadyConnection {
                socket,
                http2: false,
            });
        };
        stream.set_nodelay(true).ok()?;
        let stream = net::TcpStream::from_std(stream).ok()?;
        let TlsConnection { stream, http2 } =
            Box::pin(tls.accept(stream, limits.header_timeout)).await?;
        let io = MaybeTls::Tls(Box::new(stream));
        let socket = Socket::new(io, limits.body_timeout, Some(permit));
        Some(ReadyConnection { socket, http2 })
    }

    /// Registers the connection with the caller's runtime. `None`: it expects TLS, or the client
    /// has disconnected.
    fn open_plain(
        self,
        write_timeout: Duration,
        permit: Option<Arc<ConnectionPermit>>,
    ) -> Option<Socket> {
        let io = match self {
            Self::Tcp(stream, None) => {
                stream.set_nodelay(true).ok()?;
                MaybeTls::Tcp(net::TcpStream::from_std(stream).ok()?)
            }
            Self::Tcp(_, Some(_)) => return None,
            Self::Unix(stream) => MaybeTls::Unix(net::UnixStream::from_std(stream).ok()?),
        };
        Some(Socket::new(io, write_timeout, permit))
    }
}

/// A connection that is ready for requests.
struct ReadyConnection {
    socket: Socket,
    /// The client has chosen HTTP/2 by ALPN.
    http2: bool,
}

/// Serves a connection on the next worker, or rejects it if the limit is reached.
fn start_serving(
    service: &Arc<ConnectionService>,
    workers: &Workers,
    accepted: AcceptedStream,
    peer: Option<IpAddr>,
) {
    let Some(permit) = service.try_acquire().map(Arc::new) else {
        reject_overloaded(service, workers, accepted);
        return;
    };
    let service = service.clone();
    let (worker, handle) = workers.next();
    handle.spawn(async move {
        match accepted.open(service.limits(), permit.clone()).await {
            Some(ReadyConnection { socket, http2 })
                if http2 || begins_http2(&service, &socket).await =>
            {
                // Boxed, so that the task of an idle HTTP/1 connection does not reserve memory for
                // it.
                Box::pin(http2::serve_connection(service, worker, socket, peer)).await;
            }
            Some(ReadyConnection { socket, .. }) => {
                http1::serve_connection(&service, &service.connections[worker], socket, peer).await;
            }
            // The client has disconnected.
            None => {}
        }
        // Released only after the last request has been recorded.
        drop(permit);
    });
}

/// Whether a client without TLS begins with HTTP/2, where `server.h2c` allows that.
async fn begins_http2(service: &ConnectionService, socket: &Socket) -> bool {
    let limits = service.limits();
    if !limits.h2c || socket.is_tls() {
        return false;
    }
    let mut stop = service.stop.clone();
    tokio::select! {
        biased;
        begins = socket.peek_matches(http2::PREFACE) => begins,
        () = tokio::time::sleep(limits.header_timeout) => false,
        // An error means that the server has been dropped, which is a stop too.
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// Sends the overload response on a connection over the limit and closes it. Without a free permit,
/// or on a TLS connection, whose handshake would cost more than the response, dropping the stream
/// just closes it.
fn reject_overloaded(
    service: &Arc<ConnectionService>,
    workers: &Workers,
    accepted: AcceptedStream,
) {
    let Ok(permit) = service.overloaded.clone().try_acquire_owned() else {
        return;
    };
    let service = service.clone();
    workers.next().1.spawn(async move {
        let _permit = permit;
        if let Some(socket) = accepted.open_plain(OVERLOADED_TIMEOUT, None) {
            service.reject_overloaded(socket).await;
        }
    });
}

/// Serves an accepted connection, or pauses after a failed `accept`. The usual cause is a lack of file
/// descriptors; an immediate retry would burn CPU.
async fn start_or_pause(
    service: &Arc<ConnectionService>,
    workers: &Workers,
    accepted: io::Result<(AcceptedStream, Option<IpAddr>)>,
) {
    match accepted {
        Ok((stream, peer)) => start_serving(service, workers, stream, peer),
        Err(error) => {
            tracing::warn!(error = %error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
