//! The store: users, identities, sessions, revocations and signing keys, as atomic operations of
//! the domain.
//!
//! A rule about shared state is one operation here, because on Redis or SQL it has to be one atomic
//! step. Nothing may assume that it holds a lock between two calls. Expected outcomes are values;
//! an error means that the store failed or that nobody knows what happened, and then the answer to
//! a client is 503.
//!
//! Must stay true, on every engine (the suite in `contract` holds each to it):
//! - what an operation acknowledged is there after `kill -9` and power loss;
//! - every operation may be repeated after an unknown outcome: a repeat never makes a second user,
//!   session or successor;
//! - a revocation is in the log before the state says so, so a crash in between fails closed;
//! - after a session is revoked no descendant of it ever refreshes;
//! - what has expired is absent, whether or not it has been swept;
//! - openids, unionids, phones, usernames, nicknames and session keys are sealed at rest and found
//!   by keyed hash;
//! - a guess at a code is counted before it is compared, and a guess at nothing costs what a wrong
//!   guess costs;
//! - the id of a user who is gone is never given again;
//! - what the backend is to hear of is in the outbox in the same step as what happened, and stays
//!   until it was delivered.

mod accounts;
pub mod backup;
#[cfg(test)]
mod contract;
pub mod embedded;
mod error;
#[doc(hidden)]
pub mod fixture;
mod imports;
mod logins;
mod open;
mod open_options;
mod outbox;
mod phones;
mod record_cipher;
mod revocations;
mod sessions;
mod transfer;
mod users;

use async_trait::async_trait;

use crate::types::{Phone, Secret, SessionId, Timestamp, UserId, Username};

pub use self::{
    accounts::{
        AccountOutcome, Credentials, Identities, NewAccount, PasswordHash, ReencryptionProgress,
        RightsChange, RightsOutcome, UserIdentity, UserLookup, WechatSession,
    },
    embedded::{CompactError, Compacted, compact},
    error::StoreError,
    imports::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser},
    logins::{LoginOutcome, LoginProof, NewLogin, WechatIdentity},
    open::{OpenedStore, has_data, open},
    open_options::{OpenError, OpenOptions},
    outbox::{
        Backlog, OutboxEntry, OutboxEvent, OutboxPolicy, OutboxReceipt, Withdrawal,
        WithdrawalOutcome, WithdrawalScope,
    },
    phones::{
        BindOutcome, MergedUser, PhoneBinding, PhoneProof, SmsGuess, SmsId, SmsLimits,
        SmsReservation, SmsReservationOutcome, SmsSlots, UnbindOutcome,
    },
    record_cipher::StoreKeys,
    revocations::{
        LogCursor, RevocationEntry, RevocationOutcome, RevocationPage, RevocationScope,
        RevocationTarget,
    },
    sessions::{
        NewSession, OpenedSession, RefreshSalt, Renewal, RenewalProof, RenewedSession, Rotation,
        RotationOutcome, Session,
    },
    transfer::{Export, ExportRecord, ExportedOpenId, ExportedSession, ExportedUser},
    users::{NewUserId, Profile, ProfileChange, User},
};

