//! The audit log: who did what to accounts and keys, one named event a line, on the target `audit` of the log.
//!
//! An event names users and sessions by our own ids. A phone, openid, token or code is never in one.

use crate::{
    metrics::Metrics,
    types::{ClientIp, SessionId, UserId},
};

/// Writes events to the log and counts them.
#[derive(Debug, Clone)]
pub struct Audit {
    metrics: Metrics,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Somebody signed in.
    LoginSucceeded { method: &'static str, user: &'a UserId, session: SessionId, is_new_user: bool, from: ClientIp },
    /// Somebody did not; `reason` is a wire code.
    LoginFailed { method: &'static str, reason: &'static str, from: ClientIp },
    /// A refresh token older than the replay window came back; its session was ended.
    RefreshReused { user: &'a UserId, session: SessionId, from: ClientIp },
    /// Sessions were ended by their user.
    LoggedOut { user: &'a UserId, session: SessionId, scope: &'static str, ended: usize },
    /// A user changed the profile.
    ProfileChanged { user: &'a UserId },
    /// A signing key was made, and signs from now on.
    KeyAdded { kid: &'a str, algorithm: &'a str },
    /// A signing key verifies no more.
    KeyRemoved { kid: &'a str },
}

impl Event<'_> {
    /// The event's name, also its metric label.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LoginSucceeded { .. } => "login.succeeded",
            Self::LoginFailed { .. } => "login.failed",
            Self::RefreshReused { .. } => "refresh.reused",
            Self::LoggedOut { .. } => "logout",
            Self::ProfileChanged { .. } => "profile.changed",
            Self::KeyAdded { .. } => "key.added",
            Self::KeyRemoved { .. } => "key.removed",
        }
    }
}

impl Audit {
    pub const fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// Writes one event.
    pub fn record(&self, event: &Event<'_>) {
        let name = event.name();
        self.metrics.audit_events.with_label_values(&[name]).inc();
        match event {
            Event::LoginSucceeded { method, user, session, is_new_user, from } => tracing::info!(
                target: "audit", event = name, method, user = %user, session = %session, is_new_user, client_ip = %from,
                "user {user} signed in"
            ),
            Event::LoginFailed { method, reason, from } => tracing::info!(
                target: "audit", event = name, method, reason, client_ip = %from, "login refused: {reason}"
            ),
            Event::RefreshReused { user, session, from } => tracing::warn!(
                target: "audit", event = name, user = %user, session = %session, client_ip = %from,
                "refresh token reused, session ended"
            ),
            Event::LoggedOut { user, session, scope, ended } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, scope, ended, "user {user} signed out"
            ),
            Event::ProfileChanged { user } => {
                tracing::info!(target: "audit", event = name, user = %user, "user {user} changed the profile");
            }
            Event::KeyAdded { kid, algorithm } => {
                tracing::info!(target: "audit", event = name, kid, algorithm, "signing key {kid} added");
            }
            Event::KeyRemoved { kid } => tracing::info!(target: "audit", event = name, kid, "signing key {kid} removed"),
        }
    }
}
