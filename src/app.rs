//! The composition root: every part of the process is made here, in order, and ended here, in the reverse order.

mod secrets;
mod stopped;

use std::{net::TcpListener, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

pub use stopped::operations;

use crate::{
    admin::{self, Operations, Probes, Stage},
    api::{self, ApiState, Voices},
    audit::Audit,
    auth::{Administration, AdministrationParts, Auth, AuthParts, AuthRules, Authorizer, Denylist, Limits, Passwords},
    clock::Clock,
    config::{Config, Problems},
    crypto,
    dialect::{Dialects, Terms},
    entropy::Entropy,
    gate::{self, Gate},
    metrics::Metrics,
    outbound::AdminClient,
    policy::IdentityHeaders,
    provider::{sms::Sms, wechat::Wechat},
    proxy::{Listener, Parts, Server, Snapshot, SnapshotParts, Upstreams},
    store::{self, Measured, OpenOptions, Opening, Store, StoreKeys},
    telemetry::{AccessLog, Sink},
    token::{Issuer, Keyrings, RefreshTokens, SessionHandles, Verifier},
    types::Secret,
};

/// Expired things removed in one operation of the store, so that logins are not held up for long.
const SWEEP_BATCH: usize = 500;
/// How often answers kept for repeated logins are let go, and lost log lines are counted.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// The whole program, ready to serve: listeners are bound, the store is open, nothing is accepted yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    parts: Core,
    server: Server,
    admin: TcpListener,
    admin_routes: Router,
    stage: watch::Sender<Stage>,
}

/// What the tasks in the background share.
#[derive(Clone)]
struct Core {
    store: Arc<dyn Store>,
    keyrings: Arc<Keyrings>,
    denylist: Arc<Denylist>,
    auth: Arc<Auth>,
    administration: Arc<Administration>,
    metrics: Metrics,
    audit: Audit,
    clock: Clock,
    sink: Sink,
}

/// Checks that know more of the config than its own sections do: rules, header names, dialects.
pub fn check(config: &Config, problems: &mut Problems) {
    for (key, message) in gate::compile_policy(config).err().unwrap_or_default() {
        problems.add(&key, message);
    }
    for (key, message) in IdentityHeaders::compile(&config.identity).err().unwrap_or_default() {
        problems.add(&key, message);
    }
    for (key, message) in Dialects::compile(config).err().unwrap_or_default() {
        problems.add(&key, message);
    }
}

/// A client for the admin API of a process that runs with this config; `None` where it has none, or has never started.
pub fn admin_client(config: &Config) -> anyhow::Result<Option<AdminClient>> {
    let Some(token) = secrets::known_admin_token(&config.admin)? else { return Ok(None) };
    Ok(Some(AdminClient::new(&config.admin.listen, token)?))
}

/// Opens the store that the config names. Blocks while another process holds it.
pub fn open_store(config: &Config, entropy: &Entropy) -> anyhow::Result<Opening> {
    let key = secrets::encryption_key(&config.store, entropy)?;
    let keys = StoreKeys::derive(&key, config.store.previous_key()?.as_ref());
    let cache_bytes = u64::try_from(config.store.cache.get()).unwrap_or(u64::MAX);
    let options = OpenOptions { cache_bytes, lock_wait: config.store.lock_wait.get() };
    Ok(store::open(&config.store.url, &options, &keys, entropy.clone())?)
}

