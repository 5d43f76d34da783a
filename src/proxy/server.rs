//! The server: worker threads, listeners, and the order in which they stop.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora_runtime::Runtime;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    connection::{ConnectionService, MAX_OVERLOADED_RESPONSES},
    connection_tracker::ConnectionTracker,
    listener::{Listener, Workers},
    snapshot::Snapshot,
    tls::{Tls, TlsError},
    upstream::session::Connections,
};
use crate::{
    clock::Clock,
    config::{Config, TlsConfig},
    metrics::Metrics,
};

/// The parts of a server.
pub struct ServerParts<'a> {
    pub config: &'a Config,
    /// Handles the first requests, until a reload replaces it.
    pub snapshot: Snapshot,
    pub listeners: Vec<Listener>,
    /// The certificate of the listeners with TLS.
    pub tls: Option<Arc<Tls>>,
    pub metrics: Metrics,
    pub clock: Clock,
}

/// Serves clients until it is stopped.
pub struct Server {
    service: Arc<ConnectionService>,
    listeners: Arc<[Listener]>,
    runtime: Runtime,
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// Replaces the snapshot and the certificate of a running server.
#[derive(Clone)]
pub struct ReloadHandle(Arc<ArcSwap<Snapshot>>, Option<Arc<Tls>>);

impl ReloadHandle {
    /// Handles every request whose head arrives from now on with this snapshot. Requests in flight
    /// keep the previous one.
    pub fn set_snapshot(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// Uses these files for every handshake from now on. Does nothing without a TLS listener.
    ///
    /// # Errors
    /// When the files cannot be used. The previous certificate stays.
    pub fn reload_certificate(&self, files: &TlsConfig) -> Result<(), TlsError> {
        self.1
            .as_ref()
            .map_or(Ok(()), |tls| tls.reload(files).map(drop))
    }
}

impl Server {
    /// Starts the worker threads. Nothing is accepted before [`Server::serve`].
    pub fn new(parts: ServerParts<'_>) -> Self {
        let config = parts.config;
        let threads = match config.server.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            given => given,
        };
        let (closing, closing_seen) = watch::channel(false);
        let (stop, stop_seen) = watch::channel(false);
        let tracker = ConnectionTracker::new(parts.metrics.connections.clone());
        let service = Arc::new(ConnectionService {
            current: Arc::new(ArcSwap::from_pointee(parts.snapshot)),
            connections: Connections::new(threads, config.upstream.idle_connections),
            metrics: parts.metrics,
            clock: parts.clock,
            tls: parts.tls,
            closing: closing_seen,
            stop: stop_seen,
            tracker: Arc::new(tracker),
            overloaded: Arc::new(Semaphore::new(MAX_OVERLOADED_RESPONSES)),
        });
        // One runtime for each thread: a connection stays on its thread, so no request waits for
        // another core to pick it up.
        let runtime = Runtime::new_no_steal(threads, "gate");
        Self {
            service,
            listeners: parts.listeners.into(),
            runtime,
            accepting: JoinSet::new(),
            closing,
            stop,
        }
    }

    /// For reloading the config while the server runs.
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle(self.service.current.clone(), self.service.tls.clone())
    }

    /// The addresses of all listeners.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Starts accepting connections, on the caller's runtime.
    pub fn serve(&mut self) {
        let workers = self.workers();
        if let Some(tls) = &self.service.tls {
            self.accepting.spawn(tls.clone().watch_files());
        }
        for (worker, handle) in workers.iter().enumerate() {
            let connections = self.service.connections.clone();
            self.accepting
                .spawn_on(async move { connections[worker].sweep().await }, handle);
        }
        for at in 0..self.listeners.len() {
            let (listeners, service, workers) = (
                self.listeners.clone(),
                self.service.clone(),
                workers.clone(),
            );
            self.accepting.spawn(async move {
                if let Err(error) = listeners[at].accept_all(service, workers).await {
                    tracing::error!(error = %error, address = listeners[at].address(), "cannot accept connections");
                }
            });
        }
    }

    fn workers(&self) -> Workers {
        let handles = match &self.runtime {
            Runtime::NoSteal(workers) => (0..workers.threads())
                .map(|at| workers.get_runtime_at(at).clone())
                .collect(),
            Runtime::Steal { .. } => vec![self.runtime.get_handle().clone()],
        };
        Workers::new(handles)
    }

    /// From now on every response closes its connection, so that clients reconnect elsewhere. New
    /// connections are still served.
    pub fn start_draining(&self) {
        self.closing.send_replace(true);
    }

    /// Stops accepting, lets requests in flight finish for at most `drain_timeout`, and stops the
    /// workers. `false`: some requests were cut off.
    pub async fn stop(mut self, drain_timeout: Duration) -> io::Result<bool> {
        self.closing.send_replace(true);
        self.accepting.shutdown().await;
        let workers = self.workers();
        for listener in self.listeners.iter() {
            listener.accept_waiting(&self.service, &workers);
        }
        // Closed now, so that new connections are refused at once instead of waiting in the queue.
        drop(self.listeners);
        self.stop.send_replace(true);
        self.service.current.load().streams.close_websockets();
        let finished = tokio::time::timeout(drain_timeout, self.service.tracker.stop())
            .await
            .is_ok();
        let runtime = self.runtime;
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_millis(100)))
            .await?;
        Ok(finished)
    }
}
