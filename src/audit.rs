//! The audit log: who did what to accounts and keys, one named event a line, on the target `audit`
//! of the log.
//!
//! An event names users and sessions by our own ids. A phone, openid, token or code is never in
//! one.

use crate::{
    metrics::Metrics,
    types::{ClientIp, SessionId, Timestamp, UserId, UserType, named_enum},
};

named_enum! {
    /// How an operator acts: `by` of an event.
    pub enum Actor {
        /// By the admin API, which the commands call too.
        Operator = "operator",
        /// By the pages of the console.
        Console = "console",
    }
}

/// Writes events to the log and counts them.
#[derive(Clone)]
pub struct Audit {
    metrics: Metrics,
}

impl Audit {
    pub const fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// Writes one event.
    pub fn record(&self, event: &Event<'_>) {
        let name = event.name();
        self.metrics.audit_events.with_label_values(&[name]).inc();
        event.log();
    }
}

/// Each event with its fields; then its level, its name, and the fields and text of its log line.
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $event:ident $({ $($field:ident: $type:ty),* $(,)? })?
            => $level:ident $name:literal [$($line:tt)*] $text:literal;
    )*) => {
        /// What happened.
        #[derive(Clone)]
        pub enum Event<'a> {
            $($(#[$doc])* $event $({ $($field: $type),* })?,)*
        }

        impl Event<'_> {
            /// The event's name, also its metric label.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$event { .. } => $name,)* }
            }

            fn log(&self) {
                match self {
                    $(Self::$event $({ $($field),* })? => {
                        tracing::$level!(target: "audit", event = $name, $($line)* $text);
                    })*
                }
            }
        }
    };
}

