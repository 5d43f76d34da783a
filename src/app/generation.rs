//! Everything that is made from one config. A reload makes another one beside it and then changes
//! over at once.
//!
//! Must stay true: nothing here is visible before all of it is made, so a config that fails changes
//! nothing; what remembers something (limits, WeChat's access tokens, verified tokens) goes on
//! where its part of the config is the same.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use tokio::{task::JoinHandle, time::timeout};

use super::{assertions, problems_error, process::Process, secrets};
use crate::{
    admin::{self, Operations, Probes},
    api::{self, ApiState, Voices},
    auth::{Administration, AdministrationParts, Auth, AuthParts, AuthRules, Authorizer, Limits},
    config::Config,
    crypto,
    dialect::{Dialects, TokenProfile},
    gate::{self, Gate},
    policy::IdentityHeaders,
    provider::{
        hooks::{CreatedResponseRules, Hooks},
        sms::Sms,
        wechat::{PushReceiver, Wechat},
    },
    proxy::{Snapshot, SnapshotParts, Upstreams},
    telemetry::AccessLog,
    token::{
        Issuer, KeyMaintenance, Keyrings, RESERVED_CLAIMS, RefreshTokens, SessionHandles,
        TrustedIssuers, Verifier,
    },
    types::REVOCATION_RETENTION,
    types::Secret,
};

/// How long a start waits for the keys of other issuers.
const FIRST_KEYS_TIMEOUT: Duration = Duration::from_secs(2);

/// One config at work.
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) auth: Arc<Auth>,
    pub(super) administration: Arc<Administration>,
    pub(super) admin_routes: Router,
    keyrings: Arc<Keyrings>,
    authorizer: Arc<Authorizer>,
    limits: Arc<Limits>,
    wechat: Arc<Wechat>,
    upstreams: Arc<Upstreams>,
    issuers: Arc<TrustedIssuers>,
    /// Claims that rules and headers of this config ask for.
    extra_claims: Arc<[Arc<str>]>,
    hooks: Option<Arc<Hooks>>,
    tasks: Vec<Task>,
}

