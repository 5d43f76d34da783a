//! The stores that live in the process: one implementation of the operations over ordered bytes, in
//! memory or in sled.
//!
//! Writes go to one thread (`writer`), reads to the engine directly. Both engines share every rule;
//! they differ only in where the bytes are.

mod accounts;
mod compact;
mod draft;
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
mod reseal;
mod revoke;
mod rotate;
mod signing_keys;
mod sled;
mod sms;
mod snapshot;
mod sweep;
mod transfer;
mod withdraw;
mod writer;

pub use self::compact::{CompactError, Compacted, compact};
pub(in crate::store) use self::sled::has_data;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use self::{
    draft::{Committed, View},
    kv::{Changes, Kv},
    memory::MemoryKv,
    sled::SledKv,
    snapshot::Snapshots,
    writer::{Health, Writer},
};
use super::{
    AccountOutcome, Announce, Backlog, BindOutcome, CodeHash, Credentials, Export, Imported,
    ImportedUser, Known, LogCursor, LoginOutcome, Lookup, NewAccount, NewLogin, OpenError,
    OpenOptions, OutboxEntry, OutboxPlace, PhoneBinding, Portable, ProfileChange, RefreshSalt,
    Renewal, Resealing, RevocationPage, Revoke, Revoked, RightsChange, RightsChanged, Rotation,
    RotationOutcome, Session, SmsGuess, SmsId, SmsReservation, SmsReserved, SmsSlots, Store,
    StoreError, StoreKeys, StoreStats, StoredKey, UnbindOutcome, User, WechatIdentity,
    WechatSession, Withdrawal, WithdrawalOutcome,
    failure::Failure,
    vault::{Keyring, Unwrapped, Vault},
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    types::{Phone, SessionId, Timestamp, UserId, Username},
};

/// A store in this process.
pub struct EmbeddedStore {
    kv: Arc<dyn Kv>,
    vault: Arc<Vault>,
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
        Self::over(
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
        let store = Self::over(
            Arc::<SledKv>::clone(&kv),
            keys,
            entropy,
            path,
            kv.is_settled(),
        )?;
        kv.settle()?;
        Ok(store)
    }