/// The port that every engine implements.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Signs somebody in: finds the user by identity or makes one, links the identities, keeps the
    /// `session_key`, spends the code and opens the session, all or nothing. 200 parallel first
    /// logins of one openid make one user.
    ///
    /// Safe to repeat with the same `session.id`: the answer is the same session. One that has
    /// ended meanwhile is not opened again; that is [`LoginOutcome::CodeSpent`]. The openid says
    /// who it is, else the unionid; where the two belong to different users they become one if
    /// `merge` says so, and otherwise the openid wins. A refused login changes nothing, but that a
    /// guess at an SMS code is counted, and a right one spent.
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError>;

    /// Whether a login code has been spent ([`NewLogin::code`]). A hint that spares a call to
    /// WeChat; `login` decides.
    async fn code_spent(&self, code: &CodeHash, now: Timestamp) -> Result<bool, StoreError>;

    /// Takes the slots of a message and makes its code the phone's code, or says what is in the
    /// way. To be asked before the message is sent; may be repeated with the same id.
    async fn reserve_sms(
        &self,
        reservation: &SmsReservation,
    ) -> Result<SmsReservationOutcome, StoreError>;

    /// Takes back a message that surely was not sent: the code before it is good again, and its
    /// slots are free where `slots` says so. A second time it does nothing.
    async fn release_sms(
        &self,
        phone: &Phone,
        id: SmsId,
        slots: SmsSlots,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Binds a phone to the user of a living session, on proof. Repeating it gives the same.
    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError>;

    /// Takes the phone away from the user of a living session, unless it is the only way in.
    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError>;

    /// Whether this code was sent to the user's own phone: the same guess as a login with it, which
    /// it spends.
    async fn prove_phone(
        &self,
        user: &UserId,
        guess: &SmsGuess,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Whether this is the user whom WeChat names. The `session_key` that came with it is kept, as
    /// after a login.
    async fn prove_wechat(
        &self,
        user: &UserId,
        identity: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// What WeChat knows a living session by; `None` where it has ended or did not begin with
    /// WeChat.
    async fn wechat_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError>;

    /// The user, unless there is none.
    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError>;

    /// What has become of a user's id, with all that leads to the user.
    async fn lookup_user(&self, id: &UserId) -> Result<UserLookup, StoreError>;

    /// The id that leads from an identity.
    async fn find_user(&self, by: &UserIdentity) -> Result<Option<UserId>, StoreError>;

    /// Users in the order of their ids as text, after this one, at most `limit`.
    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError>;

    /// Makes a user who signs in with a password. Repeated with the same given id it gives the same
    /// user.
    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError>;

    /// Makes users of another system under the ids that they have there, in this order; says for
    /// each what became of it. Each is imported whole or not at all, and a repeat changes nothing.
    /// Integers given to new users later are above the highest of them. `is_trial`: nothing is kept
    /// of it.
    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError>;

    /// What the password of this name is checked against.
    async fn credentials(&self, username: &Username) -> Result<Option<Credentials>, StoreError>;

    /// Changes a user's rights. `None`: there is no such user, or no password to change.
    async fn change_rights(
        &self,
        id: &UserId,
        change: &RightsChange,
        now: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError>;

    /// Erases a user with identities, sessions and everything personal; only that the id was used
    /// remains. Every token made for the user is refused. `None`: there is no such user any more,
    /// or the session that wants it (if one does) is over.
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

    /// Takes back what the user of an openid no longer lets us have, and remembers in the same step
    /// that this was said: a second time, on whatever replica, nothing happens, whoever has the
    /// openid by then.
    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError>;

    /// Takes events that are due, the longest due first, at most `limit`. Each counts one more
    /// attempt, and is due again at `lease_until` unless it is settled: so another replica, or the next
    /// start, goes on where this one was lost.
    async fn take_outbox(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Forgets an event that was taken, or makes it due at another time. One that somebody else has
    /// taken since stays as it is.
    async fn acknowledge_outbox(
        &self,
        receipt: &OutboxReceipt,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// How much waits in the outbox.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// The session while it lives: neither revoked nor past its end.
    async fn session(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError>;

    /// The user's living sessions, newest login first.
    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError>;

    /// What the refresh token of a session is checked with; also of one that is revoked or expired
    /// while it is remembered, so that the answer can say which.
    async fn refresh_salt(&self, id: SessionId) -> Result<Option<RefreshSalt>, StoreError>;

    /// One step of refresh token rotation, as a compare-and-set on the session's counter. The
    /// caller has checked the HMAC.
    async fn rotate(&self, rotation: &Rotation) -> Result<RotationOutcome, StoreError>;

    /// Goes on with a session whose refresh token stays as it is: [`RotationOutcome::Rotated`] with
    /// the same counter. For clients that keep one token for good; whoever steals it is not found
    /// out.
    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError>;

    /// Ends sessions. In the log before it is in the state. Says which sessions ended; none is not
    /// an error.
    async fn revoke(
        &self,
        scope: &RevocationScope,
        now: Timestamp,
    ) -> Result<RevocationOutcome, StoreError>;

    /// Revocations after `cursor`, in order of arrival, at most `limit`. Reads whatever is new
    /// since, and may give an entry twice; never skips one. `None` starts at the oldest that still
    /// matters.
    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        limit: usize,
    ) -> Result<RevocationPage, StoreError>;

    /// The signing keys that are kept in the store, newest first.
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Adds a signing key if the newest one is still `after` (`None`: if there is none). `false`:
    /// somebody was faster, read again. So two replicas that start together end up with one key.
    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError>;

    /// Forgets the key of this id.
    async fn remove_key(&self, kid: &str) -> Result<(), StoreError>;

    /// Makes a new key of the store, with which everything is sealed and found from now on;
    /// [`Store::reencrypt`] does the rest. While that is not finished this does nothing.
    async fn rotate_store_key(&self) -> Result<(), StoreError>;

    /// Seals at most `limit` more records anew. Run again until it is finished, also after a
    /// restart.
    async fn reencrypt(&self, limit: usize) -> Result<ReencryptionProgress, StoreError>;

    /// Settles at most `limit` things whose time may have come (removes them, or notes their later
    /// time); says how many. Run again while it says `limit`.
    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Whether the store answers and can write. For readiness.
    async fn check(&self) -> Result<(), StoreError>;

    /// Figures for metrics.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Everything in the store, as it is at this moment; others go on writing meanwhile.
    async fn export(&self) -> Result<Export, StoreError>;

    /// Writes these as they are into a store that is being filled and that nobody else uses yet. It
    /// is opened anew after that.
    async fn restore(&self, records: Vec<ExportRecord>) -> Result<(), StoreError>;

    /// Ends: everything acknowledged is on disk, files are released. Further calls fail.
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