/// Something that goes on in the background until it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Generation {
    #[expect(
        clippy::too_many_lines,
        reason = "the parts in their order, each made once"
    )]
    /// Makes all parts; `previous` is the generation that works now.
    pub(super) async fn build(
        process: &Arc<Process>,
        config: Config,
        previous: Option<&Self>,
    ) -> anyhow::Result<(Self, Snapshot)> {
        let Process {
            store,
            root,
            denylist,
            passwords,
            memory,
            metrics,
            audit,
            clock,
            entropy,
            ..
        } = &**process;
        let dialects = Arc::new(Dialects::compile(&config).map_err(problems_error)?);
        let lifetimes = dialects.lifetimes(&config.tokens);
        // Tokens of others live as long as they say, so revocations are remembered as long as they
        // can be.
        let longest = lifetimes.max_accepted_lifetime() + config.tokens.leeway.get();
        denylist.extend_retention(if config.issuer.is_empty() {
            longest
        } else {
            REVOCATION_RETENTION
        });

        let same_upstream = previous.filter(|previous| {
            previous.config.upstream == config.upstream
                && previous.upstreams.trust_as(&config.upstream.tls)
        });
        let upstreams = if let Some(previous) = same_upstream {
            previous.upstreams.clone()
        } else {
            let upstreams = Upstreams::new(
                &config.upstream,
                metrics,
                previous.map(|previous| &*previous.upstreams),
            )?;
            upstreams.resolve().await;
            Arc::new(upstreams)
        };
        let same_tokens = previous.filter(|previous| {
            previous.config.tokens == config.tokens && previous.config.dialect == config.dialect
        });
        let keyrings = match same_tokens {
            Some(previous) => previous.keyrings.clone(),
            None => Arc::new(
                Keyrings::open(&config.tokens, lifetimes, &**store, entropy, clock.now()).await?,
            ),
        };
        // The files of their keys are read in any case: what is in them is not in the config.
        let extra_claims = gate::kept_claims(&config);
        let issuers = TrustedIssuers::compile(&config, &extra_claims).map_err(problems_error)?;
        let same_issuers = previous.filter(|previous| {
            previous.config.issuer == config.issuer
                && previous.extra_claims == extra_claims
                && previous.issuers.have_same_key_sources(&issuers)
        });
        let issuers = match (same_issuers, previous) {
            (Some(previous), _) => previous.issuers.clone(),
            (None, Some(previous)) => Arc::new(issuers.with_keys_from(&previous.issuers)),
            (None, None) => Arc::new(issuers),
        };
        issuers.follow(metrics);
        // Where they can be had soon, their keys are there before the first client; where not,
        // nobody waits for them.
        drop(timeout(FIRST_KEYS_TIMEOUT, issuers.first_attempt()).await);
        let same_identity =
            same_tokens.filter(|previous| previous.config.identity == config.identity);
        let same_identity = same_identity.filter(|_| same_issuers.is_some());
        let authorizer = if let Some(previous) = same_identity {
            previous.authorizer.clone()
        } else {
            let identity_headers =
                IdentityHeaders::compile(&config.identity).map_err(problems_error)?;
            let verifier = Verifier::new(keyrings.clone(), &config.tokens, lifetimes)
                .with_custom_claims(extra_claims.clone());
            let remembered = config.tokens.cache_entries;
            Arc::new(Authorizer::new(
                verifier,
                issuers.clone(),
                denylist.clone(),
                identity_headers,
                remembered,
                metrics,
            ))
        };
        let limits = match previous.filter(|previous| previous.config.limits == config.limits) {
            Some(previous) => previous.limits.clone(),
            None => Arc::new(Limits::new(&config.limits, clock.clone(), metrics.clone())),
        };
        let wechat = match previous.filter(|previous| previous.config.wechat == config.wechat) {
            Some(previous) => previous.wechat.clone(),
            None => Arc::new(Wechat::new(
                &config.wechat,
                config.mode,
                metrics.clone(),
                clock,
                entropy,
            )?),
        };
        let same_hooks = previous.filter(|previous| {
            previous.config.hooks == config.hooks && previous.config.users == config.users
        });
        let hooks = if let Some(previous) = same_hooks {
            previous.hooks.clone()
        } else {
            let rules = CreatedResponseRules {
                integers_below: config.users.first_generated_id(),
                reserved: &RESERVED_CLAIMS,
            };
            Hooks::new(&config.hooks, rules, metrics.clone(), clock.clone())?.map(Arc::new)
        };
        let auth = Arc::new(Auth::new(AuthParts {
            store: store.clone(),
            wechat: wechat.clone(),
            sms: Sms::new(&config.sms, config.mode, metrics.clone(), entropy)?,
            issuer: Arc::new(Issuer::new(
                keyrings.clone(),
                &config.tokens,
                entropy.clone(),
            )),
            refresh_tokens: Arc::new(RefreshTokens::new(crypto::derive(root, "refresh tokens"))),
            session_handles: SessionHandles::new(crypto::derive(root, "session handles")),
            denylist: denylist.clone(),
            hooks: hooks.clone(),
            outbox_dispatcher: process.outbox_dispatcher.clone(),
            hook_key: crypto::derive(root, "people, as hooks name them"),
            code_key: crypto::derive(root, "login codes"),
            sms_key: crypto::derive(root, "SMS codes"),
            limits: limits.clone(),
            memory: memory.clone(),
            passwords: passwords.clone(),
            metrics: metrics.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            rules: AuthRules::from_config(&config),
        }));
        let api = api::router(ApiState {
            pushes: PushReceiver::new(&config.wechat, clock).map(Arc::new),
            metrics: metrics.clone(),
            auth: auth.clone(),
            authorizer: authorizer.clone(),
            keyrings: keyrings.clone(),
            prefix: config.auth.prefix.clone(),
            openid_in_answers: config.auth.openid_in_answers,
            terms: Arc::new(TokenProfile::plain()),
            dialects: dialects.clone(),
        });
        let gate = Gate::compile(
            &config,
            dialects.local_routes(),
            authorizer.clone(),
            metrics.clone(),
        )
        .map_err(problems_error)?;
        let access_log = config
            .telemetry
            .access_log
            .then(|| (process.sink.clone(), config.telemetry.log_format));
        let snapshot = Snapshot::new(SnapshotParts {
            config: &config,
            gate,
            api,
            voices: Voices::new(dialects, clock.clone()),
            upstreams: upstreams.clone(),
            streams: process.streams.clone(),
            proofs: assertions::upstream_assertions(process, &config, &keyrings).await?,
            metrics,
            access_log: AccessLog::new(access_log),
            entropy,
        })?;

        let administration = match same_hooks {
            Some(previous) => previous.administration.clone(),
            None => Arc::new(Administration::new(AdministrationParts {
                store: store.clone(),
                passwords: passwords.clone(),
                denylist: Some(denylist.clone()),
                metrics: metrics.clone(),
                audit: audit.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
                first_integer: AuthRules::from_config(&config).first_integer,
                outbox: AuthRules::from_config(&config).outbox,
            })),
        };
        let admin_routes = admin_routes(
            process,
            &config,
            &administration,
            &keyrings,
            &wechat,
            &issuers,
        )?;
        let tasks = Vec::new();
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
            extra_claims,
            hooks,
            tasks,
        };
        Ok((generation, snapshot))
    }

    /// Nobody is to forget that the gate refuses nobody.
    fn publish_report_only(&self, process: &Process) {
        let gauge = &process.metrics.report_only;
        let was_reporting = gauge.get() == 1;
        gauge.set(i64::from(self.config.reports_only()));
        if self.config.gate.report_only {
            process.details.set(
                "gate",
                "report only: nobody is refused by path, token or rule",
            );
        } else if self.config.reports_only() {
            process
                .details
                .set("gate", "report only on the paths of some rules");
        } else if was_reporting {
            process.details.set("gate", "refuses");
        }
    }

    /// Starts what this generation does in the background; it ends when the generation is dropped.
    pub(super) fn start(&mut self, process: &Arc<Process>) {
        process
            .outbox_dispatcher
            .set_target(self.hooks.clone(), self.config.hooks.give_up_after.get());
        self.publish_report_only(process);
        let sms = &self.config.sms;
        let budget = if sms.enabled_providers(self.config.mode).is_empty() {
            0
        } else {
            sms.daily_budget
        };
        process.metrics.sms_daily_budget.set(budget.into());
        let (details, upstreams) = (process.details.clone(), self.upstreams.clone());
        self.tasks
            .push(Task(tokio::spawn(upstreams.watch(move |good, all| {
                details.set("upstreams", format!("{good} of {all} healthy"))
            }))));
        let (process, keyrings) = (process.clone(), self.keyrings.clone());
        self.tasks.push(Task(tokio::spawn(async move {
            let Process {
                store,
                clock,
                entropy,
                audit,
                metrics,
                ..
            } = &*process;
            keyrings
                .follow(
                    KeyMaintenance {
                        store: &**store,
                        clock,
                        entropy,
                        audit,
                        metrics,
                    },
                    std::future::pending(),
                )
                .await;
        })));
    }
}

fn admin_routes(
    process: &Process,
    config: &Config,
    administration: &Arc<Administration>,
    keyrings: &Arc<Keyrings>,
    wechat: &Arc<Wechat>,
    issuers: &Arc<TrustedIssuers>,
) -> anyhow::Result<Router> {
    let Process {
        store,
        metrics,
        audit,
        clock,
        entropy,
        ..
    } = process;
    let probes = Probes {
        stage: process.stage.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        details: process.details.clone(),
        issuers: issuers.clone(),
    };
    let token = secrets::admin_token(&config.admin, entropy).context("admin.token_file")?;
    let operations = Operations {
        administration: administration.clone(),
        keyrings: keyrings.clone(),
        store: store.clone(),
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        export_key: super::export_key(config)?,
        is_live: true,
    };
    let routes = admin::router(probes, token, operations);
    Ok(match &config.wechat.lend_token {
        Some(secret) => routes.merge(admin::lending::router(
            wechat.clone(),
            Secret::new(secret.expose().clone()),
        )),
        None => routes,
    })
}
