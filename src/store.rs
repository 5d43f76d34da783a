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
#[doc(hidden)]
pub mod contract;
pub mod embedded;
mod failure;
mod imports;
mod measured;
mod open;
mod outbox;
mod phones;
mod record_cipher;
mod transfer;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::types::{
    AppId, ClientType, ExtraClaims, OpenId, Phone, Secret, SessionId, Timestamp, UnionId, UserId,
    UserType, Username,
};

pub use self::{
    accounts::{
        AccountOutcome, Credentials, Identities, NewAccount, PasswordHash, ReencryptionProgress,
        RightsChange, RightsOutcome, UserIdentity, UserLookup, WechatSession,
    },
    embedded::{CompactError, Compacted, compact},
    imports::{IdentityKind, ImportConflict, ImportOutcome, ImportedUser},
    measured::Measured,
    open::{OpenError, OpenOptions, OpenedStore, engine, has_data, open},
    outbox::{
        Backlog, OutboxEntry, OutboxEvent, OutboxPolicy, OutboxReceipt, Withdrawal,
        WithdrawalOutcome, WithdrawalScope,
    },
    phones::{
        BindOutcome, MergedUser, PhoneBinding, PhoneProof, SmsGuess, SmsId, SmsLimits,
        SmsReservation, SmsReservationOutcome, SmsSlots, UnbindOutcome,
    },
    record_cipher::StoreKeys,
    transfer::{Export, ExportRecord, ExportedOpenId, ExportedSession, ExportedUser},
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

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or refused to write (a full disk). Nothing was done, or nobody knows:
    /// repeating is safe.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// It failed in a way that this process cannot mend: nothing more is written until it is opened
    /// again. What was asked for may have happened or not; repeating after a restart is safe.
    #[error("store failed until a restart: {0}")]
    Failed(String),
    /// A record that cannot be read: damaged, or sealed with another key.
    #[error("store damaged: {0}")]
    Damaged(String),
    /// It has been closed.
    #[error("store closed")]
    Closed,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub user_type: UserType,
    pub roles: Vec<String>,
    /// Access tokens with a lower `ep` are revoked.
    pub epoch: u64,
    /// A disabled user neither signs in nor refreshes.
    pub disabled: bool,
    pub profile: Profile,
    /// Proven by a code or by WeChat.
    pub phone: Option<Phone>,
    /// Of an administrator who signs in with a password.
    pub username: Option<Username>,
    /// What the backend wants the tokens to say besides.
    #[serde(default, skip_serializing_if = "ExtraClaims::is_empty")]
    pub claims: ExtraClaims,
    pub created_at: Timestamp,
    pub last_login_at: Timestamp,
}

/// What a user says of themselves. Personal: sealed at rest, never logged.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    pub nickname: Option<String>,
    pub avatar_url: Option<String>,
    pub bio: Option<String>,
    /// `YYYY-MM-DD`.
    pub birthday: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile(***)")
    }
}

/// A change of a profile: the outer `None` leaves a field as it is, the inner one clears it.
#[derive(Clone, Default)]
pub struct ProfileChange {
    pub nickname: Option<Option<String>>,
    pub avatar_url: Option<Option<String>>,
    pub bio: Option<Option<String>>,
    pub birthday: Option<Option<String>>,
}

impl std::fmt::Debug for ProfileChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProfileChange(***)")
    }
}

/// One login on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub client_type: ClientType,
    /// The app id by which the user came in, for what WeChat is asked later.
    pub app_id: Option<AppId>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// The counter of the refresh token that is valid now.
    pub counter: u64,
    /// When the counter last moved, for a replay window in seconds.
    pub rotated_at: Timestamp,
    /// Idle end: moves with each rotation, never past `absolute_end`.
    pub idle_end: Timestamp,
    pub absolute_end: Timestamp,
    pub salt: RefreshSalt,
}

/// Random bytes of one session, from which the key of its refresh tokens is derived. Never changes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshSalt(pub [u8; 16]);

impl std::fmt::Debug for RefreshSalt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Keyed hash of (app id, login code): the code itself is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeHash(pub [u8; 32]);

/// Everything one login needs, decided beforehand, so that the operation can be repeated.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config, and none depends on another"
)]
pub struct NewLogin {
    pub proof: LoginProof,
    /// Set for a new user; for a user who exists a nickname or avatar is filled in only where there
    /// is none.
    pub profile: Profile,
    /// A nickname or avatar of `profile` takes the place of the one before it.
    pub profile_is_newer: bool,
    /// The new user's kind. A user who exists is raised to `admin` by it (development only), never
    /// lowered.
    pub user_type: UserType,
    /// Id for a new user.
    pub new_user: NewUserId,
    /// Further claims of a new user.
    pub claims: ExtraClaims,
    /// What goes into the outbox, if it comes about.
    pub outbox: OutboxPolicy,
    /// A stranger's login makes a user; otherwise it is [`LoginOutcome::RegistrationClosed`].
    pub registration_open: bool,
    /// The code of `wx.login` to spend, and until when it is remembered. `None` in development,
    /// where codes are reusable.
    pub code: Option<(CodeHash, Timestamp)>,
    /// Join two users of one unionid into the older one.
    pub merge: bool,
    pub session: NewSession,
    /// End the user's other sessions of the same client type.
    pub single_per_client_type: bool,
    /// Most sessions of one user; the oldest end for a new one.
    pub max_sessions: usize,
    pub now: Timestamp,
}

/// Why somebody is believed to be who they are.
#[derive(Debug, Clone)]
pub enum LoginProof {
    /// WeChat said so.
    Wechat(WechatIdentity),
    /// A code that was sent to a phone.
    Sms(SmsGuess),
    /// The password, which was compared with these credentials just now. Good only while they are
    /// the same.
    Password(Username, Credentials),
}

