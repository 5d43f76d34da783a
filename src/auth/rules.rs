//! The settings of the use cases, from the config.

use std::time::Duration;

use crate::{
    config::{
        Config, HookEvent, Merge, Mode, OnHookFailure, Registration, ReplayWindow, SmsConfig,
        StoreEngine,
    },
    policy::RequestedClaims,
    store::{OutboxPolicy, SmsLimits},
};

/// The settings of the use cases.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config, and none depends on another"
)]
pub struct AuthRules {
    /// Development: a login code that starts with `admin` signs in an administrator.
    pub admin_codes: bool,
    pub registration_open: bool,
    pub single_per_client_type: bool,
    pub max_sessions: usize,
    /// Two users proven to be one person are merged.
    pub merge: bool,
    /// `None`: new ids are UUIDs. Otherwise the first integer id.
    pub first_integer: Option<u64>,
    pub idle_ttl: Duration,
    pub absolute_ttl: Duration,
    /// `None`: until the successor is used.
    pub replay_window: Option<Duration>,
    /// How old the login of a session may be for sensitive changes without reauthentication.
    pub recent_login: Duration,
    /// The identity claims that tokens carry.
    pub requested_claims: RequestedClaims,
    /// For the served countries and the test phones.
    pub sms: SmsConfig,
    pub sms_limits: SmsLimits,
    /// The events that go to the backend through the outbox.
    pub outbox: OutboxPolicy,
    /// A first login asks the backend for the user's id.
    pub asks_backend: bool,
    /// A first login continues without a response from the backend.
    pub continues_without_backend: bool,
    /// The backend is notified of logins.
    pub notifies_logins: bool,
    /// Other processes use the store too.
    pub shares_store: bool,
}

impl AuthRules {
    /// From the config.
    pub fn from_config(config: &Config) -> Self {
        Self {
            admin_codes: config.mode == Mode::Development,
            registration_open: config.auth.registration == Registration::Open,
            max_sessions: config.auth.max_sessions,
            single_per_client_type: config.auth.single_session_per_client_type,
            merge: config.users.merge == Merge::Proven,
            first_integer: config.users.first_generated_id(),
            idle_ttl: config.tokens.idle_ttl.get(),
            absolute_ttl: config.tokens.absolute_ttl.get(),
            replay_window: match config.tokens.replay_window {
                ReplayWindow::UntilUsed => None,
                ReplayWindow::For(window) => Some(window.get()),
            },
            recent_login: config.auth.recent_login.get(),
            requested_claims: RequestedClaims::from_config(&config.identity),
            sms: config.sms.clone(),
            sms_limits: SmsLimits {
                code_ttl: config.sms.code_ttl.get(),
                resend_after: config.sms.resend_after.get(),
                per_phone_hour: config.sms.per_phone_hour,
                per_phone_day: config.sms.per_phone_day,
                daily_budget: config.sms.daily_budget.into(),
                max_attempts: config.sms.max_attempts,
            },
            outbox: OutboxPolicy {
                created: config.hooks.has(HookEvent::UserCreated) && !config.hooks.asks(),
                deleted: config.hooks.has(HookEvent::UserDeleted),
                merged: config.hooks.has(HookEvent::UserMerged),
                withdrawn: config.hooks.has(HookEvent::UserWithdrawn),
            },
            asks_backend: config.hooks.asks(),
            continues_without_backend: config.hooks.on_failure == OnHookFailure::Continue,
            notifies_logins: config.hooks.has(HookEvent::LoginSucceeded),
            shares_store: matches!(config.store.engine(), Ok(StoreEngine::Shared)),
        }
    }
}
