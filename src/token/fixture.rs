//! What tests of tokens start from: one user, one session, and a store that knows keys and
//! revocations only.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{AccessClaims, CustomClaims, ExternalClaims, IdentityClaims};
use crate::{
    store::{
        AccountOutcome, Backlog, BindOutcome, CodeHash, Credentials, Export, ExportRecord,
        ImportOutcome, ImportedUser, LogCursor, LoginOutcome, NewAccount, NewLogin, OutboxEntry,
        OutboxPolicy, OutboxReceipt, PhoneBinding, Profile, ProfileChange, ReencryptionProgress,
        RefreshSalt, Renewal, RevocationEntry, RevocationOutcome, RevocationPage, RevocationScope,
        RightsChange, RightsOutcome, Rotation, RotationOutcome, Session, SmsGuess, SmsId,
        SmsReservation, SmsReservationOutcome, SmsSlots, Store, StoreError, StoreStats, StoredKey,
        UnbindOutcome, User, UserIdentity, UserLookup, WechatIdentity, WechatSession, Withdrawal,
        WithdrawalOutcome,
    },
    types::{ClientType, ExtraClaims, Phone, SessionId, Timestamp, UserId, UserType, Username},
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn user() -> User {
    User {
        id: UserId::parse("42").unwrap(),
        user_type: UserType::user(),
        roles: vec!["editor".to_owned()],
        epoch: 3,
        disabled: false,
        profile: Profile::default(),
        phone: None,
        username: None,
        claims: ExtraClaims::default(),
        created_at: NOW,
        last_login_at: NOW,
    }
}

pub(crate) fn session() -> Session {
    Session {
        id: SessionId::from_bits(0xabc),
        user: user().id,
        client_type: ClientType::Web,
        app_id: None,
        created_at: NOW,
        last_used_at: NOW,
        counter: 5,
        rotated_at: NOW,
        idle_end: NOW.plus(Duration::from_hours(24)),
        absolute_end: NOW.plus(Duration::from_secs(100_000)),
        salt: RefreshSalt([3; 16]),
    }
}

pub(crate) fn claims() -> AccessClaims {
    AccessClaims {
        renewable: false,
        sub: user().id,
        sid: session().id,
        iat: NOW,
        exp: NOW.plus(Duration::from_mins(15)),
        user_type: UserType::user(),
        roles: user().roles,
        client_type: ClientType::Web,
        ep: 3,
        gep: 1,
        identity_claims: IdentityClaims::default(),
        custom_claims: CustomClaims::default(),
    }
}

/// A token of an issuer called `legacy` for this user.
pub(crate) fn foreign(sub: &str) -> ExternalClaims {
    ExternalClaims {
        issuer: "legacy".into(),
        sub: UserId::parse(sub).unwrap(),
        exp: Some(NOW.plus(Duration::from_mins(15))),
        end: Some(NOW.plus(Duration::from_mins(15))),
        user_type: UserType::user(),
        roles: Vec::new(),
        client_type: None,
        sid: None,
        identity_claims: IdentityClaims::default(),
        custom_claims: CustomClaims::default(),
    }
}

/// What the header of a JWS says, unchecked.
pub(crate) fn jws_header(text: &str) -> Value {
    jws_part(text, 0)
}

/// What a JWT says, unchecked.
pub(crate) fn jws_claims(text: &str) -> Value {
    jws_part(text, 1)
}

fn jws_part(text: &str, part: usize) -> Value {
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(text.split('.').nth(part).unwrap())
            .unwrap(),
    )
    .unwrap()
}

/// Keys and revocations in memory. Everything else fails.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) keys: Mutex<Vec<StoredKey>>,
    pub(crate) log: Mutex<Vec<RevocationEntry>>,
    /// A key that another replica adds just before our next one.
    pub(crate) faster: Mutex<Option<StoredKey>>,
    /// Pages of the log are no longer than this; 0: as asked.
    pub(crate) page: usize,
    /// While set every call fails.
    pub(crate) down: AtomicBool,
    /// While set a question about a session is never answered.
    pub(crate) stuck: AtomicBool,
}

