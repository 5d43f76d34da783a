//! The port over an engine: each operation in one line. The text that each gives
//! `read`, `write` or `timed` is its `op` label in the metrics; a label outlives a rename.

use async_trait::async_trait;

use super::EngineStore;
use crate::{
    store::{
        AccountOutcome, Backlog, BindOutcome, CodeHash, Credentials, Export, ExportRecord,
        ImportOutcome, ImportedUser, LogCursor, LoginOutcome, NewAccount, NewLogin, OutboxEntry,
        OutboxPolicy, OutboxReceipt, PhoneBinding, ProfileChange, ReencryptionProgress,
        RefreshSalt, Renewal, RevocationOutcome, RevocationPage, RevocationScope, RightsChange,
        RightsOutcome, Rotation, RotationOutcome, Session, SmsGuess, SmsId, SmsRefund,
        SmsReservation, SmsReservationOutcome, Store, StoreError, StoreStats, StoredKey,
        UnbindOutcome, User, UserIdentity, UserLookup, WechatIdentity, WechatSession, Withdrawal,
        WithdrawalOutcome,
        operations::{
            accounts, import, layout, login, outbox, phone, profile, records, reencrypt, revoke,
            rotate, signing_keys, sms, sweep, transfer, withdraw,
        },
    },
    types::{Phone, SessionId, Timestamp, UserId, Username},
};

#[async_trait]
impl Store for EngineStore {
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError> {
        let login = login.clone();
        self.write("login", move |tx| login::login(tx, &login))
            .await
    }

    async fn code_spent(&self, code: &CodeHash, now: Timestamp) -> Result<bool, StoreError> {
        let key = layout::code(code);
        self.read("code_spent", move |view| {
            Ok(view
                .record::<records::SpentCode>(&key)?
                .is_some_and(|spent| now < spent.until))
        })
        .await
    }

    async fn reserve_sms(
        &self,
        reservation: &SmsReservation,
    ) -> Result<SmsReservationOutcome, StoreError> {
        let reservation = reservation.clone();
        self.write("reserve_sms", move |tx| sms::reserve(tx, &reservation))
            .await
    }

    async fn release_sms(
        &self,
        phone: &Phone,
        id: SmsId,
        refund: SmsRefund,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let phone = phone.clone();
        self.write("release_sms", move |tx| {
            sms::release(tx, &phone, id, refund, now)
        })
        .await
    }

    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError> {
        let binding = binding.clone();
        self.write("bind_phone", move |tx| phone::bind(tx, &binding))
            .await
    }

    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError> {
        let user = user.clone();
        self.write("unbind_phone", move |tx| {
            phone::unbind(tx, &user, session, now)
        })
        .await
    }

