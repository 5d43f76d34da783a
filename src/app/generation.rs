//! Everything that is created from one config. A reload builds another generation beside it and
//! then swaps both at once.
//!
//! Must stay true: no part is visible before all of them exist, so a config that fails changes
//! nothing; parts with state (limits, WeChat's access tokens, verified tokens) are reused where
//! their section of the config is the same.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::Router;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    admin_routes::AdminRoutes, assertions::upstream_assertions, check::problems_error,
    process::Process, replica_facts,
};
use crate::{
    api::{self, ApiState, ErrorRenderer},
    auth::{Administration, Auth, AuthRules, Authorizer, Limits},
    config::{Config, ValueOrigins},
    crypto,
    dialect::{Dialects, TokenProfile},
    gate::{self, Gate},
    metrics::Metrics,
    policy::IdentityHeaders,
    provider::{
        hooks::{CreatedResponseRules, Hooks},
        sms::Sms,
        wechat::{PushReceiver, Wechat},
    },
    proxy::{Snapshot, SnapshotParts, Upstreams},
    store::ReplicaFacts,
    telemetry::AccessLog,
    token::{
        Issuer, KeyMaintenance, Keyrings, Lifetimes, RESERVED_CLAIMS, RefreshTokens,
        SessionHandles, TrustedIssuers, Verifier,
    },
    types::REVOCATION_RETENTION,
};

/// How long a start waits for the keys of external issuers.
const FIRST_KEYS_TIMEOUT: Duration = Duration::from_secs(2);

/// One config at work.
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) auth: Arc<Auth>,
    pub(super) administration: Arc<Administration>,
    pub(super) admin_routes: Router,
    keyrings: Arc<Keyrings>,
    pub(super) authorizer: Arc<Authorizer>,
    limits: Arc<Limits>,
    wechat: Arc<Wechat>,
    upstreams: Arc<Upstreams>,
    issuers: Arc<TrustedIssuers>,
    /// Claims of external tokens that rules and headers of this config use.
    custom_claims: Arc<[Arc<str>]>,
    hooks: Option<Arc<Hooks>>,
    /// What the other processes on the same store compare with theirs.
    pub(super) replica_facts: ReplicaFacts,
    tasks: Vec<GenerationTask>,
}

/// A background task that is aborted on drop.
struct GenerationTask(JoinHandle<()>);

impl Drop for GenerationTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Generation {
    /// Builds all parts; `previous` is the generation in use.
    pub(super) async fn build(
        process: &Arc<Process>,
        config: Config,
        origins: ValueOrigins,
        previous: Option<&Self>,
    ) -> anyhow::Result<(Self, Snapshot)> {
        let builder = Builder {
            process,
            config: &config,
            previous,
        };
        let dialects = Arc::new(Dialects::compile(&config).map_err(problems_error)?);
        let lifetimes = dialects.lifetimes(&config.tokens);
        let replica_facts = replica_facts::facts(&config, &dialects)?;
        builder.set_revocation_retention(lifetimes);
        let upstreams = builder.upstreams().await?;
        let keyrings = builder.keyrings(lifetimes).await?;
        let custom_claims = gate::custom_claims(&config);
        let issuers = builder.issuers(&custom_claims).await?;
        let verifier = Verifier::new(keyrings.clone(), &config.tokens, lifetimes)
            .with_custom_claims(custom_claims.clone());
        let authorizer = builder.authorizer(verifier, &issuers)?;
        let limits = builder.limits();
        let wechat = builder.wechat()?;
        let hooks = builder.hooks()?;
        let auth = builder.auth(&keyrings, &limits, &wechat, hooks.as_ref())?;
        let snapshot = builder
            .snapshot(&dialects, &auth, &authorizer, &keyrings, &upstreams)
            .await?;
        let administration = builder.administration();
        let admin_routes = AdminRoutes {
            process,
            config: &config,
            origins: &origins,
            administration: &administration,
            keyrings: &keyrings,
            wechat: &wechat,
            issuers: &issuers,
            gate: builder.gate(&dialects, &authorizer, &Metrics::new())?,
        };
        let admin_routes = admin_routes.build()?;
        let generation = Self {
            config,
            auth,
            administration,
            admin_routes,
            keyrings,
            authorizer,
            limits,
            wechat,
            upstreams,
            issuers,
            custom_claims,
            hooks,
            replica_facts,
            tasks: Vec::new(),
        };
        Ok((generation, snapshot))
    }

