//! The stores that live in the process: one implementation of the operations over ordered bytes, in
//! memory or in sled.
//!
//! Writes go to one thread (`writer`), reads to the engine directly. Both engines share every rule;
//! they differ only in where the bytes are.

mod accounts;
mod compact;
mod identity;
mod import;
mod kv;
mod layout;
mod login;
mod memory;
mod merge;
mod outbox;
mod phone;
mod profile;
mod records;
mod reencrypt;
mod revoke;
mod rotate;
mod signing_keys;
mod sled;
mod sms;
mod snapshot;
mod sweep;
mod transaction;
mod transfer;
mod withdraw;
mod writer;

pub use self::compact::{CompactError, Compacted, compact};
pub(in crate::store) use self::sled::has_data;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use self::{
    kv::{Changes, Kv},
    memory::MemoryKv,
    sled::SledKv,
    snapshot::Snapshots,
    transaction::{CommittedView, ReadView},
    writer::{Health, Writer},
};
use super::{
    AccountOutcome, Backlog, BindOutcome, CodeHash, Credentials, Export, ExportRecord,
    ImportOutcome, ImportedUser, LogCursor, LoginOutcome, NewAccount, NewLogin, OpenError,
    OpenOptions, OutboxEntry, OutboxPolicy, OutboxReceipt, PhoneBinding, ProfileChange,
    ReencryptionProgress, RefreshSalt, Renewal, RevocationOutcome, RevocationPage, RevocationScope,
    RightsChange, RightsOutcome, Rotation, RotationOutcome, Session, SmsGuess, SmsId,
    SmsReservation, SmsReservationOutcome, SmsSlots, Store, StoreError, StoreKeys, StoreStats,
    StoredKey, UnbindOutcome, User, UserIdentity, UserLookup, WechatIdentity, WechatSession,
    Withdrawal, WithdrawalOutcome,
    failure::Failure,
    record_cipher::{Keyring, RecordCipher, WrappedWith},
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    types::{Phone, SessionId, Timestamp, UserId, Username},
};

/// A store in this process.
pub struct EmbeddedStore {
    kv: Arc<dyn Kv>,
    cipher: Arc<RecordCipher>,
    keys: StoreKeys,
    /// Held from a change of the keyring on the disk until the vault has it: two of them must not
    /// overtake each other, or the vault would seal with a key that is not in the store.
    changing_keys: tokio::sync::Mutex<()>,
    health: Arc<Health>,
    snapshots: Arc<Snapshots>,
    writer: Writer,
}

impl EmbeddedStore {
    /// An empty store that ends with the process. Fails only when the system gives no thread or no
    /// random bytes.
    pub fn memory(keys: &StoreKeys, entropy: Entropy) -> Result<Self, OpenError> {
        Self::with_kv(
            Arc::new(MemoryKv::new()),
            keys,
            entropy,
            Path::new("memory"),
            false,
        )
    }

    /// The store in a directory, which is made when it is not there.
    pub fn sled(
        path: &Path,
        options: &OpenOptions,
        keys: &StoreKeys,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let kv = Arc::new(SledKv::open(path, options)?);
        let store = Self::with_kv(
            Arc::<SledKv>::clone(&kv),
            keys,
            entropy,
            path,
            kv.is_settled(),
        )?;
        kv.mark_initialized()?;
        Ok(store)
    }

    /// `initialized`: it has been opened before, so if it is empty now, something was lost.
    fn with_kv(
        kv: Arc<dyn Kv>,
        keys: &StoreKeys,
        entropy: Entropy,
        path: &Path,
        initialized: bool,
    ) -> Result<Self, OpenError> {
        let keyring = keyring(kv.as_ref(), keys, &entropy, path, initialized)?;
        let (cipher, health) = (
            Arc::new(RecordCipher::new(keyring, entropy)),
            Arc::new(Health::default()),
        );
        let snapshots = Arc::new(Snapshots::default());
        let writer = Writer::start(
            Arc::clone(&kv),
            Arc::clone(&cipher),
            Arc::clone(&health),
            Arc::clone(&snapshots),
        )
        .map_err(|error| OpenError::Io {
            path: path.to_owned(),
            why: format!("no thread: {error}"),
        })?;
        let changing_keys = tokio::sync::Mutex::default();
        Ok(Self {
            kv,
            cipher,
            keys: keys.clone(),
            changing_keys,
            health,
            snapshots,
            writer,
        })
    }