    /// `settled`: it has been opened before, so if it is empty now, something was lost.
    fn over(
        kv: Arc<dyn Kv>,
        keys: &StoreKeys,
        entropy: Entropy,
        path: &Path,
        settled: bool,
    ) -> Result<Self, OpenError> {
        let keyring = keyring(kv.as_ref(), keys, &entropy, path, settled)?;
        let (vault, health) = (
            Arc::new(Vault::new(keyring, entropy)),
            Arc::new(Health::default()),
        );
        let snapshots = Arc::new(Snapshots::default());
        let writer = Writer::start(
            Arc::clone(&kv),
            Arc::clone(&vault),
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
            vault,
            keys: keys.clone(),
            changing_keys,
            health,
            snapshots,
            writer,
        })
    }

    /// What other secrets are derived from, see [`super::Opening::root`].
    pub fn root(&self) -> Key {
        self.vault.keyring().root().clone()
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
        F: FnOnce(&dyn View) -> Result<T, Failure> + Send + 'static,
    {
        self.health.check()?;
        let (kv, vault, health) = (
            Arc::clone(&self.kv),
            Arc::clone(&self.vault),
            Arc::clone(&self.health),
        );
        let inline = kv.reads_inline();
        let run = move || {
            query(&Committed {
                kv: kv.as_ref(),
                vault: &vault,
            })
            .map_err(|failure| StoreError::from(health.note(failure)))
        };
        if inline {
            return run();
        }
        match tokio::task::spawn_blocking(run).await {
            Ok(outcome) => outcome,
            // The engine is as little to be trusted after this as after a write that panicked.
            Err(end) if end.is_panic() => Err(self
                .health
                .note(Failure::Fault("a read of the store panicked".to_owned()))
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
    settled: bool,
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
        if with == Unwrapped::Previous {
            keep(&keyring).map_err(failed)?;
            tracing::info!(
                "the store is under the new encryption key now: the previous one is not needed any more"
            );
        }
        return Ok(keyring);
    }
    if settled {
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
        self.writer
            .run(move |draft| login::login(draft, &login))
            .await
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

    async fn reserve_sms(&self, reservation: &SmsReservation) -> Result<SmsReserved, StoreError> {
        let reservation = reservation.clone();
        self.writer
            .run(move |draft| sms::reserve(draft, &reservation))
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
            .run(move |draft| sms::release(draft, &phone, id, slots, now))
            .await
    }

    async fn bind_phone(&self, binding: &PhoneBinding) -> Result<BindOutcome, StoreError> {
        let binding = binding.clone();
        self.writer
            .run(move |draft| phone::bind(draft, &binding))
            .await
    }

    async fn unbind_phone(
        &self,
        user: &UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<UnbindOutcome, StoreError> {
        let user = user.clone();
        self.writer
            .run(move |draft| phone::unbind(draft, &user, session, now))
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
            .run(move |draft| phone::prove(draft, &user, &guess, now))
            .await
    }

    async fn prove_wechat(
        &self,
        user: &UserId,
        said: &WechatIdentity,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (user, said) = (user.clone(), said.clone());
        self.writer
            .run(move |draft| accounts::prove_wechat(draft, &user, &said, now))
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

    async fn known(&self, id: &UserId) -> Result<Known, StoreError> {
        let id = id.clone();
        self.read(move |view| accounts::known(view, &id)).await
    }

    async fn find_user(&self, by: &Lookup) -> Result<Option<UserId>, StoreError> {
        let by = by.clone();
        self.read(move |view| accounts::find(view, &by)).await
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>, StoreError> {
        let after = after.cloned();
        self.read(move |view| accounts::page(view, after.as_ref(), limit))
            .await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<AccountOutcome, StoreError> {
        let account = account.clone();
        self.writer
            .run(move |draft| accounts::create(draft, &account))
            .await
    }

    async fn import_users(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> Result<Vec<Imported>, StoreError> {
        let users = users.to_vec();
        self.writer
            .run(move |draft| {
                let outcomes = import::all(draft, &users)?;
                if is_trial {
                    draft.forget();
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
    ) -> Result<Option<RightsChanged>, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.writer
            .run(move |draft| accounts::change_rights(draft, &id, &change, now))
            .await
    }

    async fn erase_user(
        &self,
        id: &UserId,
        wanted_by: Option<SessionId>,
        announce: Announce,
        now: Timestamp,
    ) -> Result<Option<Revoked>, StoreError> {
        let id = id.clone();
        self.writer
            .run(move |draft| accounts::erase(draft, &id, wanted_by, announce, now))
            .await
    }

    async fn withdraw(
        &self,
        withdrawal: &Withdrawal,
        announce: Announce,
        now: Timestamp,
    ) -> Result<WithdrawalOutcome, StoreError> {
        let withdrawal = withdrawal.clone();
        self.writer
            .run(move |draft| withdraw::withdraw(draft, &withdrawal, announce, now))
            .await
    }

    async fn take_outbox(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        if !self.read(move |view| outbox::is_due(view, now)).await? {
            return Ok(Vec::new());
        }
        self.writer
            .run(move |draft| outbox::take(draft, now, until, limit))
            .await
    }

    async fn settle_outbox(
        &self,
        place: &OutboxPlace,
        again: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let place = place.clone();
        self.writer
            .run(move |draft| outbox::settle(draft, &place, again))
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
            .run(move |draft| profile::change(draft, &id, &change))
            .await
    }

    async fn session(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.read(move |view| {
            let Some(record) = records::session(view, id)? else {
                return Ok(None);
            };
            Ok(record
                .lives(records::global_epoch(view)?, now)
                .then_some(record.session))
        })
        .await
    }

    async fn sessions(&self, user: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let user = user.clone();
        self.read(move |view| {
            let global_epoch = records::global_epoch(view)?;
            let mut sessions = records::sessions_of(view, &user)?;
            sessions.retain(|record| record.lives(global_epoch, now));
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
            .run(move |draft| rotate::rotate(draft, &rotation))
            .await
    }

    async fn renew(&self, renewal: &Renewal) -> Result<RotationOutcome, StoreError> {
        let renewal = renewal.clone();
        self.writer
            .run(move |draft| rotate::renew(draft, &renewal))
            .await
    }

    async fn revoke(&self, what: &Revoke, now: Timestamp) -> Result<Revoked, StoreError> {
        let what = what.clone();
        self.writer
            .run(move |draft| revoke::revoke(draft, &what, now))
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
            .run(move |draft| signing_keys::add(draft, &key, after.as_deref()))
            .await
    }

    async fn remove_key(&self, kid: &str) -> Result<(), StoreError> {
        let kid = kid.to_owned();
        self.writer
            .run(move |draft| signing_keys::remove(draft, &kid))
            .await
    }

    async fn rotate_store_key(&self) -> Result<(), StoreError> {
        let _changing = self.changing_keys.lock().await;
        let keys = self.keys.clone();
        // The key is used only when it is durable: what it sealed would be lost with it.
        if let Some(keyring) = self
            .writer
            .run(move |draft| reseal::begin(draft, &keys))
            .await?
        {
            self.vault.install(keyring);
        }
        Ok(())
    }

    async fn reseal(&self, limit: usize) -> Result<Resealing, StoreError> {
        let _changing = self.changing_keys.lock().await;
        let keys = self.keys.clone();
        let (done, keyring) = self
            .writer
            .run(move |draft| reseal::step(draft, &keys, limit))
            .await?;
        if let Some(keyring) = keyring {
            self.vault.install(keyring);
        }
        Ok(done)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.writer
            .run(move |draft| sweep::sweep(draft, now, limit))
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer.run(|draft| draft.ready()).await
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
            .run(move |draft| Ok(snapshots.begin(kv, draft.vault().snapshot())))
            .await?;
        let (hand, taken) = tokio::sync::mpsc::channel(2);
        let health = Arc::clone(&self.health);
        tokio::task::spawn_blocking(move || {
            let gone = Failure::Refused("nobody takes the export any more");
            let done = transfer::export(&snapshot, |things| {
                hand.blocking_send(Ok(things)).map_err(|_| gone.clone())
            });
            if let Err(failure) = done {
                drop(hand.blocking_send(Err(StoreError::from(health.note(failure)))));
            }
        });
        Ok(Export(taken))
    }

    async fn restore(&self, things: Vec<Portable>) -> Result<(), StoreError> {
        let keys = self.keys.clone();
        if let Some(keyring) = self
            .writer
            .run(move |draft| transfer::restore(draft, &keys, things))
            .await?
        {
            self.vault.install(keyring);
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[cfg(test)]
mod tests;