    /// Shows in the metrics and in `/readyz` whether the gate, or a rule, is in report-only mode.
    fn publish_report_only(&self, process: &Process) {
        let gauge = &process.metrics.report_only;
        let was_reporting = gauge.get() == 1;
        gauge.set(i64::from(self.config.reports_only()));
        let state = if self.config.gate.report_only {
            "report only: no request is rejected by path, token or rule"
        } else if self.config.reports_only() {
            "report only on the paths of some rules"
        } else if was_reporting {
            "refuses"
        } else {
            return;
        };
        process.details.set("gate", state);
    }

    /// Starts the background tasks of this generation; they end when it is dropped.
    pub(super) fn start(&mut self, process: &Arc<Process>) {
        process
            .outbox_dispatcher
            .set_target(self.hooks.clone(), self.config.hooks.give_up_after.get());
        self.publish_report_only(process);
        process.console.begin_generation(process.clock.now());
        if self.config.admin.has_token() {
            let (console, metrics) = (process.console.clone(), process.metrics.clone());
            let (store, stage) = (process.store.clone(), process.stage.clone());
            let denylist = process.denylist.clone();
            self.tasks.push(GenerationTask(tokio::spawn(async move {
                console.sample(&metrics, &*store, &denylist, stage).await;
            })));
        }
        let sms = &self.config.sms;
        let budget = if sms.enabled_providers(self.config.mode).is_empty() {
            0
        } else {
            sms.daily_budget
        };
        process.metrics.sms_daily_budget.set(budget.into());
        let (details, upstreams) = (process.details.clone(), self.upstreams.clone());
        self.tasks
            .push(GenerationTask(tokio::spawn(upstreams.run_health_checks(
                move |good, all| details.set("upstreams", format!("{good} of {all} healthy")),
            ))));
        let (process, keyrings) = (process.clone(), self.keyrings.clone());
        self.tasks.push(GenerationTask(tokio::spawn(async move {
            let maintenance = KeyMaintenance {
                store: &*process.store,
                lease: &process.lease,
                clock: &process.clock,
                entropy: &process.entropy,
                audit: &process.audit,
                metrics: &process.metrics,
            };
            keyrings.follow(maintenance, std::future::pending()).await;
        })));
    }
}

/// Builds the parts of a generation. A part whose section of the config is the same is the previous
/// generation's.
struct Builder<'a> {
    process: &'a Arc<Process>,
    config: &'a Config,
    previous: Option<&'a Generation>,
}

