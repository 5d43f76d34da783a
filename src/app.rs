//! The composition root: creates every part of the process in order, and ends them in the reverse
//! order.

mod admin_routes;
mod assertions;
mod check;
mod explain;
mod generation;
mod heartbeats;
mod minting;
mod offline;
mod process;
mod reload;
mod replica_facts;
mod secrets;
mod startup;
mod storage;

use std::{
    collections::BTreeSet, net::TcpListener, path::PathBuf, pin::pin, sync::Arc, time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

pub use check::check;
pub use explain::{LiveExplainer, OfflineGate, offline_gate};
pub use offline::operations;
pub use reload::Reload;
pub use replica_facts::{replica_facts, running_replicas};
pub use storage::{
    begin_import, check_store, discard_import, export_key, export_key_from_file, migrate_store,
    open_store, try_hints, with_key_file,
};

use self::{generation::Generation, process::Process, reload::Current};
use crate::{
    admin::{self, ProcessStage},
    audit::Audit,
    auth::{Administration, Denylist, OutboxDispatcher, Passwords},
    clock::Clock,
    config::{Config, Loaded},
    console::ConsoleMemory,
    entropy::Entropy,
    metrics::Metrics,
    outbound::AdminClient,
    proxy::{Listener, Server, ServerParts, Streams, Tls, install_crypto},
    store::{Access, ReplicaId, UpkeepLease},
    telemetry::Sink,
};

/// Expired records removed in one operation of the store, so that logins do not wait for long.
const SWEEP_BATCH: usize = 500;
/// How often cached answers for repeated logins are removed, and dropped log lines counted.
const FORGET_INTERVAL: Duration = Duration::from_secs(10);

/// The whole program, ready to serve: listeners are bound, the store is open, no connection is
/// accepted yet.
pub struct App {
    process: Arc<Process>,
    current: Arc<Current>,
    server: Server,
    admin: TcpListener,
    stage: watch::Sender<ProcessStage>,
    /// The files that the config was read from, besides its own.
    files: BTreeSet<PathBuf>,
    reload: Option<Reload>,
}

/// A client for the admin API of a process that runs with this config; `None` where the config has
/// no admin token, or its file does not exist yet.
pub fn admin_client(config: &Config) -> anyhow::Result<Option<AdminClient>> {
    let Some(token) = secrets::existing_admin_token(&config.admin)? else {
        return Ok(None);
    };
    Ok(Some(AdminClient::new(&config.admin.listen, token)?))
}

/// Binds the listeners for clients, and the admin listener.
fn listen(config: &Config) -> anyhow::Result<(Vec<Listener>, TcpListener)> {
    let bind = |address: &String| {
        Listener::bind(address).with_context(|| format!("cannot listen on {address}"))
    };
    let listeners = config
        .server
        .listen
        .iter()
        .map(bind)
        .collect::<anyhow::Result<_>>()?;
    let admin = TcpListener::bind(&config.admin.listen)
        .with_context(|| format!("cannot listen on {} (admin.listen)", config.admin.listen))?;
    Ok((listeners, admin))
}

/// The TLS server config, where an address of `server.listen` needs it.
fn tls(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Arc<Tls>>> {
    let tls = config
        .server
        .wants_tls()
        .then(|| Tls::load(&config.server.tls, config.server.http2, metrics.clone()));
    tls.transpose().context("cannot speak TLS (server.tls)")
}

impl App {
    /// Creates every part. `sink` takes the log lines.
    pub async fn build(loaded: Loaded, clock: Clock, sink: &Sink) -> anyhow::Result<Self> {
        let Loaded {
            mut config,
            files,
            origins,
            source,
            warnings: _,
        } = loaded;
        let entropy = Entropy::default();
        let metrics = Metrics::new();
        let audit = Audit::new(metrics.clone());
        // Ports first: a second menshen that was started by mistake fails before it touches
        // anything.
        let (listeners, admin) = listen(&config)?;
        install_crypto();
        let tls = tls(&config, &metrics)?;

        // Opening may wait for another process, and signals are handled meanwhile.
        let opened = startup::when_reachable(&config.store, &admin, async || {
            open_store(&config, Access::ReadWrite, &metrics, &entropy).await
        })
        .await?;
        config.store = secrets::with_generated_key(config.store)?;
        let store = opened.store;
        let denylist = Arc::new(Denylist::with_retention(Duration::ZERO));
        let (stage, stage_seen) = watch::channel(ProcessStage::Starting);
        let replica = ReplicaId::generate(&entropy)?;
        let lease = Arc::new(UpkeepLease::new(replica));
        let outbox_dispatcher = Arc::new(OutboxDispatcher::new(
            store.clone(),
            metrics.clone(),
            audit.clone(),
            clock.clone(),
            lease.clone(),
        ));
        let process = Arc::new(Process {
            replica,
            lease,
            outbox_dispatcher,
            store: store.clone(),
            root: opened.root,
            denylist: denylist.clone(),
            streams: Arc::new(Streams::new(denylist.clone(), &metrics)),
            passwords: Arc::new(Passwords::new(entropy.clone())),
            memory: Arc::default(),
            metrics: metrics.clone(),
            audit,
            clock: clock.clone(),
            entropy,
            sink: sink.clone(),
            stage: stage_seen,
            details: Arc::default(),
            console: Arc::new(ConsoleMemory::new(clock.clone())),
            source,
        });
        // Large, and awaited once.
        let building = Box::pin(startup::when_reachable(&config.store, &admin, async || {
            let (config, origins) = (config.clone(), origins.clone());
            let built = Box::pin(Generation::build(&process, config, origins, None)).await?;
            // The generation has set how long revocations are kept.
            denylist
                .load(&*store, process.clock.now(), &metrics)
                .await
                .context("cannot read the revocations")?;
            // Before the first upkeep; another process may have it.
            process.lease.renew(&store).await?;
            Ok(built)
        }));
        let (mut generation, snapshot) = building.await?;
        denylist.prune(clock.now());
        generation.start(&process);
        let server = Server::new(ServerParts {
            config: &generation.config,
            snapshot,
            listeners,
            tls,
            metrics,
            clock,
        });
        let current = Arc::new(Current {
            admin_routes: Arc::new(ArcSwap::from_pointee(generation.admin_routes.clone())),
            server: server.reload_handle(),
            generation: ArcSwap::from_pointee(generation),
        });
        Ok(Self {
            process,
            current,
            server,
            admin,
            stage,
            files,
            reload: None,
        })
    }

    /// Reloads the config when its files change, or on request.
    pub fn reloading(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    /// The addresses of `server.listen`, with the ports that were taken for port 0.
    pub fn addresses(&self) -> Vec<String> {
        self.server.addresses()
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> String {
        self.admin
            .local_addr()
            .map(|at| at.to_string())
            .unwrap_or_default()
    }

    /// Explains requests as this process decides on them.
    pub fn explainer(&self) -> anyhow::Result<LiveExplainer> {
        let generation = self.current.generation.load();
        LiveExplainer::new(
            &generation.config,
            &generation.authorizer,
            &self.process.clock,
        )
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.process.metrics
    }

    /// Serves until `stop` resolves, then stops in order: unready, grace time, drain, close the
    /// store. `skip_drain` ends the waiting.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        skip_drain: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let (addresses, admin_address) = (self.addresses(), self.admin_address());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_admin(
            self.admin.try_clone()?,
            self.current.admin_routes.clone(),
        ));
        let config = self.current.generation.load_full().config.clone();
        start(&self.process, &self.current, &config, &mut tasks);
        if let Some(reload) = self.reload.take() {
            tasks.spawn(reload::watch(
                reload,
                self.files,
                self.process.clone(),
                self.current.clone(),
                config.reload.interval.get(),
            ));
        }
        self.server.serve();
        self.stage.send_replace(ProcessStage::Serving);
        tracing::info!(
            http = addresses.first(),
            listening = addresses.join(", "),
            admin = admin_address,
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        stop.await;

        self.stage.send_replace(ProcessStage::Stopping);
        tracing::info!("stopping: unready, still serving");
        self.server.start_draining();
        let drained = async {
            let config = &self.current.generation.load_full().config.server;
            sleep(config.unready_grace.get()).await;
            self.server.stop(config.drain_timeout.get()).await
        };
        let mut skip_drain = pin!(skip_drain);
        tokio::select! {
            drained = drained => {
                if !drained? {
                    tracing::warn!("some requests were still running when the drain time was over");
                }
            }
            () = skip_drain.as_mut() => tracing::warn!("second signal to stop: not waiting for requests in flight"),
        }
        tasks.shutdown().await;
        let store = &*self.process.store;
        if let Err(error) = self.process.lease.release(store).await {
            tracing::warn!(%error, "the lease on upkeep could not be given back");
        }
        self.process
            .store
            .close()
            .await
            .context("the store did not close")?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Starts the background tasks that live as long as the process. Each is dropped at an await.
fn start(process: &Arc<Process>, current: &Arc<Current>, config: &Config, tasks: &mut JoinSet<()>) {
    let (it, poll) = (process.clone(), config.store.revocation_poll.get());
    tasks.spawn(async move {
        it.denylist
            .follow(
                &*it.store,
                &it.clock,
                poll,
                &it.metrics,
                std::future::pending(),
            )
            .await;
    });
    let it = process.clone();
    tasks.spawn(async move { it.streams.watch_revocations(&it.clock).await });
    let it = process.clone();
    tasks.spawn(async move { it.streams.check_sessions(&*it.store, &it.clock).await });
    let (it, now, every) = (
        process.clone(),
        current.clone(),
        config.store.sweep_interval.get(),
    );
    tasks.spawn(async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let administration = now.generation.load_full().administration.clone();
            reencrypt(&administration, &it.lease).await;
            sweep(&it).await;
        }
    });
    tasks.spawn(heartbeats::run(process.clone(), current.clone()));
    let outbox_dispatcher = process.outbox_dispatcher.clone();
    tasks.spawn(async move { outbox_dispatcher.run().await });
    let outbox_dispatcher = process.outbox_dispatcher.clone();
    tasks.spawn(async move { outbox_dispatcher.run_logins().await });
    let (it, now) = (process.clone(), current.clone());
    tasks.spawn(async move {
        let mut ticks = interval(FORGET_INTERVAL);
        loop {
            ticks.tick().await;
            now.generation.load_full().auth.evict_expired();
            it.metrics.log_lines_dropped.inc_by(it.sink.take_dropped());
        }
    });
}

/// Continues a change of the store's key that was interrupted, while this process has the lease.
async fn reencrypt(administration: &Administration, lease: &UpkeepLease) {
    while lease.is_held() {
        match administration.reencrypt().await {
            Ok(step) if !step.finished => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = %error, "the store's records could not be encrypted again");
                return;
            }
        }
    }
}

/// Removes expired records, a batch at a time, while this process has the lease.
async fn sweep(process: &Process) {
    while process.lease.is_held() {
        match process.store.sweep(process.clock.now(), SWEEP_BATCH).await {
            Ok(SWEEP_BATCH) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = %error, "expired records could not be removed");
                return;
            }
        }
    }
}

async fn serve_admin(listener: TcpListener, routes: Arc<ArcSwap<Router>>) {
    if let Err(error) = admin::serve(listener, routes).await {
        tracing::error!(error = %error, "the admin listener has failed");
    }
}