impl FakeStore {
    pub(crate) fn revoke_entry(&self, entry: RevocationEntry) {
        self.log.lock().unwrap().push(entry);
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::Relaxed) {
            Err(StoreError::Unavailable("down".to_owned()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.up()?;
        Ok(self.keys.lock().unwrap().clone())
    }

    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError> {
        self.up()?;
        let mut keys = self.keys.lock().unwrap();
        if let Some(theirs) = self.faster.lock().unwrap().take() {
            keys.insert(0, theirs);
        }
        let fits = keys.first().map(|newest| newest.kid.as_str()) == after;
        if fits {
            keys.insert(0, key.clone());
        }
        Ok(fits)
    }

    async fn remove_key(&self, kid: &str) -> Result<(), StoreError> {
        self.up()?;
        self.keys.lock().unwrap().retain(|key| key.kid != kid);
        Ok(())
    }

    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        limit: usize,
    ) -> Result<RevocationPage, StoreError> {
        self.up()?;
        let log = self.log.lock().unwrap();
        let from = cursor.map_or(0, |cursor| {
            usize::from_be_bytes(cursor.0.as_slice().try_into().unwrap())
        });
        let limit = if self.page == 0 { limit } else { self.page };
        let to = log.len().min(from + limit);
        let next = LogCursor(to.to_be_bytes().to_vec());
        Ok(RevocationPage {
            entries: log[from..to].to_vec(),
            next,
            more: to < log.len(),
        })
    }

    async fn import_users(
        &self,
        _: &[ImportedUser],
        _: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn export(&self) -> Result<Export, StoreError> {
        Err(StoreError::Closed)
    }

    async fn restore(&self, _: Vec<ExportRecord>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn login(&self, _: &NewLogin) -> Result<LoginOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn code_spent(&self, _: &CodeHash, _: Timestamp) -> Result<bool, StoreError> {
        Err(StoreError::Closed)
    }

    async fn user(&self, _: &UserId) -> Result<Option<User>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn reserve_sms(&self, _: &SmsReservation) -> Result<SmsReservationOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn release_sms(
        &self,
        _: &Phone,
        _: SmsId,
        _: SmsSlots,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn bind_phone(&self, _: &PhoneBinding) -> Result<BindOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn unbind_phone(
        &self,
        _: &UserId,
        _: SessionId,
        _: Timestamp,
    ) -> Result<UnbindOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn prove_phone(
        &self,
        _: &UserId,
        _: &SmsGuess,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Closed)
    }

    async fn prove_wechat(
        &self,
        _: &UserId,
        _: &WechatIdentity,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        Err(StoreError::Closed)
    }

    async fn wechat_session(
        &self,
        _: SessionId,
        _: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn lookup_user(&self, _: &UserId) -> Result<UserLookup, StoreError> {
        Err(StoreError::Closed)
    }

    async fn find_user(&self, _: &UserIdentity) -> Result<Option<UserId>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<User>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn create_account(&self, _: &NewAccount) -> Result<AccountOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn credentials(&self, _: &Username) -> Result<Option<Credentials>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn change_rights(
        &self,
        _: &UserId,
        _: &RightsChange,
        _: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn erase_user(
        &self,
        _: &UserId,
        _: Option<SessionId>,
        _: OutboxPolicy,
        _: Timestamp,
    ) -> Result<Option<RevocationOutcome>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn withdraw(
        &self,
        _: &Withdrawal,
        _: OutboxPolicy,
        _: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn take_outbox(
        &self,
        _: Timestamp,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn acknowledge_outbox(
        &self,
        _: &OutboxReceipt,
        _: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        Err(StoreError::Closed)
    }

    async fn rotate_store_key(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn reencrypt(&self, _: usize) -> Result<ReencryptionProgress, StoreError> {
        Err(StoreError::Closed)
    }

    async fn update_profile(
        &self,
        _: &UserId,
        _: &ProfileChange,
        _: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn session(&self, _: SessionId, _: Timestamp) -> Result<Option<Session>, StoreError> {
        if self.stuck.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Err(StoreError::Closed)
    }

    async fn sessions(&self, _: &UserId, _: Timestamp) -> Result<Vec<Session>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn refresh_salt(&self, _: SessionId) -> Result<Option<RefreshSalt>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn rotate(&self, _: &Rotation) -> Result<RotationOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn renew(&self, _: &Renewal) -> Result<RotationOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn revoke(
        &self,
        _: &RevocationScope,
        _: Timestamp,
    ) -> Result<RevocationOutcome, StoreError> {
        Err(StoreError::Closed)
    }

    async fn sweep(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Err(StoreError::Closed)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Err(StoreError::Closed)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}