impl<'a> Builder<'a> {
    /// The previous generation, where this part of its config is the same.
    fn previous_with_same<T: PartialEq>(
        &self,
        section: impl Fn(&Config) -> &T,
    ) -> Option<&'a Generation> {
        self.previous
            .filter(|previous| section(&previous.config) == section(self.config))
    }

    /// Tokens of other issuers live as long as they say, so revocations are then remembered as long
    /// as they can be.
    fn set_revocation_retention(&self, lifetimes: Lifetimes) {
        let longest = lifetimes.max_accepted_lifetime() + self.config.tokens.leeway.get();
        self.process
            .denylist
            .extend_retention(if self.config.issuer.is_empty() {
                longest
            } else {
                REVOCATION_RETENTION
            });
    }

    async fn upstreams(&self) -> anyhow::Result<Arc<Upstreams>> {
        let upstream = &self.config.upstream;
        let same = self
            .previous_with_same(|config| &config.upstream)
            .filter(|previous| previous.upstreams.has_same_tls_files(&upstream.tls));
        if let Some(previous) = same {
            return Ok(previous.upstreams.clone());
        }
        let previous = self.previous.map(|previous| &*previous.upstreams);
        let upstreams = Upstreams::new(upstream, &self.process.metrics, previous)?;
        upstreams.resolve().await;
        Ok(Arc::new(upstreams))
    }

    fn same_tokens(&self) -> Option<&'a Generation> {
        self.previous_with_same(|config| &config.tokens)
            .filter(|previous| previous.config.dialect == self.config.dialect)
    }

    async fn keyrings(&self, lifetimes: Lifetimes) -> anyhow::Result<Arc<Keyrings>> {
        if let Some(previous) = self.same_tokens() {
            return Ok(previous.keyrings.clone());
        }
        let (tokens, process) = (&self.config.tokens, self.process);
        let (store, now) = (&*process.store, process.clock.now());
        let keyrings = Keyrings::open(tokens, lifetimes, store, &process.entropy, now).await?;
        Ok(Arc::new(keyrings))
    }

    async fn issuers(
        &self,
        custom_claims: &Arc<[Arc<str>]>,
    ) -> anyhow::Result<Arc<TrustedIssuers>> {
        // Their key files are read in any case: what is in them is not in the config.
        let issuers =
            TrustedIssuers::compile(self.config, custom_claims).map_err(problems_error)?;
        let same = self
            .previous_with_same(|config| &config.issuer)
            .filter(|previous| {
                previous.custom_claims == *custom_claims
                    && previous.issuers.have_same_key_sources(&issuers)
            });
        let issuers = match (same, self.previous) {
            (Some(previous), _) => previous.issuers.clone(),
            (None, Some(previous)) => Arc::new(issuers.with_keys_from(&previous.issuers)),
            (None, None) => Arc::new(issuers),
        };
        issuers.follow(&self.process.metrics);
        // Keys that come soon are there before the first client; the start does not wait longer.
        drop(timeout(FIRST_KEYS_TIMEOUT, issuers.first_attempt()).await);
        Ok(issuers)
    }

    fn authorizer(
        &self,
        verifier: Verifier,
        issuers: &Arc<TrustedIssuers>,
    ) -> anyhow::Result<Arc<Authorizer>> {
        let same = self.same_tokens().filter(|previous| {
            previous.config.identity == self.config.identity
                && Arc::ptr_eq(&previous.issuers, issuers)
        });
        if let Some(previous) = same {
            return Ok(previous.authorizer.clone());
        }
        let identity_headers =
            IdentityHeaders::compile(&self.config.identity).map_err(problems_error)?;
        Ok(Arc::new(Authorizer::new(
            verifier,
            issuers.clone(),
            self.process.denylist.clone(),
            identity_headers,
            self.config.tokens.cache_entries,
            &self.process.metrics,
        )))
    }

    fn limits(&self) -> Arc<Limits> {
        if let Some(previous) = self.previous_with_same(|config| &config.limits) {
            return previous.limits.clone();
        }
        let Process { clock, metrics, .. } = &**self.process;
        Arc::new(Limits::new(
            &self.config.limits,
            clock.clone(),
            metrics.clone(),
        ))
    }

    fn wechat(&self) -> anyhow::Result<Arc<Wechat>> {
        if let Some(previous) = self.previous_with_same(|config| &config.wechat) {
            return Ok(previous.wechat.clone());
        }
        let Process {
            metrics,
            clock,
            entropy,
            ..
        } = &**self.process;
        let Config { wechat, mode, .. } = self.config;
        let wechat = Wechat::new(wechat, *mode, metrics.clone(), clock, entropy)?;
        Ok(Arc::new(wechat))
    }

    fn same_hooks(&self) -> Option<&'a Generation> {
        self.previous_with_same(|config| &config.hooks)
            .filter(|previous| previous.config.users == self.config.users)
    }

    fn hooks(&self) -> anyhow::Result<Option<Arc<Hooks>>> {
        if let Some(previous) = self.same_hooks() {
            return Ok(previous.hooks.clone());
        }
        let rules = CreatedResponseRules {
            integers_below: self.config.users.first_generated_id(),
            reserved: &RESERVED_CLAIMS,
        };
        let Process { metrics, clock, .. } = &**self.process;
        let hooks = Hooks::new(&self.config.hooks, rules, metrics.clone(), clock.clone())?;
        Ok(hooks.map(Arc::new))
    }

    fn auth(
        &self,
        keyrings: &Arc<Keyrings>,
        limits: &Arc<Limits>,
        wechat: &Arc<Wechat>,
        hooks: Option<&Arc<Hooks>>,
    ) -> anyhow::Result<Arc<Auth>> {
        let (config, process) = (self.config, self.process);
        let Process { root, entropy, .. } = &**process;
        let metrics = process.metrics.clone();
        let issuer = Issuer::new(keyrings.clone(), &config.tokens, entropy.clone());
        Ok(Arc::new(Auth {
            store: process.store.clone(),
            wechat: wechat.clone(),
            sms: Sms::new(&config.sms, config.mode, metrics.clone(), entropy)?,
            issuer: Arc::new(issuer),
            refresh_tokens: Arc::new(RefreshTokens::new(crypto::derive(root, "refresh tokens"))),
            session_handles: SessionHandles::new(crypto::derive(root, "session handles")),
            denylist: process.denylist.clone(),
            hooks: hooks.cloned(),
            outbox_dispatcher: process.outbox_dispatcher.clone(),
            hook_key: crypto::derive(root, "people, as hooks name them"),
            code_key: crypto::derive(root, "login codes"),
            sms_key: crypto::derive(root, "SMS codes"),
            limits: limits.clone(),
            memory: process.memory.clone(),
            passwords: process.passwords.clone(),
            metrics,
            audit: process.audit.clone(),
            clock: process.clock.clone(),
            entropy: entropy.clone(),
            rules: AuthRules::from_config(config),
        }))
    }

    fn gate(
        &self,
        dialects: &Dialects,
        authorizer: &Arc<Authorizer>,
        metrics: &Metrics,
    ) -> anyhow::Result<Gate> {
        let routes = dialects.local_routes();
        let (config, authorizer) = (self.config, authorizer.clone());
        Gate::compile(config, routes, authorizer, metrics.clone()).map_err(problems_error)
    }

    async fn snapshot(
        &self,
        dialects: &Arc<Dialects>,
        auth: &Arc<Auth>,
        authorizer: &Arc<Authorizer>,
        keyrings: &Arc<Keyrings>,
        upstreams: &Arc<Upstreams>,
    ) -> anyhow::Result<Snapshot> {
        let (config, process) = (self.config, self.process);
        let (metrics, clock) = (&process.metrics, &process.clock);
        let api = api::router(ApiState {
            pushes: PushReceiver::new(&config.wechat, clock).map(Arc::new),
            metrics: metrics.clone(),
            auth: auth.clone(),
            authorizer: authorizer.clone(),
            keyrings: keyrings.clone(),
            prefix: config.auth.prefix.clone(),
            openid_in_answers: config.auth.openid_in_answers,
            token_header: config.gate.token_header.as_deref().map(Arc::from),
            token_profile: Arc::new(TokenProfile::default()),
            dialects: dialects.clone(),
            local_routes: Arc::new(dialects.local_routes()),
        });
        let gate = self.gate(dialects, authorizer, metrics)?;
        let access_log = (config.telemetry.access_log)
            .then(|| (process.sink.clone(), config.telemetry.log_format));
        Ok(Snapshot::new(SnapshotParts {
            config,
            gate,
            api,
            error_renderer: ErrorRenderer::new(dialects.clone(), clock.clone()),
            upstreams: upstreams.clone(),
            streams: process.streams.clone(),
            assertions: upstream_assertions(process, config, keyrings).await?,
            metrics,
            access_log: AccessLog::new(access_log),
            entropy: &process.entropy,
        })?)
    }

    fn administration(&self) -> Arc<Administration> {
        if let Some(previous) = self.same_hooks() {
            return previous.administration.clone();
        }
        let process = self.process;
        let rules = AuthRules::from_config(self.config);
        Arc::new(Administration {
            store: process.store.clone(),
            passwords: process.passwords.clone(),
            denylist: Some(process.denylist.clone()),
            metrics: process.metrics.clone(),
            audit: process.audit.clone(),
            clock: process.clock.clone(),
            entropy: process.entropy.clone(),
            first_integer: rules.first_integer,
            outbox: rules.outbox,
            is_changing_key: AtomicBool::default(),
        })
    }
}
