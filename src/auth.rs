//! What the program does: signing in, renewing, signing out, one verb in each file.
//!
//! No status, no header, no vendor and no engine is named here; time and randomness belong to what
//! is held ([`Auth`]).
//!
//! Must stay true: a revocation is in the store first, then in this replica's memory, then
//! answered. A fault of the store is a fault, never a refusal.

mod account;
mod administration;
mod assertions;
mod authorize;
mod bind_phone;
mod coalesce;
mod denylist;
mod error;
mod known_networks;
pub mod limits;
mod login;
mod logout;
mod me;
mod outbox_dispatcher;
mod password_login;
mod passwords;
pub mod profile;
mod reauthentication;
mod refresh;
mod registration;
mod renewal_attempt;
mod session_handle;
mod sessions;
mod sms_login;
mod sms_send;
mod wechat_login;
mod withdraw_consent;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::Semaphore;

pub use account::AccountExport;
pub use administration::{AccountChange, Administration, AdministrationError, AdministrationParts};
pub use assertions::{BackendTokenMinter, CachedAssertions, UpstreamAssertions};
pub use authorize::{Authorizer, Identity};
pub use bind_phone::BoundPhone;
pub use denylist::Denylist;
pub use error::AuthError;
pub use limits::Limits;
pub use logout::{LogoutProof, LogoutScope};
pub use outbox_dispatcher::{OutboxDispatcher, OutboxDispatcherParts};
pub use password_login::PasswordLogin;
pub use passwords::{Password, PasswordError, Passwords};
pub use reauthentication::ReauthenticationProof;
pub use refresh::Refresh;
pub use sms_login::SmsLogin;
pub use sms_send::{SmsRules, SmsSendResponse};
pub use wechat_login::{SignedData, WechatLogin};
pub use withdraw_consent::WithdrawalResult;

use crate::{
    audit::Audit,
    clock::Clock,
    config::{Config, HookEvent, Merge, Mode, OnHookFailure, Registration, ReplayWindow},
    crypto::Key,
    dialect::TokenProfile,
    entropy::Entropy,
    metrics::Metrics,
    policy::RequestedClaims,
    provider::{hooks::Hooks, sms::Sms, wechat::Wechat},
    store::{
        OutboxPolicy, RevocationEntry, RevocationOutcome, RevocationTarget, Session, Store, User,
        UserLookup,
    },
    token::{Grant, IdentityClaims, Issuer, RefreshTokens, SessionHandles},
    types::{ClientIp, ClientType, OpenId, SessionId, Timestamp, UserId},
};
use coalesce::Coalesce;
use known_networks::KnownNetworks;
use registration::KeyedLock;

/// Everything that the use cases need, made by the composition root.
pub struct AuthParts {
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
    /// `None`: the backend is asked nothing.
    pub hooks: Option<Arc<Hooks>>,
    pub outbox_dispatcher: Arc<OutboxDispatcher>,
    /// Names people towards the backend; used for nothing else.
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

/// What the config says about signing in.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config, and none depends on another"
)]
pub struct AuthRules {
    /// Development: a code that starts with `admin` signs in an administrator.
    pub admin_codes: bool,
    pub registration_open: bool,
    pub single_per_client_type: bool,
    pub max_sessions: usize,
    /// Two users who are proven to be one person become one.
    pub merge: bool,
    /// `None`: UUIDs. Otherwise the first integer.
    pub first_integer: Option<u64>,
    pub idle_ttl: Duration,
    pub absolute_ttl: Duration,
    /// `None`: until the successor is used.
    pub replay_window: Option<Duration>,
    /// How old a login may be for its session to delete the account.
    pub recent_login: Duration,
    /// What tokens say of the person.
    pub requested_claims: RequestedClaims,
    pub sms: SmsRules,
    /// What the backend is told of, besides what it is asked.
    pub outbox: OutboxPolicy,
    pub hooks: HookRules,
}

/// What the config says about asking the backend.
#[derive(Clone, Copy)]
pub struct HookRules {
    /// A first login asks the backend first.
    pub asks: bool,
    /// Without an answer it goes on.
    pub continues: bool,
    /// Logins are told.
    pub logins: bool,
}

/// The use cases.
pub struct Auth {
    parts: AuthParts,
}

/// What the use cases remember of the last minutes besides the store, whatever becomes of the
/// config.
pub struct AuthMemory {
    coalesce: Coalesce,
    known_networks: KnownNetworks,
    registration_locks: KeyedLock,
    /// Places for messages on their way.
    sending: Semaphore,
    /// Turns for the tokens of addresses that have used up their refused renewals.
    renewals_over_limit: renewal_attempt::OverLimitQueue,
    /// When the log last said that the day's budget of messages is spent, in seconds since the
    /// epoch.
    budget_logged_at: AtomicU64,
}

impl Default for AuthMemory {
    fn default() -> Self {
        Self {
            coalesce: Coalesce::default(),
            known_networks: KnownNetworks::new(),
            registration_locks: KeyedLock::default(),
            sending: Semaphore::new(sms_send::MAX_SENDING),
            renewals_over_limit: renewal_attempt::OverLimitQueue::new(),
            budget_logged_at: AtomicU64::new(0),
        }
    }
}

/// A session and the tokens for it.
pub struct SignedIn {
    pub user: User,
    pub session: Session,
    pub is_new_user: bool,
    /// After a login, which names it, and where the terms ask for it.
    pub openid: Option<OpenId>,
    pub access_token: String,
    pub access_expires_in: Duration,
    pub refresh_token: String,
    /// The refresh token inside a JWT, where the terms have one.
    pub refresh_jwt: Option<String>,
    pub refresh_expires_in: Duration,
}

