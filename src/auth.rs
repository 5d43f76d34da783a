//! The use cases: login, renewal, logout, one verb in each file.
//!
//! No status, header, vendor or storage engine is named here; time and randomness come from
//! [`Auth`].
//!
//! Must stay true: a revocation is in the store first, then in this replica's memory, then the
//! response is sent. An error of the store is an error, never a rejection.

mod account;
mod administration;
mod assertions;
mod authorize;
mod bind_phone;
mod denylist;
mod error;
mod identity;
mod keyed_lock;
mod known_networks;
pub mod limits;
mod login;
mod login_attempts;
mod logout;
mod me;
mod memory;
mod outbox_dispatcher;
mod password_login;
mod passwords;
pub mod profile;
mod reauthentication;
mod refresh;
mod registration;
mod renewal_attempt;
mod rules;
mod session_handle;
mod sessions;
mod signed_in;
mod sms_login;
mod sms_send;
mod wechat_login;
mod withdraw_consent;

use std::sync::Arc;

pub use account::AccountExport;
pub use administration::{Administration, AdministrationError};
pub use assertions::{BackendTokenMinter, UpstreamAssertions};
pub use authorize::Authorizer;
pub use bind_phone::{BoundPhone, WechatPhone};
pub use denylist::Denylist;
pub use error::AuthError;
pub use identity::{CachedAssertions, Identity};
pub use limits::Limits;
pub use logout::{LogoutProof, LogoutScope};
pub use memory::AuthMemory;
pub use outbox_dispatcher::OutboxDispatcher;
pub use password_login::PasswordLogin;
pub use passwords::{Password, PasswordError, Passwords};
pub use reauthentication::ReauthenticationProof;
pub use refresh::Refresh;
pub use rules::AuthRules;
pub use signed_in::SignedIn;
pub use sms_login::SmsLogin;
pub use sms_send::SmsSendResponse;
pub use wechat_login::{SignedData, WechatLogin};
pub use withdraw_consent::WithdrawalResult;

use crate::{
    audit::Audit,
    clock::Clock,
    crypto::Key,
    dialect::TokenProfile,
    entropy::Entropy,
    metrics::{CounterFamily, Metrics},
    provider::{hooks::Hooks, sms::Sms, wechat::Wechat},
    store::{
        RevocationEntry, RevocationOutcome, RevocationScope, RevocationTarget, Session, Store,
        User, UserLookup,
    },
    token::{Grant, IdentityClaims, Issuer, RefreshTokens, SessionHandles},
    types::{ClientIp, ClientType, OpenId, SessionId, Timestamp, UserId},
};

/// The use cases. The composition root puts their dependencies together; routes call the methods.
pub struct Auth {
    pub store: Arc<dyn Store>,
    pub wechat: Arc<Wechat>,
    /// `None`: SMS login is off.
    pub sms: Option<Sms>,
    pub issuer: Arc<Issuer>,
    pub refresh_tokens: Arc<RefreshTokens>,
    pub session_handles: SessionHandles,
    pub denylist: Arc<Denylist>,
    /// Hashes login codes; used for nothing else.
    pub code_key: Key,
    /// `None`: no hooks are configured.
    pub hooks: Option<Arc<Hooks>>,
    pub outbox_dispatcher: Arc<OutboxDispatcher>,
    /// Derives the ids by which hooks name a person; used for nothing else.
    pub hook_key: Key,
    /// Hashes SMS codes; used for nothing else.
    pub sms_key: Key,
    pub limits: Arc<Limits>,
    pub memory: Arc<AuthMemory>,
    pub passwords: Arc<Passwords>,
    pub metrics: Metrics,
    pub audit: Audit,
    pub clock: Clock,
    pub entropy: Entropy,
    pub rules: AuthRules,
}

/// The caller of a request, by a verified token.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticatedCaller<'a> {
    pub user: &'a UserId,
    /// The caller's own session.
    pub session: SessionId,
    pub client_type: ClientType,
    pub from: ClientIp,
    /// The profile of new tokens.
    pub token_profile: &'a TokenProfile,
}

impl Auth {
    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Evicts old results of logins that were kept for repeated posts. To be called every few
    /// seconds or minutes; nothing but memory depends on it.
    pub fn evict_expired(&self) {
        self.memory
            .login_attempts
            .evict_expired(self.clock.monotonic());
    }

