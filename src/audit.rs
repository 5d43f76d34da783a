//! The audit log: who did what to accounts and keys, one named event a line, on the target `audit`
//! of the log.
//!
//! An event names users and sessions by our own ids. A phone, openid, token or code is never in
//! one.

use crate::{
    metrics::Metrics,
    types::{ClientIp, SessionId, Timestamp, UserId, UserType},
};

/// Writes events to the log and counts them.
#[derive(Clone)]
pub struct Audit {
    metrics: Metrics,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Somebody signed in.
    LoginSucceeded {
        method: &'static str,
        user: &'a UserId,
        session: SessionId,
        is_new_user: bool,
        from: ClientIp,
    },
    /// Somebody did not; `reason` is a wire code.
    LoginFailed {
        method: &'static str,
        reason: &'static str,
        from: ClientIp,
    },
    /// A refresh token older than the replay window came back; its session was ended.
    RefreshReused {
        user: &'a UserId,
        session: SessionId,
        from: ClientIp,
    },
    /// Sessions were ended by their user, with an `access_token`, an `expired_access_token` or a
    /// `refresh_token`.
    LoggedOut {
        user: &'a UserId,
        session: SessionId,
        scope: &'static str,
        proof: &'static str,
        ended: usize,
    },
    /// A user changed the profile.
    ProfileChanged { user: &'a UserId },
    /// A message with a code was asked for; `result` is `sent` or a wire code.
    SmsRequested {
        purpose: &'static str,
        result: &'static str,
        from: ClientIp,
    },
    /// A phone was bound, by `sms` or `wechat`.
    PhoneBound {
        user: &'a UserId,
        session: SessionId,
        method: &'static str,
        from: ClientIp,
    },
    /// A binding was refused; `reason` is a wire code.
    PhoneRefused {
        user: &'a UserId,
        session: SessionId,
        method: &'static str,
        reason: &'static str,
        from: ClientIp,
    },
    /// A phone was taken away by its user.
    PhoneUnbound {
        user: &'a UserId,
        session: SessionId,
        from: ClientIp,
    },
    /// A phone was not taken away, though its user, or whoever has the token, wanted it; `reason`
    /// is a wire code.
    PhoneNotUnbound {
        user: &'a UserId,
        session: SessionId,
        reason: &'static str,
        from: ClientIp,
    },
    /// Two users became one: `gone` is no more.
    UsersMerged {
        user: &'a UserId,
        gone: &'a UserId,
        from: ClientIp,
    },
    /// A user took back in WeChat what menshen had.
    DataWithdrawn {
        user: &'a UserId,
        profile: bool,
        phone: bool,
    },
    /// The backend gave a new user an id that is, or was (`gone`), somebody else's.
    HookIdTaken { user: &'a UserId, gone: bool },
    /// The backend was told of an event in vain for so long that it is told no more.
    HookGivenUp { event: &'static str, id: &'a str },
    /// A user took a copy of everything.
    AccountExported { user: &'a UserId, from: ClientIp },
    /// An operator looked at what is personal about a user.
    AccountShown { user: &'a UserId },
    /// An account and all that is personal about it was erased, by its `user`, an `operator` or
    /// `wechat` (its user cancelled there).
    AccountErased { user: &'a UserId, by: &'static str },
    /// An account was not erased, though its user, or whoever has the token, wanted it; `reason` is
    /// a wire code.
    AccountNotErased {
        user: &'a UserId,
        session: SessionId,
        reason: &'static str,
        from: ClientIp,
    },
    /// An operator made an account.
    AccountCreated {
        user: &'a UserId,
        user_type: &'a UserType,
    },
    /// An operator brought users of another system, some at a time; `linked` were here, and more
    /// leads to them now.
    UsersImported {
        created: usize,
        linked: usize,
        refused: usize,
    },
    /// An operator changed somebody's rights: `ban`, `unban`, `user_type`, `password`.
    RightsChanged {
        user: &'a UserId,
        change: &'static str,
        ended: usize,
    },
    /// An operator ended sessions: `session`, `user` or `everything`.
    SessionsRevoked {
        scope: &'static str,
        user: Option<&'a UserId>,
        ended: usize,
    },
    /// The key of the store began to change (`begun`), or has changed (`finished`).
    StoreKeyChanged { step: &'static str },
    /// The config was read again: `applied` or `refused`.
    ConfigReloaded { result: &'static str },
    /// An operator took a copy of the whole store, sealed.
    StoreExported,
    /// A signing key was made, by an operator or on schedule, and signs from this time on.
    KeyAdded {
        kid: &'a str,
        algorithm: &'a str,
        signs_from: Timestamp,
    },
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
            Self::SmsRequested { .. } => "sms.requested",
            Self::PhoneBound { .. } => "phone.bound",
            Self::PhoneRefused { .. } => "phone.refused",
            Self::PhoneUnbound { .. } => "phone.unbound",
            Self::PhoneNotUnbound { .. } => "phone.not_unbound",
            Self::UsersMerged { .. } => "users.merged",
            Self::DataWithdrawn { .. } => "data.withdrawn",
            Self::HookIdTaken { .. } => "hook.id_taken",
            Self::HookGivenUp { .. } => "hook.given_up",
            Self::AccountExported { .. } => "account.exported",
            Self::AccountShown { .. } => "account.shown",
            Self::AccountErased { .. } => "account.erased",
            Self::AccountNotErased { .. } => "account.not_erased",
            Self::AccountCreated { .. } => "account.created",
            Self::UsersImported { .. } => "users.imported",
            Self::RightsChanged { .. } => "rights.changed",
            Self::SessionsRevoked { .. } => "sessions.revoked",
            Self::StoreKeyChanged { .. } => "store_key.changed",
            Self::ConfigReloaded { .. } => "config.reloaded",
            Self::StoreExported => "store.exported",
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
            Event::LoginSucceeded {
                method,
                user,
                session,
                is_new_user,
                from,
            } => tracing::info!(
                target: "audit", event = name, method, user = %user, session = %session, is_new_user, client_ip = %from,
                "user {user} signed in"
            ),
            Event::LoginFailed {
                method,
                reason,
                from,
            } => tracing::info!(
                target: "audit", event = name, method, reason, client_ip = %from, "login refused: {reason}"
            ),
            Event::RefreshReused {
                user,
                session,
                from,
            } => tracing::warn!(
                target: "audit", event = name, user = %user, session = %session, client_ip = %from,
                "refresh token reused, session ended"
            ),
            Event::LoggedOut {
                user,
                session,
                scope,
                proof,
                ended,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, scope, proof, ended, "user {user} signed out"
            ),
            Event::ProfileChanged { user } => {
                tracing::info!(target: "audit", event = name, user = %user, "user {user} changed the profile");
            }
            Event::SmsRequested {
                purpose,
                result,
                from,
            } => tracing::info!(
                target: "audit", event = name, purpose, result, client_ip = %from, "code asked for: {result}"
            ),
            Event::PhoneBound {
                user,
                session,
                method,
                from,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, method, client_ip = %from,
                "user {user} bound a phone"
            ),
            Event::PhoneRefused {
                user,
                session,
                method,
                reason,
                from,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, method, reason, client_ip = %from,
                "phone not bound: {reason}"
            ),
            Event::PhoneUnbound {
                user,
                session,
                from,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, client_ip = %from,
                "user {user} took the phone away"
            ),
            Event::PhoneNotUnbound {
                user,
                session,
                reason,
                from,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, reason, client_ip = %from,
                "phone not taken away: {reason}"
            ),
            Event::UsersMerged { user, gone, from } => tracing::warn!(
                target: "audit", event = name, user = %user, gone = %gone, client_ip = %from,
                "user {gone} was joined to user {user}"
            ),
            Event::DataWithdrawn {
                user,
                profile,
                phone,
            } => tracing::warn!(
                target: "audit", event = name, user = %user, profile, phone, "user {user} took data back in WeChat"
            ),
            Event::HookIdTaken { user, gone } => tracing::warn!(
                target: "audit", event = name, user = %user, gone, "the backend gave a new user the id {user}, which is taken"
            ),
            Event::HookGivenUp { event, id } => tracing::warn!(
                target: "audit", event = name, hook = event, id, "the backend is not told of {id} any more"
            ),
            Event::AccountExported { user, from } => tracing::info!(
                target: "audit", event = name, user = %user, client_ip = %from, "user {user} took a copy of the account"
            ),
            Event::AccountShown { user } => {
                tracing::info!(target: "audit", event = name, user = %user, "an operator looked at account {user}");
            }
            Event::AccountErased { user, by } => {
                tracing::warn!(target: "audit", event = name, user = %user, by, "account {user} erased");
            }
            Event::AccountNotErased {
                user,
                session,
                reason,
                from,
            } => tracing::info!(
                target: "audit", event = name, user = %user, session = %session, reason, client_ip = %from,
                "account not erased: {reason}"
            ),
            Event::AccountCreated { user, user_type } => tracing::warn!(
                target: "audit", event = name, user = %user, user_type = %user_type, "account {user} made by an operator"
            ),
            Event::UsersImported {
                created,
                linked,
                refused,
            } => tracing::info!(
                target: "audit", event = name, created, linked, refused, "users imported by an operator: {created} created"
            ),
            Event::RightsChanged {
                user,
                change,
                ended,
            } => tracing::warn!(
                target: "audit", event = name, user = %user, change, ended, "rights of user {user} changed: {change}"
            ),
            Event::SessionsRevoked { scope, user, ended } => tracing::warn!(
                target: "audit", event = name, scope, user = user.map(tracing::field::display), ended,
                "sessions ended by an operator"
            ),
            Event::StoreKeyChanged { step } => {
                tracing::warn!(target: "audit", event = name, step, "change of the store's key {step}");
            }
            Event::ConfigReloaded { result } => {
                tracing::warn!(target: "audit", event = name, result, "config read again: {result}");
            }
            Event::StoreExported => {
                tracing::warn!(target: "audit", event = name, "an operator took a copy of the store");
            }
            Event::KeyAdded {
                kid,
                algorithm,
                signs_from,
            } => tracing::info!(
                target: "audit", event = name, kid, algorithm, signs_from = signs_from.rfc3339(), "signing key {kid} added"
            ),
            Event::KeyRemoved { kid } => {
                tracing::info!(target: "audit", event = name, kid, "signing key {kid} removed")
            }
        }
    }
}
