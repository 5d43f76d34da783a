//! The routes of the admin listener for one config: metrics and probes, the admin API, the console,
//! and the token that is lent.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;

use super::{check::check, process::Process, secrets, storage::export_key};
use crate::{
    admin::{self, AdminState, Probes},
    auth::Administration,
    config::{Config, ValueOrigins, values_in_force},
    console::{self, Console, ConsoleParts},
    gate::Gate,
    provider::wechat::Wechat,
    token::{Keyrings, TrustedIssuers},
    types::Secret,
};

/// The parts of a generation that the routes call.
pub(super) struct AdminRoutes<'a> {
    pub(super) process: &'a Process,
    pub(super) config: &'a Config,
    pub(super) origins: &'a ValueOrigins,
    pub(super) administration: &'a Arc<Administration>,
    pub(super) keyrings: &'a Arc<Keyrings>,
    pub(super) wechat: &'a Arc<Wechat>,
    pub(super) issuers: &'a Arc<TrustedIssuers>,
    /// Explains requests in the console.
    pub(super) gate: Gate,
}

impl AdminRoutes<'_> {
    pub(super) fn build(self) -> anyhow::Result<Router> {
        let (config, process) = (self.config, self.process);
        let probes = Probes {
            stage: process.stage.clone(),
            store: process.store.clone(),
            denylist: process.denylist.clone(),
            metrics: process.metrics.clone(),
            details: process.details.clone(),
            issuers: self.issuers.clone(),
        };
        let token =
            secrets::admin_token(&config.admin, &process.entropy).context("admin.token_file")?;
        let lend = config.wechat.lend_token.as_ref().map(|secret| {
            admin::lending::router(self.wechat.clone(), Secret::new(secret.expose().clone()))
        });
        let operations = Arc::new(AdminState {
            administration: self.administration.clone(),
            keyrings: self.keyrings.clone(),
            store: process.store.clone(),
            audit: process.audit.clone(),
            clock: process.clock.clone(),
            entropy: process.entropy.clone(),
            export_key: export_key(config)?,
            is_live: true,
        });
        let console = token.clone().map(|token| {
            let source = process.source.clone();
            console::router(Console::new(ConsoleParts {
                admin: operations.clone(),
                probes: probes.clone(),
                memory: process.console.clone(),
                recent: process.sink.recent().clone(),
                token,
                gate: self.gate,
                config: config.clone(),
                values: values_in_force(config, self.origins),
                check: Box::new(move |text| Config::load_text(&source, text, check)),
            }))
        });
        let routes = admin::router(probes, token, operations);
        Ok([console, lend]
            .into_iter()
            .flatten()
            .fold(routes, Router::merge))
    }
}