/// Who is asking, by a token that has been checked.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticatedCaller<'a> {
    pub user: &'a UserId,
    /// The caller's own session.
    pub session: SessionId,
    pub client_type: ClientType,
    pub from: ClientIp,
    /// On which new tokens are given, where there are any.
    pub terms: &'a TokenProfile,
}

impl Auth {
    /// The use cases over these parts.
    pub const fn new(parts: AuthParts) -> Self {
        Self { parts }
    }

    /// The limits, for routes that are no use case.
    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// What time it is here.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Lets go of answers that are kept for repeated logins and are too old. To be called every few
    /// seconds or minutes; nothing but memory depends on it.
    pub fn evict_expired(&self) {
        self.parts
            .memory
            .coalesce
            .evict_expired(self.parts.clock.monotonic());
    }

    /// Tokens for a session as it is now.
    async fn sign(
        &self,
        grant: &Grant<'_>,
        openid: Option<OpenId>,
        terms: &TokenProfile,
        now: Timestamp,
    ) -> Result<SignedIn, AuthError> {
        let Grant { user, session, .. } = grant;
        let issuer = &self.parts.issuer;
        let mut form = terms.access_form(user, openid.as_ref(), session, now);
        // What a dialect's own client reads wins over what the backend said of the user.
        for (name, value) in user.claims.get() {
            form.claims.entry(name).or_insert_with(|| value.clone());
        }
        form.identity_claims = self.identity_claims(user, session.id, now).await?;
        let access = issuer.access(grant, &form, now)?;
        let refresh_token = self.parts.refresh_tokens.issue(session);
        let refresh_jwt = if terms.wraps_refresh_token {
            let claims = terms.refresh_claims(user, openid.as_ref(), session, now);
            Some(issuer.wrap_refresh_token(&refresh_token, session, &claims, now)?)
        } else {
            None
        };
        Ok(SignedIn {
            user: (*user).clone(),
            session: (*session).clone(),
            is_new_user: false,
            openid,
            access_token: access.text,
            access_expires_in: access.expires_in,
            refresh_token,
            refresh_jwt,
            refresh_expires_in: grant.session.idle_end.since(now),
        })
    }

    /// What the token is to say of the person: what the config has a header for.
    async fn identity_claims(
        &self,
        user: &User,
        session: SessionId,
        now: Timestamp,
    ) -> Result<IdentityClaims, AuthError> {
        let (requested_claims, store) = (self.parts.rules.requested_claims, &self.parts.store);
        let openid = if requested_claims.openid {
            store.wechat_session(session, now).await?
        } else {
            None
        };
        let unionid = match if requested_claims.unionid {
            store.lookup_user(&user.id).await?
        } else {
            UserLookup::Unknown
        } {
            UserLookup::Active(identities) => identities.unionids.into_iter().next(),
            UserLookup::Deleted { .. } | UserLookup::Unknown => None,
        };
        Ok(IdentityClaims {
            openid: openid.map(|known| known.openid.as_str().to_owned()),
            unionid: unionid.map(|unionid| unionid.as_str().to_owned()),
            phone: user
                .phone
                .as_ref()
                .filter(|_| requested_claims.phone)
                .map(|phone| phone.as_str().to_owned()),
            nickname: user
                .profile
                .nickname
                .clone()
                .filter(|_| requested_claims.nickname),
        })
    }

    /// By which WeChat knows who is behind a session, where the terms have a place for it.
    pub async fn openid_for(
        &self,
        session: SessionId,
        terms: &TokenProfile,
    ) -> Result<Option<OpenId>, AuthError> {
        if !terms.names_openid {
            return Ok(None);
        }
        let known = self.parts.store.wechat_session(session, self.now()).await?;
        Ok(known.map(|known| known.openid))
    }

    /// What stands for the session where a client expects the `session_key` of WeChat.
    pub fn session_handle(&self, session: &Session) -> String {
        self.parts.session_handles.issue(session)
    }

    /// A revocation that the store has done bites here at once. Says how many sessions it ended.
    fn apply_locally(&self, revoked: &RevocationOutcome, reason: &'static str) -> usize {
        for entry in &revoked.entries {
            self.parts.denylist.apply(entry);
        }
        self.count_revocations(reason, revoked.sessions.len());
        revoked.sessions.len()
    }

    /// The same for sessions that the store ended as part of something else.
    fn apply_ended_sessions(&self, ended: &[SessionId], reason: &'static str, now: Timestamp) {
        for session in ended {
            self.parts.denylist.apply(&RevocationEntry {
                at: now,
                target: RevocationTarget::Session(*session),
            });
        }
        self.count_revocations(reason, ended.len());
    }

    fn count_revocations(&self, reason: &'static str, ended: usize) {
        self.parts
            .metrics
            .revocations
            .with_label_values(&[reason])
            .inc_by(ended as u64);
    }
}

impl AuthRules {
    /// As the config has them.
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
            sms: SmsRules::from_config(&config.sms),
            outbox: OutboxPolicy {
                created: config.hooks.has(HookEvent::UserCreated) && !config.hooks.asks(),
                deleted: config.hooks.has(HookEvent::UserDeleted),
                merged: config.hooks.has(HookEvent::UserMerged),
                withdrawn: config.hooks.has(HookEvent::UserWithdrawn),
            },
            hooks: HookRules {
                asks: config.hooks.asks(),
                continues: config.hooks.on_failure == OnHookFailure::Continue,
                logins: config.hooks.has(HookEvent::LoginSucceeded),
            },
        }
    }
}

/// It holds tokens.
impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn")
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}