/// Where a new user's id comes from.
#[derive(Debug, Clone)]
pub enum NewUserId {
    /// This one, made by the caller.
    Generated(UserId),
    /// The store's next integer, starting at this one.
    NextInteger { first: u64 },
    /// This one, which the backend chose. Where it is taken, nobody is made:
    /// [`LoginOutcome::IdTaken`].
    FromBackend(UserId),
    /// None yet: a stranger is proven, and nobody is made ([`LoginOutcome::UnknownUser`]).
    Pending,
}

/// What WeChat said of the person.
#[derive(Debug, Clone)]
pub struct WechatIdentity {
    pub app_id: AppId,
    pub openid: OpenId,
    pub unionid: Option<UnionId>,
    /// Base64 text as WeChat gives it; kept with the one before it. `None` in development.
    pub session_key: Option<Secret<String>>,
}

/// A session to open.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    pub client_type: ClientType,
    pub salt: RefreshSalt,
    pub idle_ttl: Duration,
    pub absolute_ttl: Duration,
}

/// What became of a login.
#[derive(Debug, Clone)]
pub enum LoginOutcome {
    /// Signed in.
    Opened(Box<OpenedSession>),
    /// The code had been spent by another login, or this is a repeat of a login whose session has
    /// ended.
    CodeSpent,
    /// The SMS code is wrong, used, too old, or was guessed at too often; or the password has been
    /// changed. `no_code`: there was none to compare with.
    NotProven { no_code: bool },
    /// The user is disabled.
    Disabled(UserId),
    /// A stranger, and registration is closed.
    RegistrationClosed,
    /// Proven, and nobody yet, where the login wanted to know that first ([`NewUserId::Pending`]).
    /// Nothing has changed: codes are as good as before.
    UnknownUser,
    /// The id that the backend chose is, or was (`gone`), somebody else's. Nothing has changed.
    IdTaken { is_deleted: bool },
}

/// A session and its user, as they are after the operation.
#[derive(Debug, Clone)]
pub struct OpenedSession {
    pub user: User,
    pub session: Session,
    pub is_new_user: bool,
    /// The epoch below which every token is revoked.
    pub global_epoch: u64,
    /// Sessions ended by `single_per_client_type` or `max_sessions`.
    pub ended: Vec<SessionId>,
    /// The user that was joined to this one by the login, and what that ended.
    pub merged: Option<(UserId, RevocationOutcome)>,
}

/// One presented refresh token, its HMAC already found right.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub session: SessionId,
    /// The counter in the token.
    pub counter: u64,
    /// How long after the last rotation the one before the present counter is replayed; `None`:
    /// until its successor is used.
    pub replay_window: Option<Duration>,
    pub idle_ttl: Duration,
    pub now: Timestamp,
}

/// One session to go on with, its proof already found genuine.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub session: SessionId,
    pub proof: RenewalProof,
    pub idle_ttl: Duration,
    pub now: Timestamp,
}

/// By what somebody goes on with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewalProof {
    /// The refresh token with this counter. Where the session has rotated since, two hold its
    /// tokens: it ends.
    RefreshToken { counter: u64 },
    /// An access token of this user and this session.
    AccessToken { user: UserId },
}

/// What became of a presented refresh token.
#[derive(Debug, Clone)]
pub enum RotationOutcome {
    /// It was the present one; its successor is `session.counter`.
    Rotated(Box<RenewedSession>),
    /// It was the one just before, and its successor (again `session.counter`) has not been used.
    Replayed(Box<RenewedSession>),
    /// Older than that: stolen, or the lost half of a theft. The session has been ended in this
    /// same step.
    Reused(UserId),
    /// Past its idle or absolute end.
    Expired,
    /// Revoked before.
    Revoked,
    /// The user is disabled.
    Disabled(UserId),
    /// No such session.
    Unknown,
}

/// A session after a rotation, with its user as of now.
#[derive(Debug, Clone)]
pub struct RenewedSession {
    pub user: User,
    pub session: Session,
    pub global_epoch: u64,
}

/// What to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationScope {
    /// One session, if it is this user's.
    Session { user: UserId, session: SessionId },
    /// All of the user's sessions but one.
    Others { user: UserId, keep: SessionId },
    /// All of the user's sessions; the user's epoch rises, so every access token made before is
    /// refused.
    User(UserId),
    /// Everybody's; the global epoch rises. Sessions stay in the store but refresh no more.
    Everything,
}

/// What a revocation ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationOutcome {
    /// Sessions that lived and do no more; empty for `Everything`, which counts none.
    pub sessions: Vec<SessionId>,
    /// The entries as the log has them, for the caller's own memory: a revocation bites locally
    /// before any poll.
    pub entries: Vec<RevocationEntry>,
}

/// One line of the revocation log. Kept for [`REVOCATION_RETENTION`], longer than any access token
/// lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEntry {
    pub at: Timestamp,
    pub target: RevocationTarget,
}

/// What is refused from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationTarget {
    /// Tokens of this session.
    Session(SessionId),
    /// Tokens of this user whose `ep` is lower.
    User { id: UserId, epoch: u64 },
    /// Tokens of anybody whose `gep` is lower.
    Everything { epoch: u64 },
}

/// A place in the revocation log; means something to the engine that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCursor(pub Vec<u8>);

/// Part of the revocation log.
#[derive(Debug, Clone)]
pub struct RevocationPage {
    pub entries: Vec<RevocationEntry>,
    /// Where to go on.
    pub next: LogCursor,
    /// There is more now.
    pub more: bool,
}

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
