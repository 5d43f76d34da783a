//! What a login takes and gives.

use std::time::Duration;

use super::{
    CodeHash, Credentials, NewSession, NewUserId, OpenedSession, OutboxPolicy, Profile, SmsGuess,
};
use crate::types::{
    AppId, ExtraClaims, OpenId, Secret, Timestamp, UnionId, UserId, UserType, Username,
};

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
    /// A nickname or avatar of `profile` replaces the stored one.
    pub replaces_profile: bool,
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
    /// The client that posts the code, as a keyed hash: for [`SHARED_LOGIN_TTL`] it is told of the same
    /// session again ([`CodeUse::Opened`]). `None`: the code is spent for it, too.
    pub code_client: Option<CodeHash>,
    /// Join two users of one unionid into the older one.
    pub merge: bool,
    pub session: NewSession,
    /// End the user's other sessions of the same client type.
    pub single_per_client_type: bool,
    /// Most sessions of one user; the oldest end for a new one.
    pub max_sessions: usize,
    pub now: Timestamp,
}

/// How long repeated posts of one code by one client are one login.
pub const SHARED_LOGIN_TTL: Duration = Duration::from_secs(10);

/// What became of a login code.
#[derive(Debug, Clone)]
pub enum CodeUse {
    /// Nothing, as far as is known.
    Unused,
    /// It is spent.
    Used,
    /// The client that asks has just signed in with it: the session that this opened.
    Opened(Box<OpenedSession>),
}

/// The proof of identity in a login.
#[derive(Debug, Clone)]
pub enum LoginProof {
    /// An identity from WeChat.
    Wechat(WechatIdentity),
    /// A code that was sent to a phone.
    Sms(SmsGuess),
    /// The password, which was compared with these credentials just now. Good only while they are
    /// the same.
    Password(Username, Credentials),
}

/// A user's identity as WeChat's `jscode2session` returns it.
#[derive(Debug, Clone)]
pub struct WechatIdentity {
    pub app_id: AppId,
    pub openid: OpenId,
    pub unionid: Option<UnionId>,
    /// Base64 text as WeChat gives it; kept with the one before it. `None` in development.
    pub session_key: Option<Secret<String>>,
}

/// What became of a login.
#[derive(Debug, Clone)]
pub enum LoginOutcome {
    /// Signed in.
    Opened(Box<OpenedSession>),
    /// The code had been spent by another login, or this is a repeat of a login whose session has
    /// ended.
    CodeUsed,
    /// The SMS code is wrong, used, too old, or was guessed at too often; or the password has been
    /// changed. `no_code`: there was none to compare with.
    NotProven { no_code: bool },
    /// The user is disabled.
    Disabled(UserId),
    /// A stranger, and registration is closed.
    RegistrationClosed,
    /// The identity is proven and has no user, and the login has no id for one yet
    /// ([`NewUserId::Pending`]). Nothing has changed: codes are as good as before.
    UnknownUser,
    /// The id that the backend chose is, or was (`is_deleted`), another user's. Nothing has
    /// changed.
    IdTaken { is_deleted: bool },
}