    /// Signs tokens for the session in its present state.
    async fn sign(
        &self,
        grant: &Grant<'_>,
        openid: Option<OpenId>,
        token_profile: &TokenProfile,
        now: Timestamp,
    ) -> Result<SignedIn, AuthError> {
        let Grant { user, session, .. } = grant;
        let issuer = &self.issuer;
        let mut form = token_profile.access_token_options(user, openid.as_ref(), session, now);
        // A dialect's own claim wins over a claim that the backend gave the user.
        for (name, value) in user.claims.get() {
            form.claims.entry(name).or_insert_with(|| value.clone());
        }
        form.identity_claims = self.identity_claims(user, session.id, now).await?;
        let access = issuer.access(grant, &form, now)?;
        let refresh_token = self.refresh_tokens.issue(session);
        let refresh_jwt = if token_profile.wraps_refresh_token {
            let claims = token_profile.refresh_claims(user, openid.as_ref(), session, now);
            Some(issuer.wrap_refresh_token(&refresh_token, session, &claims, now)?)
        } else {
            None
        };
        Ok(SignedIn {
            user: (*user).clone(),
            session: (*session).clone(),
            is_new_user: false,
            phone_error: None,
            openid,
            access_token: access.text,
            access_expires_in: access.expires_in,
            refresh_token,
            refresh_jwt,
            refresh_expires_in: grant.session.idle_end.since(now),
        })
    }

    /// The identity claims of the token: those that the config has a header for.
    async fn identity_claims(
        &self,
        user: &User,
        session: SessionId,
        now: Timestamp,
    ) -> Result<IdentityClaims, AuthError> {
        let (requested_claims, store) = (self.rules.requested_claims, &self.store);
        let mut claims = IdentityClaims::default();
        if requested_claims.openid {
            let wechat = store.wechat_session(&user.id, session, now).await?;
            claims.openid = wechat.map(|wechat| wechat.openid.into());
        }
        if requested_claims.unionid
            && let UserLookup::Active(identities) = store.lookup_user(&user.id).await?
        {
            claims.unionid = identities.unionids.into_iter().next().map(String::from);
        }
        if requested_claims.phone {
            claims.phone = user.phone.clone().map(String::from);
        }
        if requested_claims.nickname {
            claims.nickname.clone_from(&user.profile.nickname);
        }
        Ok(claims)
    }

    /// The openid of a session, where the token profile uses it.
    pub async fn openid_for(
        &self,
        user: &UserId,
        session: SessionId,
        token_profile: &TokenProfile,
    ) -> Result<Option<OpenId>, AuthError> {
        if !token_profile.names_openid {
            return Ok(None);
        }
        let (store, now) = (&self.store, self.now());
        let wechat = store.wechat_session(user, session, now).await?;
        Ok(wechat.map(|wechat| wechat.openid))
    }

    /// The handle that a client gets in place of WeChat's `session_key`.
    pub fn session_handle(&self, session: &Session) -> String {
        self.session_handles.issue(session)
    }

    /// Ends sessions in the store, then in this process. Returns how many ended.
    async fn revoke(
        &self,
        what: &RevocationScope,
        reason: &'static str,
    ) -> Result<usize, AuthError> {
        let revoked = self.store.revoke(what, self.now()).await?;
        Ok(self.apply_locally(&revoked, reason))
    }

    /// Applies a revocation to this process without waiting for the store's log. Returns how many
    /// sessions it ended.
    fn apply_locally(&self, revoked: &RevocationOutcome, reason: &'static str) -> usize {
        for entry in &revoked.entries {
            self.denylist.apply(entry);
        }
        self.count_revocations(reason, revoked.sessions.len());
        revoked.sessions.len()
    }

    /// Applies the end of sessions that the store ended as part of another operation.
    fn apply_ended_sessions(&self, ended: &[SessionId], reason: &'static str, now: Timestamp) {
        for session in ended {
            self.denylist.apply(&RevocationEntry {
                at: now,
                target: RevocationTarget::Session(*session),
            });
        }
        self.count_revocations(reason, ended.len());
    }

    fn count_revocations(&self, reason: &'static str, ended: usize) {
        self.metrics
            .revocations
            .with_label_values(&[reason])
            .inc_by(ended as u64);
    }
}

/// Adds one to a counter.
fn count(counter: &CounterFamily, labels: &[&str]) {
    counter.with_label_values(labels).inc();
}