impl App {
    /// Makes every part. `sink` is where log lines go.
    pub async fn build(config: Config, clock: Clock, sink: &Sink) -> anyhow::Result<Self> {
        let entropy = Entropy::default();
        let metrics = Metrics::new();
        let audit = Audit::new(metrics.clone());
        // Ports first: whoever starts a second menshen by mistake is told so before anything is touched.
        let listeners = config
            .server
            .listen
            .iter()
            .map(|address| Listener::bind(address).with_context(|| format!("cannot listen on {address}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let admin = TcpListener::bind(&config.admin.listen)
            .with_context(|| format!("cannot listen on {} (admin.listen)", config.admin.listen))?;
        let upstreams = Upstreams::resolve(&config.upstream)?;

        // It may wait for another process, and signals must be heard meanwhile.
        let (store_config, store_entropy) = (config.clone(), entropy.clone());
        let opened = tokio::task::spawn_blocking(move || open_store(&store_config, &store_entropy)).await??;
        let engine = store::engine(&config.store.url);
        let store: Arc<dyn Store> = Arc::new(Measured::new(opened.store, engine, metrics.clone()));
        let dialects = Arc::new(Dialects::compile(&config).map_err(unchecked)?);
        let lifetimes = dialects.lifetimes(&config.tokens);
        let keyrings = Arc::new(Keyrings::open(&config.tokens, lifetimes, &*store, &entropy, clock.now()).await?);
        let denylist = Arc::new(Denylist::remembering(lifetimes.longest_accepted() + config.tokens.leeway.get()));
        denylist.load(&*store).await.context("cannot read the revocations")?;
        denylist.forget(clock.now());

        let identity_headers = IdentityHeaders::compile(&config.identity).map_err(unchecked)?;
        let verifier = Verifier::new(keyrings.clone(), &config.tokens, lifetimes);
        let authorizer =
            Authorizer::new(verifier, denylist.clone(), identity_headers, config.tokens.cache_entries, &metrics);
        let authorizer = Arc::new(authorizer);
        let passwords = Arc::new(Passwords::new(entropy.clone()));
        let wechat = Arc::new(Wechat::new(&config.wechat, config.mode, metrics.clone(), &clock, &entropy)?);
        let auth = Arc::new(Auth::new(AuthParts {
            store: store.clone(),
            wechat: wechat.clone(),
            sms: Sms::new(&config.sms, config.mode, metrics.clone(), &entropy)?,
            issuer: Arc::new(Issuer::new(keyrings.clone(), &config.tokens, entropy.clone())),
            refresh_tokens: Arc::new(RefreshTokens::new(crypto::derive(&opened.root, "refresh tokens"))),
            session_handles: SessionHandles::new(crypto::derive(&opened.root, "session handles")),
            denylist: denylist.clone(),
            code_key: crypto::derive(&opened.root, "login codes"),
            sms_key: crypto::derive(&opened.root, "SMS codes"),
            limits: Limits::new(&config.limits, clock.clone(), metrics.clone()),
            passwords: passwords.clone(),
            metrics: metrics.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            rules: AuthRules::of(&config),
        }));
        let api = api::router(ApiState {
            auth: auth.clone(),
            authorizer: authorizer.clone(),
            keyrings: keyrings.clone(),
            prefix: config.auth.prefix.clone(),
            openid_in_answers: config.auth.openid_in_answers,
            terms: Arc::new(Terms::plain()),
            dialects: dialects.clone(),
        });

        let gate = Gate::compile(&config, dialects.answered(), authorizer, metrics.clone()).map_err(unchecked)?;
        let access_log = config.telemetry.access_log.then(|| (sink.clone(), config.telemetry.log_format));
        let snapshot = Snapshot::new(SnapshotParts {
            config: &config,
            gate,
            api,
            voices: Voices::new(dialects, clock.clone()),
            upstreams,
            metrics: &metrics,
            access_log: AccessLog::new(access_log),
            entropy: &entropy,
        })?;
        let server =
            Server::new(Parts { config: &config, snapshot, listeners, metrics: metrics.clone(), clock: clock.clone() });
        let (stage, stage_seen) = watch::channel(Stage::Starting);
        let probes = Probes { stage: stage_seen, store: store.clone(), metrics: metrics.clone() };
        let administration = Arc::new(Administration::new(AdministrationParts {
            store: store.clone(),
            passwords,
            denylist: Some(denylist.clone()),
            metrics: metrics.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            first_integer: AuthRules::of(&config).first_integer,
            announce: AuthRules::of(&config).announce,
        }));
        let token = secrets::admin_token(&config.admin, &entropy)?;
        let operations = Operations {
            administration: administration.clone(),
            keyrings: keyrings.clone(),
            store: store.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy,
        };
        let mut admin_routes = admin::router(probes, token, operations);
        if let Some(secret) = &config.wechat.lend_token {
            admin_routes = admin_routes.merge(admin::lending::router(wechat, Secret::new(secret.expose().clone())));
        }
        let parts = Core { administration, store, keyrings, denylist, auth, metrics, audit, clock, sink: sink.clone() };
        Ok(Self { config, parts, server, admin, admin_routes, stage })
    }

    /// Where clients reach it: the addresses of `server.listen`, with the ports that were taken for port 0.
    pub fn addresses(&self) -> Vec<String> {
        self.server.addresses()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> String {
        self.admin.local_addr().map(|at| at.to_string()).unwrap_or_default()
    }

    /// The metrics, for what counts outside of requests.
    pub const fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Serves until `stop` resolves, then stops in order: unready, serve on, drain, close the store. `hurry` cuts waiting
    /// short.
    pub async fn run(mut self, stop: impl Future<Output = ()>, hurry: impl Future<Output = ()>) -> anyhow::Result<()> {
        let addresses = self.addresses();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_admin(self.admin.try_clone()?, self.admin_routes.clone()));
        self.parts.start(&self.config, &mut tasks);
        self.server.serve();
        self.stage.send_replace(Stage::Serving);
        tracing::info!(
            http = addresses.first(),
            listening = addresses.join(", "),
            admin = self.admin_address(),
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        stop.await;

        self.stage.send_replace(Stage::Stopping);
        tracing::info!("stopping: unready, still serving");
        self.server.close_gently();
        let drained = async {
            sleep(self.config.server.unready_grace.get()).await;
            self.server.stop(self.config.server.drain_timeout.get()).await
        };
        let mut hurry = pin!(hurry);
        tokio::select! {
            drained = drained => {
                if !drained? {
                    tracing::warn!("some requests were still running when the drain time was over");
                }
            }
            () = hurry.as_mut() => tracing::warn!("told twice to stop: not waiting for requests in flight"),
        }
        tasks.shutdown().await;
        self.parts.store.close().await.context("the store did not close")?;
        tracing::info!("stopped");
        Ok(())
    }
}

impl Core {
    /// Starts what goes on in the background. Each task is dropped at an await when its time is over.
    fn start(&self, config: &Config, tasks: &mut JoinSet<()>) {
        let core = self.clone();
        let poll = config.store.revocation_poll.get();
        tasks.spawn(async move {
            core.denylist.follow(&*core.store, &core.clock, poll, &core.metrics, std::future::pending()).await;
        });
        let core = self.clone();
        tasks.spawn(async move {
            core.keyrings.follow(&*core.store, &core.clock, &core.audit, std::future::pending()).await;
        });
        let core = self.clone();
        let every = config.store.sweep_interval.get();
        tasks.spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                core.reseal().await;
                core.sweep().await;
            }
        });
        let core = self.clone();
        tasks.spawn(async move {
            let mut ticks = interval(FORGET_EVERY);
            loop {
                ticks.tick().await;
                core.auth.forget();
                core.metrics.log_lines_dropped.inc_by(core.sink.take_given_up());
            }
        });
    }

    /// Goes on with a change of the store's key that somebody began and did not finish.
    async fn reseal(&self) {
        loop {
            match self.administration.reseal().await {
                Ok(step) if !step.finished => {}
                Ok(_) => return,
                Err(fault) => {
                    tracing::warn!(error = %fault, "the store's records could not be sealed anew");
                    return;
                }
            }
        }
    }

    /// Removes what has expired, a batch at a time.
    async fn sweep(&self) {
        loop {
            match self.store.sweep(self.clock.now(), SWEEP_BATCH).await {
                Ok(SWEEP_BATCH) => {}
                Ok(_) => return,
                Err(fault) => {
                    tracing::warn!(error = %fault, "expired things could not be removed");
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Core")
    }
}

async fn serve_admin(listener: TcpListener, routes: Router) {
    if let Err(fault) = admin::serve(listener, routes).await {
        tracing::error!(error = %fault, "the admin listener has failed");
    }
}

/// Problems that [`check`] finds, for a config that nobody has checked.
fn unchecked(problems: Vec<(String, String)>) -> anyhow::Error {
    let lines: Vec<_> = problems.into_iter().map(|(key, message)| format!("{key}: {message}")).collect();
    anyhow::anyhow!(lines.join("\n"))
}