    /// What other secrets are derived from, see [`super::OpenedStore::root`].
    pub fn root(&self) -> Key {
        self.cipher.keyring().root().clone()
    }

    /// The engine's name, as metrics have it.
    pub fn engine(&self) -> &'static str {
        self.kv.name()
    }

    /// Runs a read where it holds up nobody: an engine with a disk may wait for it, and a waiting
    /// thread serves no requests.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn ReadView) -> Result<T, Failure> + Send + 'static,
    {
        self.health.check()?;
        let (kv, cipher, health) = (
            Arc::clone(&self.kv),
            Arc::clone(&self.cipher),
            Arc::clone(&self.health),
        );
        let inline = kv.reads_inline();
        let run = move || {
            query(&CommittedView {
                kv: kv.as_ref(),
                cipher: &cipher,
            })
            .map_err(|failure| StoreError::from(health.record(failure)))
        };
        if inline {
            return run();
        }
        match tokio::task::spawn_blocking(run).await {
            Ok(outcome) => outcome,
            // The engine is as little to be trusted after this as after a write that panicked.
            Err(end) if end.is_panic() => Err(self
                .health
                .record(Failure::Fault("a read of the store panicked".to_owned()))
                .into()),
            Err(_) => Err(Failure::Closed.into()),
        }
    }
}