    async fn prove_phone(
        &self,
        user: &UserId,
        guess: &SmsGuess,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, guess) = (user.clone(), guess.clone());
        self.write("prove_phone", move |tx| {
            phone::prove(tx, &user, &guess, now)
        })
        .await
    }

    async fn prove_wechat(
        &self,
        user: &UserId,
        identity: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, identity) = (user.clone(), identity.clone());
        self.write("prove_wechat", move |tx| {
            accounts::prove_wechat(tx, &user, &identity, now)
        })
        .await
    }

    async fn wechat_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError> {
        self.read("wechat_session", move |view| {
            accounts::wechat_session(view, id, now)
        })
        .await
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read("user", move |view| {
            Ok(records::user(view, &id)?.map(|record| record.user))
        })
        .await
    }

    async fn lookup_user(&self, id: &UserId) -> Result<UserLookup, StoreError> {
        let id = id.clone();
        self.read("known", move |view| accounts::lookup_user(view, &id))
            .await
    }

    async fn find_user(&self, by: &UserIdentity) -> Result<Option<UserId>, StoreError> {
        let by = by.clone();
        self.read("find_user", move |view| accounts::find_user(view, &by))
            .await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        let after = after.cloned();
        self.read("users", move |view| {
            accounts::page(view, after.as_ref(), limit)
        })
        .await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError> {
        let account = account.clone();
        self.write("create_account", move |tx| accounts::create(tx, &account))
            .await
    }

    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        let users = users.to_vec();
        self.write("import_users", move |tx| {
            let outcomes = import::import_users(tx, &users)?;
            if is_trial {
                tx.rollback();
            }
            Ok(outcomes)
        })
        .await
    }

    async fn credentials(&self, username: &Username) -> Result<Option<Credentials>, StoreError> {
        let username = username.clone();
        self.read("credentials", move |view| {
            accounts::credentials(view, &username)
        })
        .await
    }

    async fn change_rights(
        &self,
        id: &UserId,
        change: &RightsChange,
        now: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.write("change_rights", move |tx| {
            accounts::change_rights(tx, &id, &change, now)
        })
        .await
    }

    async fn erase_user(
        &self,
        id: &UserId,
        requested_by: Option<SessionId>,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<Option<RevocationOutcome>, StoreError> {
        let id = id.clone();
        self.write("erase_user", move |tx| {
            accounts::erase(tx, &id, requested_by, outbox, now)
        })
        .await
    }

    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError> {
        let withdrawal = withdrawal.clone();
        self.write("withdraw", move |tx| {
            withdraw::withdraw(tx, &withdrawal, outbox, now)
        })
        .await
    }

    async fn take_outbox(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        self.timed("take_outbox", async {
            if !self.run_read(move |view| outbox::is_due(view, now)).await? {
                return Ok(Vec::new());
            }
            self.run_write(move |tx| outbox::take(tx, now, lease_until, limit))
                .await
        })
        .await
    }

    async fn acknowledge_outbox(
        &self,
        receipt: &OutboxReceipt,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let receipt = receipt.clone();
        self.write("settle_outbox", move |tx| {
            outbox::acknowledge(tx, &receipt, retry_at)
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.read("backlog", outbox::backlog).await
    }

    async fn update_profile(
        &self,
        id: &UserId,
        change: &ProfileChange,
        _now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.write("update_profile", move |tx| {
            profile::change(tx, &id, &change)
        })
        .await
    }

    async fn session(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.read("session", move |view| {
            let Some(record) = records::session(view, id)? else {
                return Ok(None);
            };
            Ok(record
                .is_active(records::global_epoch(view), now)
                .then_some(record.session))
        })
        .await
    }

    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let user = user.clone();
        self.read("sessions", move |view| {
            let global_epoch = records::global_epoch(view);
            let mut sessions = records::sessions_of(view, &user)?;
            sessions.retain(|record| record.is_active(global_epoch, now));
            let mut sessions: Vec<_> = sessions.into_iter().map(|record| record.session).collect();
            sessions.sort_by_key(|session| (std::cmp::Reverse(session.created_at), session.id));
            Ok(sessions)
        })
        .await
    }

    async fn refresh_salt(&self, id: SessionId) -> Result<Option<RefreshSalt>, StoreError> {
        self.read("refresh_salt", move |view| {
            Ok(records::session(view, id)?.map(|record| record.salt()))
        })
        .await
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<RotationOutcome, StoreError> {
        let rotation = rotation.clone();
        self.write("rotate", move |tx| rotate::rotate(tx, &rotation))
            .await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError> {
        let renewal = renewal.clone();
        self.write("renew", move |tx| rotate::renew(tx, &renewal))
            .await
    }

    async fn revoke(
        &self,
        scope: &RevocationScope,
        now: Timestamp,
    ) -> Result<RevocationOutcome, StoreError> {
        let scope = scope.clone();
        self.write("revoke", move |tx| revoke::revoke(tx, &scope, now))
            .await
    }

    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        limit: usize,
    ) -> Result<RevocationPage, StoreError> {
        let cursor = cursor.cloned();
        self.read("revocations", move |view| {
            revoke::page(view, cursor.as_ref(), limit)
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.read("keys", signing_keys::all).await
    }

    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError> {
        let (key, after) = (key.clone(), after.map(str::to_owned));
        self.write("add_key", move |tx| {
            signing_keys::add(tx, &key, after.as_deref())
        })
        .await
    }

    async fn remove_key(&self, kid: &str) -> Result<(), StoreError> {
        let kid = kid.to_owned();
        self.write("remove_key", move |tx| signing_keys::remove(tx, &kid))
            .await
    }

    async fn rotate_store_key(&self) -> Result<(), StoreError> {
        self.write("rotate_store_key", reencrypt::begin).await
    }

    async fn reencrypt(&self, limit: usize) -> Result<ReencryptionProgress, StoreError> {
        self.write("reseal", move |tx| reencrypt::step(tx, limit))
            .await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write("sweep", move |tx| sweep::sweep(tx, now, limit))
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.timed("check", self.run_check()).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.timed("stats", self.run_stats()).await
    }

    async fn export(&self) -> Result<Export, StoreError> {
        self.timed("export", self.run_export()).await
    }

    async fn restore(&self, records: Vec<ExportRecord>) -> Result<(), StoreError> {
        self.write("restore", move |tx| transfer::restore(tx, &records))
            .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.timed("close", self.run_close()).await
    }
}
