//! Listening: sockets bound before anything starts, connections counted and dealt out to the
//! workers in turn.

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
    snapshot::Limits,
    socket::{MaybeTls, Socket},
    tls::{Established, Tls},
};

/// Connections that may wait to be accepted; the system caps it (`net.core.somaxconn`). A full
/// queue makes clients try again after a second.
const BACKLOG: u32 = 4096;

/// How long a client over the limit may take nothing of its response.
const OVERLOADED_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket that is bound and listens.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// The same with TLS on it.
    Tls(TcpListener),
    /// Its file is removed when the listener goes.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds `IP:PORT`, `tls:IP:PORT` or `unix:PATH`. A socket file that nobody listens on any more
    /// is replaced. Needs a tokio runtime.
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
        // So that a restart need not wait for old connections to fade.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std().map(variant)
    }

    /// Where clients reach it: `127.0.0.1:8080` (with the port that was taken for port 0),
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

    /// What its handshakes are made with, if it makes any.
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

    /// Accepts until the task is dropped, each connection on the next worker.
    pub(super) async fn accept_all(
        &self,
        service: Arc<ConnectionService>,
        workers: Workers,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let tls = self.tls(&service)?;
                let listener = net::TcpListener::from_std(listener.try_clone()?)?;
                loop {
                    match listener
                        .accept()
                        .await
                        .and_then(|(stream, peer)| Ok((stream.into_std()?, peer)))
                    {
                        Ok((stream, peer)) => admit(
                            &service,
                            &workers,
                            AcceptedStream::Tcp(stream, tls.clone()),
                            Some(peer.ip()),
                        ),
                        Err(error) => pause_after_error(&error).await,
                    }
                }
            }
            Self::Unix(listener, _) => {
                let listener = net::UnixListener::from_std(listener.try_clone()?)?;
                loop {
                    match listener
                        .accept()
                        .await
                        .and_then(|(stream, _)| stream.into_std())
                    {
                        Ok(stream) => admit(&service, &workers, AcceptedStream::Unix(stream), None),
                        Err(error) => pause_after_error(&error).await,
                    }
                }
            }
        }
    }

    /// Admits whoever is connected and waits to be accepted: closing the socket would reset them,
    /// though they may have asked for something already.
    pub(super) fn accept_waiting(&self, service: &Arc<ConnectionService>, workers: &Workers) {
        // The socket does not block: a fault is the end of the queue, or of the attempt.
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let Ok(tls) = self.tls(service) else { return };
                while let Ok((stream, peer)) = listener.accept() {
                    if stream.set_nonblocking(true).is_ok() {
                        admit(
                            service,
                            workers,
                            AcceptedStream::Tcp(stream, tls.clone()),
                            Some(peer.ip()),
                        );
                    }
                }
            }
            Self::Unix(listener, _) => {
                while let Ok((stream, _)) = listener.accept() {
                    if stream.set_nonblocking(true).is_ok() {
                        admit(service, workers, AcceptedStream::Unix(stream), None);
                    }
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Already gone is as good.
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

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter()
    }
}

enum AcceptedStream {
    /// With TLS on it where that is given.
    Tcp(std::net::TcpStream, Option<Arc<Tls>>),
    Unix(std::os::unix::net::UnixStream),
}

impl AcceptedStream {
    /// Registers the connection, which is already non-blocking, with the caller's runtime, and does
    /// the TLS handshake. `None`: the client has disconnected, or the handshake failed.
    async fn open(self, limits: Limits, permit: Arc<ConnectionPermit>) -> Option<ClientConnection> {
        let Self::Tcp(stream, Some(tls)) = self else {
            let socket = self.open_plain(limits.body_timeout, Some(permit))?;
            return Some(ClientConnection {
                socket,
                http2: false,
            });
        };
        stream.set_nodelay(true).ok()?;
        let stream = net::TcpStream::from_std(stream).ok()?;
        let Established { stream, http2 } =
            Box::pin(tls.accept(stream, limits.header_timeout)).await?;
        let io = MaybeTls::Tls(Box::new(stream));
        let socket = Socket::new(io, limits.body_timeout, Some(permit));
        Some(ClientConnection { socket, http2 })
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

/// A connection, ready for requests.
struct ClientConnection {
    socket: Socket,
    /// The client has chosen HTTP/2 by ALPN.
    http2: bool,
}

fn admit(
    service: &Arc<ConnectionService>,
    workers: &Workers,
    accepted: AcceptedStream,
    peer: Option<IpAddr>,
) {
    let Some(permit) = service.admit().map(Arc::new) else {
        reject_overloaded(service, workers, accepted);
        return;
    };
    let service = service.clone();
    let (worker, handle) = workers.next();
    handle.spawn(async move {
        match accepted.open(service.limits(), permit.clone()).await {
            Some(ClientConnection { socket, http2 })
                if http2 || begins_http2(&service, &socket).await =>
            {
                // A connection of HTTP/1 that waits has no room for this in its task.
                Box::pin(http2::serve_connection(service, worker, socket, peer)).await;
            }
            Some(ClientConnection { socket, .. }) => {
                http1::serve_connection(&service, &service.connections[worker], socket, peer).await;
            }
            // A client that is gone before we begin needs nothing.
            None => {}
        }
        // Given back only now, when all is recorded.
        drop(permit);
    });
}

/// Whether a client without TLS speaks HTTP/2, where it may.
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
        // An error says that the server is gone, which is a stop too.
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// Tells a connection over the limit so, and closes it. One that comes when there are too many of
/// these is told nothing, nor is one that speaks TLS, whose handshake would cost more than the
/// response: dropping the stream closes it.
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

/// After a fault of `accept`: out of file descriptors is the usual one, and trying at once would
/// burn the CPU.
async fn pause_after_error(error: &io::Error) {
    tracing::warn!(error = %error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