/// The store's own keys, which prove that it is ours, whole, and that our encryption key is right.
/// A new store gets new ones; one that is still under the previous encryption key comes under the
/// present one.
fn keyring(
    kv: &dyn Kv,
    keys: &StoreKeys,
    entropy: &Entropy,
    path: &Path,
    initialized: bool,
) -> Result<Keyring, OpenError> {
    let path = || path.to_owned();
    let corrupt = |why: &str| OpenError::Corrupt {
        path: path(),
        why: why.to_owned(),
    };
    let failed = |failure: Failure| OpenError::Io {
        path: path(),
        why: StoreError::from(failure).to_string(),
    };
    let keep = |keyring: &Keyring| {
        let wrapped = keyring.wrap(keys, entropy, layout::KEYRING)?;
        kv.commit(&Changes::from([(layout::KEYRING.to_vec(), Some(wrapped))]))
    };
    if let Some(wrapped) = kv.get(layout::KEYRING).map_err(failed)? {
        let Some((keyring, with)) = Keyring::unwrap(keys, layout::KEYRING, &wrapped) else {
            return Err(OpenError::WrongKey { path: path() });
        };
        if with == WrappedWith::Previous {
            keep(&keyring).map_err(failed)?;
            tracing::info!(
                "the store is under the new encryption key now: the previous one is not needed any more"
            );
        }
        return Ok(keyring);
    }
    if initialized {
        return Err(corrupt(
            "what was in it is gone, or it was made by another version of menshen",
        ));
    }
    if !kv.scan(b"", None, 1).map_err(failed)?.is_empty() {
        return Err(corrupt("it holds data that is not menshen's"));
    }
    let keyring = Keyring::generate(entropy).map_err(|error| OpenError::Io {
        path: path(),
        why: error.to_string(),
    })?;
    keep(&keyring).map_err(failed)?;
    Ok(keyring)
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn login(&self, login: &NewLogin) -> Result<LoginOutcome, StoreError> {
        let login = login.clone();
        self.writer.run(move |tx| login::login(tx, &login)).await
    }

    async fn code_spent(&self, code: &CodeHash, now: Timestamp) -> Result<bool, StoreError> {
        let key = layout::code(code);
        self.read(move |view| {
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
        self.writer
            .run(move |tx| sms::reserve(tx, &reservation))
            .await
    }

    async fn release_sms(
        &self,
        phone: &Phone,
        id: SmsId,
        slots: SmsSlots,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let phone = phone.clone();
        self.writer
            .run(move |tx| sms::release(tx, &phone, id, slots, now))
            .await
    }

    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError> {
        let binding = binding.clone();
        self.writer.run(move |tx| phone::bind(tx, &binding)).await
    }

    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError> {
        let user = user.clone();
        self.writer
            .run(move |tx| phone::unbind(tx, &user, session, now))
            .await
    }

    async fn prove_phone(
        &self,
        user: &UserId,
        guess: &SmsGuess,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, guess) = (user.clone(), guess.clone());
        self.writer
            .run(move |tx| phone::prove(tx, &user, &guess, now))
            .await
    }

    async fn prove_wechat(
        &self,
        user: &UserId,
        identity: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, identity) = (user.clone(), identity.clone());
        self.writer
            .run(move |tx| accounts::prove_wechat(tx, &user, &identity, now))
            .await
    }

    async fn wechat_session(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<WechatSession>, StoreError> {
        self.read(move |view| accounts::wechat_session(view, id, now))
            .await
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read(move |view| Ok(records::user(view, &id)?.map(|record| record.user)))
            .await
    }

    async fn lookup_user(&self, id: &UserId) -> Result<UserLookup, StoreError> {
        let id = id.clone();
        self.read(move |view| accounts::lookup_user(view, &id))
            .await
    }

    async fn find_user(&self, by: &UserIdentity) -> Result<Option<UserId>, StoreError> {
        let by = by.clone();
        self.read(move |view| accounts::find_user(view, &by)).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        let after = after.cloned();
        self.read(move |view| accounts::page(view, after.as_ref(), limit))
            .await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError> {
        let account = account.clone();
        self.writer
            .run(move |tx| accounts::create(tx, &account))
            .await
    }

    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        let users = users.to_vec();
        self.writer
            .run(move |tx| {
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
        self.read(move |view| accounts::credentials(view, &username))
            .await
    }

    async fn change_rights(
        &self,
        id: &UserId,
        change: &RightsChange,
        now: Timestamp,
    ) -> Result<Option<RightsOutcome>, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.writer
            .run(move |tx| accounts::change_rights(tx, &id, &change, now))
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
        self.writer
            .run(move |tx| accounts::erase(tx, &id, requested_by, outbox, now))
            .await
    }

    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        outbox: OutboxPolicy,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError> {
        let withdrawal = withdrawal.clone();
        self.writer
            .run(move |tx| withdraw::withdraw(tx, &withdrawal, outbox, now))
            .await
    }

    async fn take_outbox(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        if !self.read(move |view| outbox::is_due(view, now)).await? {
            return Ok(Vec::new());
        }
        self.writer
            .run(move |tx| outbox::take(tx, now, lease_until, limit))
            .await
    }

    async fn acknowledge_outbox(
        &self,
        receipt: &OutboxReceipt,
        retry_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let receipt = receipt.clone();
        self.writer
            .run(move |tx| outbox::acknowledge(tx, &receipt, retry_at))
            .await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.read(outbox::backlog).await
    }

    async fn update_profile(
        &self,
        id: &UserId,
        change: &ProfileChange,
        _now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.writer
            .run(move |tx| profile::change(tx, &id, &change))
            .await
    }

    async fn session(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.read(move |view| {
            let Some(record) = records::session(view, id)? else {
                return Ok(None);
            };
            Ok(record
                .is_active(records::global_epoch(view)?, now)
                .then_some(record.session))
        })
        .await
    }

    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let user = user.clone();
        self.read(move |view| {
            let global_epoch = records::global_epoch(view)?;
            let mut sessions = records::sessions_of(view, &user)?;
            sessions.retain(|record| record.is_active(global_epoch, now));
            let mut sessions: Vec<_> = sessions.into_iter().map(|record| record.session).collect();
            sessions.sort_by_key(|session| (std::cmp::Reverse(session.created_at), session.id));
            Ok(sessions)
        })
        .await
    }

    async fn refresh_salt(&self, id: SessionId) -> Result<Option<RefreshSalt>, StoreError> {
        self.read(move |view| Ok(records::session(view, id)?.map(|record| record.salt())))
            .await
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<RotationOutcome, StoreError> {
        let rotation = rotation.clone();
        self.writer
            .run(move |tx| rotate::rotate(tx, &rotation))
            .await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError> {
        let renewal = renewal.clone();
        self.writer.run(move |tx| rotate::renew(tx, &renewal)).await
    }

    async fn revoke(
        &self,
        scope: &RevocationScope,
        now: Timestamp,
    ) -> Result<RevocationOutcome, StoreError> {
        let scope = scope.clone();
        self.writer
            .run(move |tx| revoke::revoke(tx, &scope, now))
            .await
    }

    async fn revocations(
        &self,
        cursor: Option<&LogCursor>,
        limit: usize,
    ) -> Result<RevocationPage, StoreError> {
        let cursor = cursor.cloned();
        self.read(move |view| revoke::page(view, cursor.as_ref(), limit))
            .await
    }

    async fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.read(signing_keys::all).await
    }

    async fn add_key(&self, key: &StoredKey, after: Option<&str>) -> Result<bool, StoreError> {
        let (key, after) = (key.clone(), after.map(str::to_owned));
        self.writer
            .run(move |tx| signing_keys::add(tx, &key, after.as_deref()))
            .await
    }

    async fn remove_key(&self, kid: &str) -> Result<(), StoreError> {
        let kid = kid.to_owned();
        self.writer
            .run(move |tx| signing_keys::remove(tx, &kid))
            .await
    }

    async fn rotate_store_key(&self) -> Result<(), StoreError> {
        let _changing = self.changing_keys.lock().await;
        let keys = self.keys.clone();
        // The key is used only when it is durable: what it sealed would be lost with it.
        if let Some(keyring) = self
            .writer
            .run(move |tx| reencrypt::begin(tx, &keys))
            .await?
        {
            self.cipher.install(keyring);
        }
        Ok(())
    }

    async fn reencrypt(&self, limit: usize) -> Result<ReencryptionProgress, StoreError> {
        let _changing = self.changing_keys.lock().await;
        let keys = self.keys.clone();
        let (done, keyring) = self
            .writer
            .run(move |tx| reencrypt::step(tx, &keys, limit))
            .await?;
        if let Some(keyring) = keyring {
            self.cipher.install(keyring);
        }
        Ok(done)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.writer
            .run(move |tx| sweep::sweep(tx, now, limit))
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer.run(|tx| tx.ready()).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.health.check()?;
        let kv = Arc::clone(&self.kv);
        let size_bytes = tokio::task::spawn_blocking(move || kv.size_bytes())
            .await
            .map_err(|_| StoreError::Unavailable("a read of the store panicked".to_owned()))??;
        Ok(StoreStats { size_bytes })
    }

    async fn export(&self) -> Result<Export, StoreError> {
        let (snapshots, kv) = (Arc::clone(&self.snapshots), Arc::clone(&self.kv));
        // In its turn among the writes, so that it is of one moment.
        let snapshot = self
            .writer
            .run(move |tx| Ok(snapshots.begin(kv, tx.cipher().snapshot())))
            .await?;
        let (hand, taken) = tokio::sync::mpsc::channel(2);
        let health = Arc::clone(&self.health);
        tokio::task::spawn_blocking(move || {
            let gone = Failure::Refused("nobody takes the export any more");
            let done = transfer::export(&snapshot, |records| {
                hand.blocking_send(Ok(records)).map_err(|_| gone.clone())
            });
            if let Err(failure) = done {
                drop(hand.blocking_send(Err(StoreError::from(health.record(failure)))));
            }
        });
        Ok(Export(taken))
    }

    async fn restore(&self, records: Vec<ExportRecord>) -> Result<(), StoreError> {
        let keys = self.keys.clone();
        if let Some(keyring) = self
            .writer
            .run(move |tx| transfer::restore(tx, &keys, records))
            .await?
        {
            self.cipher.install(keyring);
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[cfg(test)]
mod tests;
