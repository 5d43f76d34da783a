//! The server: worker threads, listeners, and the order in which both end.

use std::{io, sync::Arc, time::Duration};

use http::HeaderValue;
use pingora::{
    connectors::{ConnectorOptions, http::v1::Connector},
    proxy::http_proxy,
    server::configuration::ServerConf,
};
use pingora_runtime::Runtime;
use tokio::{sync::watch, task::JoinSet};

use super::{
    bridge::Bridge,
    connection::{Door, Limits, Places},
    exchange::Exchange,
    forward::Forward,
    listener::{Listener, Workers},
    outgoing::Outgoing,
    record::Recorder,
    upstream::Upstreams,
};
use crate::{
    api::Voices,
    clock::Clock,
    config::Config,
    entropy::{Entropy, NoEntropy},
    gate::Gate,
    metrics::Metrics,
    telemetry::AccessLog,
};

/// What a server is made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub gate: Gate,
    pub api: axum::Router,
    pub voices: Voices,
    pub upstreams: Upstreams,
    pub listeners: Vec<Listener>,
    pub metrics: Metrics,
    pub access_log: AccessLog,
    pub clock: Clock,
    pub entropy: &'a Entropy,
}

/// Serves clients until it is told to stop.
pub struct Server {
    door: Arc<Door>,
    listeners: Arc<[Listener]>,
    runtime: Runtime,
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Starts the worker threads. Nothing is accepted before [`Server::serve`].
    pub fn new(parts: Parts<'_>) -> Result<Self, NoEntropy> {
        let Parts { config, gate, api, voices, upstreams, listeners, metrics, access_log, clock, entropy } = parts;
        let threads = match config.server.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            given => given,
        };
        let names = gate.rules().rules().map(|rule| &*rule.name);
        let recorder = Arc::new(Recorder::new(names, &metrics, access_log, entropy)?);
        let upstreams = Arc::new(upstreams);
        let host = config.upstream.host.as_deref().and_then(|host| HeaderValue::from_str(host).ok());
        let outgoing = Arc::new(Outgoing::new(host));
        let body_timeout = config.server.body_timeout.get();
        let forward = Forward {
            upstreams: upstreams.clone(),
            outgoing: outgoing.clone(),
            recorder: recorder.clone(),
            voices: voices.clone(),
            body_timeout,
        };
        let conf = ServerConf {
            threads,
            work_stealing: false,
            upstream_keepalive_pool_size: config.upstream.idle_connections,
            // Each backend may be tried once, where nothing was sent.
            max_retries: config.upstream.urls.len().max(1),
            ..ServerConf::default()
        };
        let conf = Arc::new(conf);
        let exchange = Exchange {
            connector: Connector::new(Some(ConnectorOptions::from_server_conf(&conf))),
            upstreams,
            outgoing,
            recorder: recorder.clone(),
            voices: voices.clone(),
        };
        let (closing, closing_seen) = watch::channel(false);
        let (stop, stop_seen) = watch::channel(false);
        let door = Arc::new(Door {
            gate: Arc::new(gate),
            exchange,
            proxy: Arc::new(http_proxy(&conf, forward)),
            bridge: Bridge { router: api, recorder: recorder.clone(), voices: voices.clone(), timeout: body_timeout },
            recorder,
            clock,
            voices,
            limits: Limits::new(&config.server),
            closing: closing_seen,
            stop: stop_seen,
            places: Arc::new(Places::new(config.server.max_connections)),
        });
        // One thread, one runtime: a connection stays where it is, and no request waits for another core to take it over.
        let runtime = Runtime::new_no_steal(threads, "gate");
        Ok(Self { door, listeners: listeners.into(), runtime, accepting: JoinSet::new(), closing, stop })
    }

    /// Where clients reach it.
    pub fn addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Accepts connections from now on, on the runtime that calls.
    pub fn serve(&mut self) {
        let handles = match &self.runtime {
            Runtime::NoSteal(workers) => (0..workers.threads()).map(|at| workers.get_runtime_at(at).clone()).collect(),
            Runtime::Steal { .. } => vec![self.runtime.get_handle().clone()],
        };
        let workers = Workers::new(handles);
        for at in 0..self.listeners.len() {
            let (listeners, door, workers) = (self.listeners.clone(), self.door.clone(), workers.clone());
            self.accepting.spawn(async move {
                if let Err(fault) = listeners[at].accept_all(door, workers).await {
                    tracing::error!(error = %fault, address = listeners[at].address(), "cannot accept connections");
                }
            });
        }
    }

    /// From now on every answer ends its connection, so that clients move on; new ones are still served.
    pub fn close_gently(&self) {
        self.closing.send_replace(true);
    }

    /// Accepts no more, lets requests in flight finish for at most `patience`, and ends the workers. `false`: some were cut.
    pub async fn stop(mut self, patience: Duration) -> io::Result<bool> {
        self.closing.send_replace(true);
        self.accepting.shutdown().await;
        // Closed, so that new clients are refused at once instead of waiting for nobody.
        drop(self.listeners);
        self.stop.send_replace(true);
        let finished = tokio::time::timeout(patience, self.door.places.emptied()).await.is_ok();
        let runtime = self.runtime;
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_millis(100))).await?;
        Ok(finished)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
