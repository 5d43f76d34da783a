//! A small server on a loopback port that stops when it is dropped.

use std::{io, net::SocketAddr};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

/// A running server.
#[derive(Debug)]
pub struct LoopbackListener {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl LoopbackListener {
    /// Serves on a free port of 127.0.0.1.
    pub async fn start(router: Router) -> io::Result<Self> {
        Self::start_on(0, router).await
    }

    /// Serves on this port of 127.0.0.1; 0 is a free one.
    pub async fn start_on(port: u16, router: Router) -> io::Result<Self> {
        let socket = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = socket.local_addr()?;
        let task = tokio::spawn(async move { axum::serve(socket, router).await });
        Ok(Self { address, task })
    }

    /// The address of the listener.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LoopbackListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
