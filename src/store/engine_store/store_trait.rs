//! [`Store`] over any engine: each operation in one line. The text that each gives `read`, `write` or
//! `timed` is its `op` label in the metrics; a label outlives a rename.

use std::time::Duration;

use async_trait::async_trait;

use super::{EngineStore, Runner};
use crate::{
    store::{
        AccountOutcome, Backlog, BindOutcome, CodeHash, CodeUse, ConnectionPool, Credentials,
        Export, ExportRecord, ImportOutcome, ImportedUser, LogCursor, LoginOutcome, LookBack,
        NewAccount, NewLogin, OutboxEntry, OutboxPolicy, OutboxReceipt, PhoneBinding,
        ProfileChange, ReencryptionProgress, Renewal, Replica, ReplicaFacts, ReplicaId,
        RevocationOutcome, RevocationPage, RevocationScope, RightsChange, RightsOutcome, Rotation,
        RotationOutcome, Session, SmsGuess, SmsId, SmsRefund, SmsReservation,
        SmsReservationOutcome, Store, StoreError, StoreStats, StoredKey, UnbindOutcome, Unreadable,
        User, UserIdentity, UserLookup, WechatIdentity, WechatSession, Withdrawal,
        WithdrawalOutcome,
        operations::{
            accounts, import, import_mark, lease, login, outbox, phone, profile, reencrypt,
            replicas, revoke, rotate, sessions, signing_keys, sms, sweep, transfer, user_record,
            withdraw,
        },
    },
    types::{Phone, SessionId, Timestamp, UserId, Username},
};

/// Records of a user who is imported: the user, and what points there.
const IMPORTED_USER_RECORDS: usize = 4;

#[async_trait]
impl Store for EngineStore {
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError> {
        let login = login.clone();
        self.write("login", move |tx| login::login(tx, &login))
            .await
    }

    async fn code_use(
        &self,
        code: &CodeHash,
        client: Option<&CodeHash>,
        now: Timestamp,
    ) -> Result<CodeUse, StoreError> {
        let (code, client) = (*code, client.copied());
        self.read("code_spent", move |view| {
            login::code_use(view, &code, client, now)
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
        user: &UserId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError> {
        let user = user.clone();
        self.read("wechat_session", move |view| {
            accounts::wechat_session(view, &user, id, now)
        })
        .await
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read("user", move |view| {
            Ok(user_record::user(view, &id)?.map(|record| record.user))
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
        self.timed("import_users", async {
            // A trial commits nothing, and has to see what the users before would have changed.
            let batch = if is_trial {
                users.len()
            } else {
                self.batch(users.len()) / IMPORTED_USER_RECORDS
            };
            let mut outcomes = Vec::with_capacity(users.len());
            for users in users.chunks(batch.max(1)) {
                let users = users.to_vec();
                let imported = self.run_write("import_users", move |tx| {
                    let outcomes = import::import_users(tx, &users)?;
                    if is_trial {
                        tx.rollback();
                    }
                    Ok(outcomes)
                });
                outcomes.extend(imported.await?);
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
            let is_due = self.run_read("take_outbox", move |view| outbox::is_due(view, now));
            if !is_due.await? {
                return Ok(Vec::new());
            }
            self.run_write("take_outbox", move |tx| {
                outbox::take(tx, now, lease_until, limit)
            })
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

    async fn session(
        &self,
        user: &UserId,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let user = user.clone();
        self.read("session", move |view| {
            sessions::active(view, &user, id, now)
        })
        .await
    }

    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let user = user.clone();
        self.read("sessions", move |view| sessions::all(view, &user, now))
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
        look_back: LookBack,
        max_age: Duration,
        limit: usize,
        now: Timestamp,
    ) -> Result<RevocationPage, StoreError> {
        self.read_revocations(cursor, look_back, max_age, limit, now)
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
        self.timed("reseal", async {
            let mut records = 0;
            loop {
                let batch = self.batch(limit.saturating_sub(records));
                let step = self.run_write("reseal", move |tx| reencrypt::step(tx, batch));
                let step = step.await?;
                records += step.records;
                if step.finished || records >= limit {
                    return Ok(ReencryptionProgress { records, ..step });
                }
            }
        })
        .await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.timed("sweep", async {
            let mut removed = 0;
            loop {
                let batch = self.batch(limit.saturating_sub(removed));
                let some = self
                    .run_write("sweep", move |tx| sweep::sweep(tx, now, batch))
                    .await?;
                removed += some;
                if some < batch || removed >= limit {
                    return Ok(removed);
                }
            }
        })
        .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.timed("check", self.run_check()).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.timed("stats", self.run_stats()).await
    }

    async fn shared_time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read("shared_time", |view| view.shared_time()).await
    }

    async fn heartbeat(
        &self,
        id: ReplicaId,
        clock_ahead_ms: i64,
        facts: &ReplicaFacts,
    ) -> Result<Vec<Replica>, StoreError> {
        let facts = facts.clone();
        self.write("heartbeat", move |tx| {
            replicas::beat(tx, id, clock_ahead_ms, &facts)
        })
        .await
    }

    async fn hold_lease(&self, holder: ReplicaId, lasts: Duration) -> Result<bool, StoreError> {
        self.write("hold_lease", move |tx| lease::hold(tx, holder, lasts))
            .await
    }

    async fn release_lease(&self, holder: ReplicaId) -> Result<(), StoreError> {
        self.write("release_lease", move |tx| lease::release(tx, holder))
            .await
    }

    fn connections(&self) -> Option<ConnectionPool> {
        match &self.runner {
            Runner::Local(_) => None,
            Runner::Shared(runner) => runner.connections(),
        }
    }

    fn hints_arrive(&self) -> Option<bool> {
        match &self.runner {
            Runner::Local(_) => None,
            Runner::Shared(runner) => runner.hints_arrive(),
        }
    }

    async fn wait_for_hint(&self) {
        match &self.runner {
            Runner::Local(_) => std::future::pending().await,
            Runner::Shared(runner) => runner.wait_for_hint().await,
        }
    }

    async fn export(&self, unreadable: Unreadable) -> Result<Export, StoreError> {
        self.timed("export", self.run_export(unreadable)).await
    }

    async fn restore(&self, records: Vec<ExportRecord>) -> Result<(), StoreError> {
        self.timed("restore", async {
            let import = self.import;
            for records in transfer::batches(records, self.batch(usize::MAX)) {
                self.run_write("restore", move |tx| {
                    if let Some(import) = import {
                        import_mark::step(tx, import)?;
                    }
                    transfer::restore(tx, &records)
                })
                .await?;
            }
            Ok(())
        })
        .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.timed("close", self.run_close()).await
    }
}
