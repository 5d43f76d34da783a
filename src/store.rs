//! The store: users, identities, sessions, revocations and signing keys, as atomic operations of
//! the domain.
//!
//! A rule about shared state is one operation here, because on Redis or SQL it has to be one atomic
//! step. Nothing may assume that it holds a lock between two calls. Expected outcomes are values;
//! an error means that the store failed or that the outcome is unknown, and the response to a
//! client is 503.
//!
//! Must stay true, on every engine (the suite in `contract` holds each to it):
//! - what an operation acknowledged is there after `kill -9` and power loss;
//! - every operation may be repeated after an unknown outcome: a repeat never makes a second user,
//!   session or successor;
//! - a revocation is in the log in the same step as in the state;
//! - after a session is revoked no descendant of it ever refreshes;
//! - an expired record is absent, whether or not it has been swept;
//! - openids, unionids, phones, usernames, nicknames and session keys are sealed at rest and found
//!   by keyed hash;
//! - a guess at a code is counted before it is compared, and a guess at nothing costs what a wrong
//!   guess costs;
//! - the id of a deleted user is never assigned again;
//! - an event for the backend is put into the outbox in the same step as the change it reports, and
//!   stays there until it is delivered.

mod accounts;
pub mod backup;
#[cfg(test)]
mod contract;
mod engine;
pub(crate) mod engine_store;
mod engines;
mod error;
#[doc(hidden)]
pub mod fixture;
mod import_mark;
mod imports;
mod keyring;
mod lease;
mod logins;
mod open;
mod open_options;
mod operations;
mod outbox;
mod phones;
mod record_cipher;
mod replicas;
mod revocations;
mod sessions;
mod transfer;
mod unknown_fields;
mod users;

use std::time::Duration;

use async_trait::async_trait;

use crate::types::{Phone, Secret, SessionId, Timestamp, UserId, Username};

pub use self::{
    accounts::{
        AccountOutcome, Credentials, Identities, NewAccount, PasswordHash, ReencryptionProgress,
        RightsChange, RightsOutcome, UserIdentity, UserLookup, WechatSession,
    },
    engine::ConnectionPool,
    engine_store::import::ImportTarget,
    engines::sled::{CompactError, Compacted, compact},
    error::StoreError,
    imports::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser},
    keyring::WrappingKeys,
    lease::UpkeepLease,
    logins::{CodeUse, LoginOutcome, LoginProof, NewLogin, SHARED_LOGIN_TTL, WechatIdentity},
    open::{
        OpenedStore, begin_import, check_engine, check_url, discard_import, has_data, migrate,
        open, running_replicas, try_hints,
    },
    open_options::{Access, FORMAT, OpenError, OpenOptions},
    outbox::{
        Backlog, OutboxEntry, OutboxEvent, OutboxPolicy, OutboxReceipt, Withdrawal,
        WithdrawalOutcome, WithdrawalScope,
    },
    phones::{
        BindOutcome, GuessId, MergedUser, PhoneBinding, PhoneProof, SmsGuess, SmsId, SmsLimits,
        SmsRefund, SmsReservation, SmsReservationOutcome, UnbindOutcome,
    },
    replicas::{Replica, ReplicaFacts, ReplicaId},
    revocations::{
        LogCursor, LookBack, RevocationEntry, RevocationOutcome, RevocationPage, RevocationScope,
        RevocationTarget, UnreadableLines,
    },
    sessions::{
        NewSession, OpenedSession, RefreshSalt, Renewal, RenewalProof, RenewedSession, Rotation,
        RotationOutcome, Session, TokenCheck,
    },
    transfer::{
        Export, ExportRecord, ExportedIdentity, ExportedOpenId, ExportedSession, ExportedUser,
        Unreadable,
    },
    unknown_fields::UnknownFields,
    users::{NewUserId, Profile, ProfileChange, User},
};