events! {
    /// A user signed in.
    LoginSucceeded { method: &'static str, user: &'a UserId, session: SessionId, is_new_user: bool, from: ClientIp }
        => info "login.succeeded" [method, user = %user, session = %session, is_new_user, client_ip = %from,]
            "user {user} signed in";
    /// A login was refused; `reason` is a wire code.
    LoginFailed { method: &'static str, reason: &'static str, from: ClientIp }
        => info "login.failed" [method, reason, client_ip = %from,] "login refused: {reason}";
    /// A refresh token older than the replay window came back; its session was ended.
    RefreshReused { user: &'a UserId, session: SessionId, from: ClientIp }
        => warn "refresh.reused" [user = %user, session = %session, client_ip = %from,]
            "refresh token reused, session ended";
    /// A user ended sessions, with an `access_token`, an `expired_access_token` or a
    /// `refresh_token`.
    LoggedOut { user: &'a UserId, session: SessionId, scope: &'static str, proof: &'static str, ended: usize }
        => info "logout" [user = %user, session = %session, scope, proof, ended,] "user {user} signed out";
    /// A user changed the profile.
    ProfileChanged { user: &'a UserId }
        => info "profile.changed" [user = %user,] "user {user} changed the profile";
    /// A client asked for a message with a code; `result` is `sent` or a wire code.
    SmsRequested { purpose: &'static str, result: &'static str, from: ClientIp }
        => info "sms.requested" [purpose, result, client_ip = %from,] "code asked for: {result}";
    /// A user bound a phone, by `sms` or `wechat`.
    PhoneBound { user: &'a UserId, session: SessionId, method: &'static str, from: ClientIp }
        => info "phone.bound" [user = %user, session = %session, method, client_ip = %from,]
            "user {user} bound a phone";
    /// A binding was refused; `reason` is a wire code.
    PhoneRefused {
        user: &'a UserId, session: SessionId, method: &'static str, reason: &'static str, from: ClientIp,
    }
        => info "phone.refused" [user = %user, session = %session, method, reason, client_ip = %from,]
            "phone not bound: {reason}";
    /// A user removed the phone.
    PhoneUnbound { user: &'a UserId, session: SessionId, from: ClientIp }
        => info "phone.unbound" [user = %user, session = %session, client_ip = %from,]
            "user {user} took the phone away";
    /// A request with the user's token to remove the phone was refused; `reason` is a wire code.
    PhoneNotUnbound { user: &'a UserId, session: SessionId, reason: &'static str, from: ClientIp }
        => info "phone.not_unbound" [user = %user, session = %session, reason, client_ip = %from,]
            "phone not taken away: {reason}";
    /// Two users became one; the id `gone` is not used any more.
    UsersMerged { user: &'a UserId, gone: &'a UserId, from: ClientIp }
        => warn "users.merged" [user = %user, gone = %gone, client_ip = %from,]
            "user {gone} was joined to user {user}";
    /// A user withdrew in WeChat the consent to data that menshen had.
    DataWithdrawn { user: &'a UserId, profile: bool, phone: bool }
        => warn "data.withdrawn" [user = %user, profile, phone,] "user {user} took data back in WeChat";
    /// The backend gave a new user an id that is, or was (`gone`), another user's.
    HookIdTaken { user: &'a UserId, gone: bool }
        => warn "hook.id_taken" [user = %user, gone,]
            "the backend gave a new user the id {user}, which is taken";
    /// An event was sent to the backend without success until `hooks.give_up_after` was over.
    HookGivenUp { event: &'static str, id: &'a str }
        => warn "hook.given_up" [hook = event, id,] "the event {id} for the backend is dropped";
    /// A user exported the account.
    AccountExported { user: &'a UserId, from: ClientIp }
        => info "account.exported" [user = %user, client_ip = %from,] "user {user} took a copy of the account";
    /// An operator looked at what is personal about a user.
    AccountShown { user: &'a UserId, by: Actor }
        => info "account.shown" [user = %user, by = by.as_str(),] "an operator looked at account {user}";
    /// An operator looked for an account by a `phone`, a `username` or an `openid`.
    AccountSearched { identity: &'static str, found: bool, by: Actor }
        => info "account.searched" [identity, found, by = by.as_str(),] "an operator looked for an account by its {identity}";
    /// An account and all that is personal about it was erased, by its `user`, an `operator`, the
    /// `console` or `wechat` (its user cancelled there).
    AccountErased { user: &'a UserId, by: &'static str }
        => warn "account.erased" [user = %user, by,] "account {user} erased";
    /// A request with the user's token to erase the account was refused; `reason` is a wire code.
    AccountNotErased { user: &'a UserId, session: SessionId, reason: &'static str, from: ClientIp }
        => info "account.not_erased" [user = %user, session = %session, reason, client_ip = %from,]
            "account not erased: {reason}";
    /// An operator created an account.
    AccountCreated { user: &'a UserId, user_type: &'a UserType }
        => warn "account.created" [user = %user, user_type = %user_type,] "account {user} created by an operator";
    /// An operator imported a batch of users of another system; `linked` were here before and got
    /// more identities.
    UsersImported { created: usize, linked: usize, refused: usize }
        => info "users.imported" [created, linked, refused,] "users imported by an operator: {created} created";
    /// An operator changed a user's rights: `ban`, `unban`, `user_type`, `password`.
    RightsChanged { user: &'a UserId, change: &'static str, ended: usize, by: Actor }
        => warn "rights.changed" [user = %user, change, ended, by = by.as_str(),] "rights of user {user} changed: {change}";
    /// An operator ended sessions: `session`, `user` or `everything`.
    SessionsRevoked { scope: &'static str, user: Option<&'a UserId>, ended: usize, by: Actor }
        => warn "sessions.revoked" [scope, user = user.map(tracing::field::display), ended, by = by.as_str(),]
            "sessions ended by an operator";
    /// A change of the store's key began (`begun`) or ended (`finished`).
    StoreKeyChanged { step: &'static str }
        => warn "store_key.changed" [step,] "change of the store's key {step}";
    /// The config was read again: `applied` or `refused`.
    ConfigReloaded { result: &'static str }
        => warn "config.reloaded" [result,] "config read again: {result}";
    /// An operator exported the whole store, encrypted.
    StoreExported
        => warn "store.exported" [] "an operator took a copy of the store";
    /// A signing key was added, by an `operator`, the `console` or on `schedule`, and signs from this
    /// time on.
    KeyAdded { kid: &'a str, algorithm: &'a str, signs_from: Timestamp, by: &'static str }
        => info "key.added" [kid, algorithm, signs_from = signs_from.rfc3339(), by,] "signing key {kid} added";
    /// An operator signed in to the console.
    ConsoleSignedIn { from: ClientIp }
        => info "console.signed_in" [client_ip = %from,] "an operator signed in to the console";
    /// A wrong token was given to the console.
    ConsoleRefused { from: ClientIp }
        => warn "console.refused" [client_ip = %from,] "a wrong token was given to the console";
    /// A signing key was removed and does not verify any more.
    KeyRemoved { kid: &'a str }
        => info "key.removed" [kid,] "signing key {kid} removed";
}
