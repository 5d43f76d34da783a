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

use super::{foundation::Foundation, proofs, secrets, unchecked};
use crate::{
    admin::{self, Operations, Probes},
    api::{self, ApiState, Voices},
    auth::{Administration, AdministrationParts, Auth, AuthParts, AuthRules, Authorizer, Limits},
    config::Config,
    crypto,
    dialect::{Dialects, Terms},
    gate::{self, Gate},
    policy::IdentityHeaders,
    provider::{
        hooks::{AnswerRules, Hooks},
        sms::Sms,
        wechat::{Pushes, Wechat},
    },
    proxy::{Snapshot, SnapshotParts, Upstreams},
    telemetry::AccessLog,
    token::{
        Issuer, Keyrings, RESERVED, RefreshTokens, SessionHandles, TrustedIssuers, Upkeep, Verifier,
    },
    types::REVOCATION_RETENTION,
    types::Secret,
};

/// How long a start waits for the keys of other issuers.
const FIRST_KEYS: Duration = Duration::from_secs(2);

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
    kept: Arc<[Arc<str>]>,
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
    /// Makes all parts; `before` is the generation that works now.
    pub(super) async fn build(
        foundation: &Arc<Foundation>,
        config: Config,
        before: Option<&Self>,
    ) -> anyhow::Result<(Self, Snapshot)> {
        let Foundation {
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
        } = &**foundation;
        let dialects = Arc::new(Dialects::compile(&config).map_err(unchecked)?);
        let lifetimes = dialects.lifetimes(&config.tokens);
        // Tokens of others live as long as they say, so revocations are remembered as long as they
        // can be.
        let longest = lifetimes.longest_accepted() + config.tokens.leeway.get();
        denylist.remember_for(if config.issuer.is_empty() {
            longest
        } else {
            REVOCATION_RETENTION
        });

        let same_upstream = before.filter(|before| {
            before.config.upstream == config.upstream
                && before.upstreams.trust_as(&config.upstream.tls)
        });
        let upstreams = if let Some(before) = same_upstream {
            before.upstreams.clone()
        } else {
            let upstreams = Upstreams::new(
                &config.upstream,
                metrics,
                before.map(|before| &*before.upstreams),
            )?;
            upstreams.resolve().await;
            Arc::new(upstreams)
        };
        let same_tokens = before.filter(|before| {
            before.config.tokens == config.tokens && before.config.dialect == config.dialect
        });
        let keyrings = match same_tokens {
            Some(before) => before.keyrings.clone(),
            None => Arc::new(
                Keyrings::open(&config.tokens, lifetimes, &**store, entropy, clock.now()).await?,
            ),
        };
        // The files of their keys are read in any case: what is in them is not in the config.
        let kept = gate::kept_claims(&config);
        let issuers = TrustedIssuers::compile(&config, &kept).map_err(unchecked)?;
        let same_issuers = before.filter(|before| {
            before.config.issuer == config.issuer
                && before.kept == kept
                && before.issuers.have_keys_like(&issuers)
        });
        let issuers = match (same_issuers, before) {
            (Some(before), _) => before.issuers.clone(),
            (None, Some(before)) => Arc::new(issuers.going_on_from(&before.issuers)),
            (None, None) => Arc::new(issuers),
        };
        issuers.follow(metrics);
        // Where they can be had soon, their keys are there before the first client; where not,
        // nobody waits for them.
        drop(timeout(FIRST_KEYS, issuers.tried()).await);
        let same_identity = same_tokens.filter(|before| before.config.identity == config.identity);
        let same_identity = same_identity.filter(|_| same_issuers.is_some());
        let authorizer = if let Some(before) = same_identity {
            before.authorizer.clone()
        } else {
            let identity_headers = IdentityHeaders::compile(&config.identity).map_err(unchecked)?;
            let verifier =
                Verifier::new(keyrings.clone(), &config.tokens, lifetimes).keeping(kept.clone());
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
        let limits = match before.filter(|before| before.config.limits == config.limits) {
            Some(before) => before.limits.clone(),
            None => Arc::new(Limits::new(&config.limits, clock.clone(), metrics.clone())),
        };
        let wechat = match before.filter(|before| before.config.wechat == config.wechat) {
            Some(before) => before.wechat.clone(),
            None => Arc::new(Wechat::new(
                &config.wechat,
                config.mode,
                metrics.clone(),
                clock,
                entropy,
            )?),
        };
        let same_hooks = before.filter(|before| {
            before.config.hooks == config.hooks && before.config.users == config.users
        });
        let hooks = if let Some(before) = same_hooks {
            before.hooks.clone()
        } else {
            let rules = AnswerRules {
                integers_below: config.users.counts_from(),
                reserved: &RESERVED,
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
            courier: foundation.courier.clone(),
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
            rules: AuthRules::of(&config),
        }));
        let api = api::router(ApiState {
            pushes: Pushes::new(&config.wechat, clock).map(Arc::new),
            metrics: metrics.clone(),
            auth: auth.clone(),
            authorizer: authorizer.clone(),
            keyrings: keyrings.clone(),
            prefix: config.auth.prefix.clone(),
            openid_in_answers: config.auth.openid_in_answers,
            terms: Arc::new(Terms::plain()),
            dialects: dialects.clone(),
        });
        let gate = Gate::compile(
            &config,
            dialects.local_routes(),
            authorizer.clone(),
            metrics.clone(),
        )
        .map_err(unchecked)?;
        let access_log = config
            .telemetry
            .access_log
            .then(|| (foundation.sink.clone(), config.telemetry.log_format));
        let snapshot = Snapshot::new(SnapshotParts {
            config: &config,
            gate,
            api,
            voices: Voices::new(dialects, clock.clone()),
            upstreams: upstreams.clone(),
            streams: foundation.streams.clone(),
            proofs: proofs::made(foundation, &config, &keyrings).await?,
            metrics,
            access_log: AccessLog::new(access_log),
            entropy,
        })?;

        let administration = match same_hooks {
            Some(before) => before.administration.clone(),
            None => Arc::new(Administration::new(AdministrationParts {
                store: store.clone(),
                passwords: passwords.clone(),
                denylist: Some(denylist.clone()),
                metrics: metrics.clone(),
                audit: audit.clone(),
                clock: clock.clone(),
                entropy: entropy.clone(),
                first_integer: AuthRules::of(&config).first_integer,
                announce: AuthRules::of(&config).announce,
            })),
        };
        let admin_routes = admin_routes(
            foundation,
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
            kept,
            hooks,
            tasks,
        };
        Ok((generation, snapshot))
    }

    /// Nobody is to forget that the gate refuses nobody.
    fn say_whether_it_reports(&self, foundation: &Foundation) {
        let gauge = &foundation.metrics.report_only;
        let said_before = gauge.get() == 1;
        gauge.set(i64::from(self.config.reports_only()));
        if self.config.gate.report_only {
            foundation.details.set(
                "gate",
                "report only: nobody is refused by path, token or rule",
            );
        } else if self.config.reports_only() {
            foundation
                .details
                .set("gate", "report only on the paths of some rules");
        } else if said_before {
            foundation.details.set("gate", "refuses");
        }
    }

    /// Starts what this generation does in the background; it ends when the generation is dropped.
    pub(super) fn start(&mut self, foundation: &Arc<Foundation>) {
        foundation
            .courier
            .go_to(self.hooks.clone(), self.config.hooks.give_up_after.get());
        self.say_whether_it_reports(foundation);
        let sms = &self.config.sms;
        let budget = if sms.asked(self.config.mode).is_empty() {
            0
        } else {
            sms.daily_budget
        };
        foundation.metrics.sms_daily_budget.set(budget.into());
        let (details, upstreams) = (foundation.details.clone(), self.upstreams.clone());
        self.tasks
            .push(Task(tokio::spawn(upstreams.watch(move |good, all| {
                details.set("upstreams", format!("{good} of {all} healthy"))
            }))));
        let (foundation, keyrings) = (foundation.clone(), self.keyrings.clone());
        self.tasks.push(Task(tokio::spawn(async move {
            let Foundation {
                store,
                clock,
                entropy,
                audit,
                metrics,
                ..
            } = &*foundation;
            keyrings
                .follow(
                    Upkeep {
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
    foundation: &Foundation,
    config: &Config,
    administration: &Arc<Administration>,
    keyrings: &Arc<Keyrings>,
    wechat: &Arc<Wechat>,
    issuers: &Arc<TrustedIssuers>,
) -> anyhow::Result<Router> {
    let Foundation {
        store,
        metrics,
        audit,
        clock,
        entropy,
        ..
    } = foundation;
    let probes = Probes {
        stage: foundation.stage.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
        details: foundation.details.clone(),
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

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").finish_non_exhaustive()
    }
}
