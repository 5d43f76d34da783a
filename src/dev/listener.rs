//! A small server on a free loopback port that stops when it is dropped.

use std::{io, net::SocketAddr};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A running server.
#[derive(Debug)]
pub(super) struct LoopbackListener {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl LoopbackListener {
    /// Serves on a free port of 127.0.0.1.
    pub(super) async fn start(router: Router) -> io::Result<Self> {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = socket.local_addr()?;
        let task = tokio::spawn(async move { axum::serve(socket, router).await });
        Ok(Self { address, task })
    }

    /// The address of the listener.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LoopbackListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