/// The operations that the rest of menshen calls. One type implements them, over any engine.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Signs a user in: finds the user by identity or creates one, links the identities, stores the
    /// `session_key`, spends the code and opens the session, all or nothing. 200 parallel first
    /// logins of one openid make one user.
    ///
    /// Safe to repeat with the same `session.id`: the outcome is the same session. A session that
    /// has ended meanwhile is not opened again; that is [`LoginOutcome::CodeUsed`]. The openid
    /// identifies the user, else the unionid; where the two belong to different users, the users
    /// are merged if `merge` is set, and otherwise the openid wins. A rejected login changes
    /// nothing, except that a guess at an SMS code is counted, and a right code is spent.
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError>;

    /// What became of a login code ([`NewLogin::code`]), for this client
    /// ([`NewLogin::code_client`]). A hint that saves a call to WeChat; `login` decides.
    async fn code_use(
        &self,
        code: &CodeHash,
        client: Option<&CodeHash>,
        now: Timestamp,
    ) -> Result<CodeUse, StoreError>;

    /// Reserves the quota of a message and makes its code the phone's code, or returns the limit
    /// that is exceeded. Called before the message is sent; may be repeated with the same id.
    async fn reserve_sms(
        &self,
        reservation: &SmsReservation,
    ) -> Result<SmsReservationOutcome, StoreError>;

    /// Releases a message that surely was not sent: the code before it is valid again, and its
    /// quota is refunded as `refund` says. Repeating it does nothing.
    async fn release_sms(
        &self,
        phone: &Phone,
        id: SmsId,
        refund: SmsRefund,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Binds a proven phone to the user of an active session. Repeating it has the same outcome.
    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError>;

    /// Unbinds the phone of the user of an active session, unless it is the only identity.
    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError>;

    /// Whether this code was sent to the user's own phone. It counts as a guess and spends a right
    /// code, as a login does. A repeat of the same guess has the same outcome and is not counted.
    async fn prove_phone(
        &self,
        user: &UserId,
        guess: &SmsGuess,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whether WeChat's identity belongs to this user. The `session_key` that came with it is
    /// stored, as after a login.
    async fn prove_wechat(
        &self,
        user: &UserId,
        identity: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The WeChat identity of an active session; `None` where the session has ended or did not
    /// begin with WeChat.
    async fn wechat_session(
        &self,
        user: &UserId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError>;

    /// The user, unless there is none.
    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError>;

    /// Whether an id is an active user's, with all identities, a deleted user's, or unknown.
    async fn lookup_user(&self, id: &UserId) -> Result<UserLookup, StoreError>;

    /// The user to whom an identity belongs.
    async fn find_user(&self, by: &UserIdentity) -> Result<Option<UserId>, StoreError>;

    /// Users in the order of their ids as text, after this one, at most `limit`.
    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError>;

    /// Creates a user who signs in with a password. Repeated with the same generated id, the
    /// outcome is the same user.
    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError>;

    /// Creates users of another system under their ids there, in this order; one outcome for each.
    /// Each is imported whole or not at all, and a repeat changes nothing. Integer ids of later
    /// users are above the highest of them. `is_trial`: the changes are rolled back.
    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError>;

    /// The credentials that a password for this name is checked against.
    async fn credentials(&self, username: &Username) -> Result<Option<Credentials>, StoreError>;

    /// Changes a user's rights. `None`: there is no such user, or no password to change.
    async fn change_rights(
        &self,
        id: &UserId,
        change: &RightsChange,
        now: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError>;

    /// Erases a user with identities, sessions and everything personal; only a tombstone of the id
    /// remains. Every token of the user is refused. `None`: the user does not exist, or the
    /// requesting session (if there is one) has ended.
    async fn erase_user(
        &self,
        id: &UserId,
        requested_by: Option<SessionId>,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<Option<RevocationOutcome>, StoreError>;

    /// Changes the profile: `None` leaves a field, `Some(None)` clears it.
    async fn update_profile(
        &self,
        id: &UserId,
        change: &ProfileChange,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError>;

    /// Removes the data that the user of an openid no longer shares, and remembers WeChat's notice
    /// in the same step: the same notice does nothing a second time, on any replica, even when the
    /// openid belongs to another user by then.
    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError>;

    /// Leases events that are due, the longest due first, at most `limit`. Each counts one more
    /// attempt, and is due again at `lease_until` unless it is acknowledged: so another replica, or
    /// the next start, continues where this one was lost.
    async fn take_outbox(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Removes a leased event, or makes it due at `retry_at`. An event that was leased again since
    /// stays as it is.
    async fn acknowledge_outbox(
        &self,
        receipt: &OutboxReceipt,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// How many events wait in the outbox.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// A session of a user while it is active: neither revoked nor expired.
    async fn session(
        &self,
        user: &UserId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError>;

    /// The user's active sessions, newest login first.
    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError>;

    /// One step of refresh token rotation, as a compare-and-set on the session's counter. A token
    /// that is not genuine changes nothing: [`RotationOutcome::Unknown`]. Ended and expired sessions
    /// are remembered for a while, so that the rejection of a genuine token can say which.
    async fn rotate(&self, rotation: &Rotation) -> Result<RotationOutcome, StoreError>;

    /// Extends a session whose refresh token stays the same: [`RotationOutcome::Rotated`] with the
    /// same counter. For clients that keep one token for good; its theft is not detected.
    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError>;

    /// Ends sessions, in the log and in the state in one step. Returns the sessions that ended;
    /// none is not an error.
    async fn revoke(
        &self,
        scope: &RevocationScope,
        now: Timestamp,
    ) -> Result<RevocationOutcome, StoreError>;

    /// Revocations after `cursor`, in order of arrival, at most `limit`, but that those of one
    /// operation come together. May return an entry twice, and with [`LookBack::Window`] never skips one:
    /// of lines that cannot be read it tells which tokens they may reject, none of them issued after `now`
    /// (or the clock that all processes share) but for a difference of clocks. `None` starts at the oldest
    /// that is younger than `max_age`, or at an older one.
    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        look_back: LookBack,
        max_age: Duration,
        limit: usize,
        now: Timestamp,
    ) -> Result<RevocationPage, StoreError>;

    /// The signing keys that are kept in the store, newest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Adds a signing key if the newest one is still `after` (`None`: if there is none). `false`:
    /// another replica added one first, read again. So two replicas that start together end up with
    /// one key.
    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError>;

    /// Removes the key with this id.
    async fn remove_key(&self, kid: &str) -> Result<(), StoreError>;

    /// Creates a new key of the store, which encrypts and finds everything from now on;
    /// [`Store::reencrypt`] does the rest. While a rotation is unfinished this does nothing.
    async fn rotate_store_key(&self) -> Result<(), StoreError>;

    /// Re-encrypts at most `limit` more records. Run again until it is finished, also after a
    /// restart.
    async fn reencrypt(&self, limit: usize) -> Result<ReencryptionProgress, StoreError>;

    /// Handles at most `limit` entries that may have expired (removes the record, or notes its
    /// later expiry); returns how many. Run again while it returns `limit`.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Whether the store answers and can write. For readiness.
    async fn check(&self) -> Result<(), StoreError>;

    /// Figures for metrics.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// The clock that all processes share; `None` where this process is alone.
    async fn shared_time(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Tells the other processes what this one is; returns those that run. None where this process is
    /// alone. `clock_ahead_ms`: how far its clock is ahead of [`shared_time`](Self::shared_time).
    async fn heartbeat(
        &self,
        id: ReplicaId,
        clock_ahead_ms: i64,
        facts: &ReplicaFacts,
    ) -> Result<Vec<Replica>, StoreError>;

    /// Takes or renews the lease on upkeep for so long, at most 5 minutes, unless another process
    /// holds it; whether this one does now. Always, where it is alone. See [`UpkeepLease`].
    async fn hold_lease(&self, holder: ReplicaId, lasts: Duration) -> Result<bool, StoreError>;

    /// Gives the lease on upkeep back, if this process holds it.
    async fn release_lease(&self, holder: ReplicaId) -> Result<(), StoreError>;

    /// The connections to a database, as they are now; `None` where there are none.
    fn connections(&self) -> Option<ConnectionPool>;

    /// Whether hints of other processes arrive here; `None`: not known yet, or the engine has none.
    fn hints_arrive(&self) -> Option<bool>;

    /// Waits until another process may have written to the revocation log. A hint, which may get
    /// lost: the log is polled as well. Never returns where processes cannot send any.
    async fn wait_for_hint(&self);

    /// A snapshot of everything in the store; writes continue meanwhile.
    async fn export(&self, unreadable: Unreadable) -> Result<Export, StoreError>;

    /// Writes records as they are into a store that is being filled and is not in use yet. It is
    /// reopened after that.
    async fn restore(&self, records: Vec<ExportRecord>) -> Result<(), StoreError>;

    /// Closes the store: everything acknowledged is on disk, files are released. Further calls
    /// fail.
    async fn close(&self) -> Result<(), StoreError>;
}

/// Keyed hash of (app id, login code): the code itself is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeHash(pub [u8; 32]);

/// A signing key as the store keeps it: sealed at rest.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Key id (RFC 7517 section 4.5).
    pub kid: String,
    /// `EdDSA`, `ES256`, `RS256` or `HS256`.
    pub algorithm: String,
    /// PKCS#8 DER, or the secret of HS256.
    pub private: Secret<Vec<u8>>,
    pub created_at: Timestamp,
    /// From when on it signs; before that it is published only.
    pub signs_from: Timestamp,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// On disk; 0 in memory.
    pub size_bytes: u64,
}
