//! The server: worker threads, listeners, and the order in which both end.

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

/// What a server is made of.
pub struct ServerParts<'a> {
    pub config: &'a Config,
    /// What the first requests are handled by.
    pub snapshot: Snapshot,
    pub listeners: Vec<Listener>,
    /// For those listeners that speak it.
    pub tls: Option<Arc<Tls>>,
    pub metrics: Metrics,
    pub clock: Clock,
}

/// Serves clients until it is told to stop.
pub struct Server {
    service: Arc<ConnectionService>,
    listeners: Arc<[Listener]>,
    runtime: Runtime,
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// The way to give a server that runs another snapshot.
#[derive(Clone)]
pub struct ReloadHandle(Arc<ArcSwap<Snapshot>>, Option<Arc<Tls>>);

impl ReloadHandle {
    /// Every request whose head comes from now on is handled by this one; those on their way keep
    /// theirs.
    pub fn set_snapshot(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// Every handshake from now on is made with these files, where there are any.
    ///
    /// # Errors
    /// When they cannot be used; then those of before stay.
    pub fn reload_certificate(&self, files: &TlsConfig) -> Result<(), TlsError> {
        self.1
            .as_ref()
            .map_or(Ok(()), |tls| tls.reload(files).map(drop))
    }
}

impl Server {
    /// Starts the worker threads. Nothing is accepted before [`Server::serve`].
    pub fn new(parts: ServerParts<'_>) -> Self {
        let ServerParts {
            config,
            snapshot,
            listeners,
            tls,
            metrics,
            clock,
        } = parts;
        let threads = match config.server.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            given => given,
        };
        let (closing, closing_seen) = watch::channel(false);
        let (stop, stop_seen) = watch::channel(false);
        let tracker = Arc::new(ConnectionTracker::new(metrics.connections.clone()));
        let service = Arc::new(ConnectionService {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            connections: Connections::new(threads, config.upstream.idle_connections),
            metrics,
            clock,
            tls,
            closing: closing_seen,
            stop: stop_seen,
            tracker,
            overloaded: Arc::new(Semaphore::new(MAX_OVERLOADED_RESPONSES)),
        });
        // One thread, one runtime: a connection stays where it is, and no request waits for another
        // core to take it over.
        let runtime = Runtime::new_no_steal(threads, "gate");
        Self {
            service,
            listeners: listeners.into(),
            runtime,
            accepting: JoinSet::new(),
            closing,
            stop,
        }
    }

    /// The way to another config while it runs.
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle(self.service.current.clone(), self.service.tls.clone())
    }

    /// Where clients reach it.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Accepts connections from now on, on the runtime that calls.
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

    /// From now on every answer ends its connection, so that clients move on; new ones are still
    /// served.
    pub fn start_draining(&self) {
        self.closing.send_replace(true);
    }

    /// Accepts no more, lets requests in flight finish for at most `drain_timeout`, and ends the
    /// workers. `false`: some were cut.
    pub async fn stop(mut self, drain_timeout: Duration) -> io::Result<bool> {
        self.closing.send_replace(true);
        self.accepting.shutdown().await;
        let workers = self.workers();
        for listener in self.listeners.iter() {
            listener.accept_waiting(&self.service, &workers);
        }
        // Closed, so that new clients are refused at once instead of waiting for nobody.
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
