//! A store whose every operation is timed and whose failures are counted.

use std::{future::Future, sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{
    AccountOutcome, Backlog, BindOutcome, CodeHash, Credentials, Export, ExportRecord,
    ImportOutcome, ImportedUser, LogCursor, LoginOutcome, NewAccount, NewLogin, OutboxEntry,
    OutboxPolicy, OutboxReceipt, PhoneBinding, ProfileChange, ReencryptionProgress, RefreshSalt,
    Renewal, RevocationOutcome, RevocationPage, RevocationScope, RightsChange, RightsOutcome,
    Rotation, RotationOutcome, Session, SmsGuess, SmsId, SmsReservation, SmsReservationOutcome,
    SmsSlots, Store, StoreError, StoreStats, StoredKey, UnbindOutcome, User, UserIdentity,
    UserLookup, WechatIdentity, WechatSession, Withdrawal, WithdrawalOutcome,
};
use crate::{
    metrics::Metrics,
    types::{Phone, SessionId, Timestamp, UserId, Username},
};

/// Wraps a store. Changes nothing of what it does.
pub struct Measured<S: ?Sized> {
    engine: &'static str,
    metrics: Metrics,
    inner: Arc<S>,
}

impl<S: Store + ?Sized> Measured<S> {
    /// `engine` is the value of the label, see [`super::engine`].
    pub fn new(inner: Arc<S>, engine: &'static str, metrics: Metrics) -> Self {
        metrics.store_errors.initialize(&[engine]);
        Self {
            engine,
            metrics,
            inner,
        }
    }

    async fn timed<T>(
        &self,
        op: &'static str,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let outcome = run.await;
        self.metrics
            .store_op(self.engine, op, started.elapsed(), outcome.is_err());
        outcome
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Measured<S> {
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError> {
        self.timed("login", self.inner.login(login)).await
    }

    async fn code_spent(&self, code: &CodeHash, now: Timestamp) -> Result<bool, StoreError> {
        self.timed("code_spent", self.inner.code_spent(code, now))
            .await
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        self.timed("user", self.inner.user(id)).await
    }

    async fn reserve_sms(
        &self,
        reservation: &SmsReservation,
    ) -> Result<SmsReservationOutcome, StoreError> {
        self.timed("reserve_sms", self.inner.reserve_sms(reservation))
            .await
    }

    async fn release_sms(
        &self,
        phone: &Phone,
        id: SmsId,
        slots: SmsSlots,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.timed("release_sms", self.inner.release_sms(phone, id, slots, now))
            .await
    }

    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError> {
        self.timed("bind_phone", self.inner.bind_phone(binding))
            .await
    }

    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError> {
        self.timed("unbind_phone", self.inner.unbind_phone(user, session, now))
            .await
    }

    async fn prove_phone(
        &self,
        user: &UserId,
        guess: &SmsGuess,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.timed("prove_phone", self.inner.prove_phone(user, guess, now))
            .await
    }

    async fn prove_wechat(
        &self,
        user: &UserId,
        identity: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.timed("prove_wechat", self.inner.prove_wechat(user, identity, now))
            .await
    }

    async fn wechat_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError> {
        self.timed("wechat_session", self.inner.wechat_session(id, now))
            .await
    }

    async fn lookup_user(&self, id: &UserId) -> Result<UserLookup, StoreError> {
        self.timed("known", self.inner.lookup_user(id)).await
    }

    async fn find_user(&self, by: &UserIdentity) -> Result<Option<UserId>, StoreError> {
        self.timed("find_user", self.inner.find_user(by)).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        self.timed("users", self.inner.users(after, limit)).await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError> {
        self.timed("create_account", self.inner.create_account(account))
            .await
    }

    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        self.timed("import_users", self.inner.import_users(users, is_trial))
            .await
    }

    async fn credentials(&self, username: &Username) -> Result<Option<Credentials>, StoreError> {
        self.timed("credentials", self.inner.credentials(username))
            .await
    }

    async fn change_rights(
        &self,
        id: &UserId,
        change: &RightsChange,
        now: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError> {
        self.timed("change_rights", self.inner.change_rights(id, change, now))
            .await
    }

    async fn erase_user(
        &self,
        id: &UserId,
        requested_by: Option<SessionId>,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<Option<RevocationOutcome>, StoreError> {
        self.timed(
            "erase_user",
            self.inner.erase_user(id, requested_by, outbox, now),
        )
        .await
    }

    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError> {
        self.timed("withdraw", self.inner.withdraw(withdrawal, outbox, now))
            .await
    }

    async fn take_outbox(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        self.timed(
            "take_outbox",
            self.inner.take_outbox(now, lease_until, limit),
        )
        .await
    }

    async fn acknowledge_outbox(
        &self,
        receipt: &OutboxReceipt,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.timed(
            "settle_outbox",
            self.inner.acknowledge_outbox(receipt, retry_at),
        )
        .await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.timed("backlog", self.inner.backlog()).await
    }

    async fn rotate_store_key(&self) -> Result<(), StoreError> {
        self.timed("rotate_store_key", self.inner.rotate_store_key())
            .await
    }

    async fn reencrypt(&self, limit: usize) -> Result<ReencryptionProgress, StoreError> {
        self.timed("reseal", self.inner.reencrypt(limit)).await
    }

    async fn update_profile(
        &self,
        id: &UserId,
        change: &ProfileChange,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        self.timed("update_profile", self.inner.update_profile(id, change, now))
            .await
    }

    async fn session(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.timed("session", self.inner.session(id, now)).await
    }

    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        self.timed("sessions", self.inner.sessions(user, now)).await
    }

    async fn refresh_salt(&self, id: SessionId) -> Result<Option<RefreshSalt>, StoreError> {
        self.timed("refresh_salt", self.inner.refresh_salt(id))
            .await
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<RotationOutcome, StoreError> {
        self.timed("rotate", self.inner.rotate(rotation)).await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError> {
        self.timed("renew", self.inner.renew(renewal)).await
    }

    async fn revoke(
        &self,
        scope: &RevocationScope,
        now: Timestamp,
    ) -> Result<RevocationOutcome, StoreError> {
        self.timed("revoke", self.inner.revoke(scope, now)).await
    }

    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        limit: usize,
    ) -> Result<RevocationPage, StoreError> {
        self.timed("revocations", self.inner.revocations(cursor, limit))
            .await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.timed("keys", self.inner.keys()).await
    }

    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError> {
        self.timed("add_key", self.inner.add_key(key, after)).await
    }

    async fn remove_key(&self, kid: &str) -> Result<(), StoreError> {
        self.timed("remove_key", self.inner.remove_key(kid)).await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.timed("sweep", self.inner.sweep(now, limit)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.timed("check", self.inner.check()).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.timed("stats", self.inner.stats()).await
    }

    async fn export(&self) -> Result<Export, StoreError> {
        self.timed("export", self.inner.export()).await
    }

    async fn restore(&self, things: Vec<ExportRecord>) -> Result<(), StoreError> {
        self.timed("restore", self.inner.restore(things)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.timed("close", self.inner.close()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::Key,
        entropy::Entropy,
        store::{OpenOptions, StoreKeys, contract, open},
    };

    fn measured(metrics: &Metrics) -> Measured<dyn Store> {
        let keys = StoreKeys::derive(&Key::new([1; 32]), None);
        let opened = open(
            "memory:",
            &OpenOptions::default(),
            &keys,
            Entropy::default(),
        )
        .unwrap();
        Measured::new(opened.store, "memory", metrics.clone())
    }

    #[tokio::test]
    async fn operations_are_timed_and_failures_counted_by_name() {
        let metrics = Metrics::new();
        let store = measured(&metrics);
        store.login(&contract::login_of("alice", 1)).await.unwrap();
        store.close().await.unwrap();
        store.check().await.unwrap_err();
        let text = metrics.render();
        for line in [
            r#"menshen_store_op_duration_seconds_count{engine="memory",op="login"} 1"#,
            r#"menshen_store_op_duration_seconds_count{engine="memory",op="check"} 1"#,
            r#"menshen_store_errors_total{engine="memory",op="check"} 1"#,
            r#"menshen_store_errors_total{engine="memory",op="login"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    mod a_measured_store_keeps_the_contract {
        use std::sync::Arc;

        crate::store_contract!((Arc::new(super::measured(&super::Metrics::new())), ()));
    }
}
