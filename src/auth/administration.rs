//! Operations of operators on accounts, sessions and the key of the store.
//!
//! One set for a running process, where a ban takes effect at once, and for a command on the store
//! of a stopped one.
//!
//! Must stay true: each change is one operation of the store; a lookup before it only improves the
//! error.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Denylist, Password, PasswordError, Passwords, login::new_user_id};
use crate::{
    audit::{Actor, Audit, Event},
    clock::Clock,
    entropy::{Entropy, NoEntropy},
    metrics::Metrics,
    store::{
        AccountOutcome, Identities, ImportOutcome, ImportedUser, NewAccount, OutboxPolicy,
        ReencryptionProgress, RevocationEntry, RevocationScope, RightsChange, Session, Store,
        StoreError, User, UserIdentity, UserLookup,
    },
    types::{SessionId, Timestamp, UserId, UserType, Username},
};

/// Records that are encrypted again in one operation of the store, so that logins are not held up for long.
const RESEAL_BATCH: usize = 500;

/// The operations, with their dependencies.
pub struct Administration {
    pub store: Arc<dyn Store>,
    pub passwords: Arc<Passwords>,
    /// Of the running process. `None`: no process runs, and the next start loads the revocations.
    pub denylist: Option<Arc<Denylist>>,
    pub metrics: Metrics,
    pub audit: Audit,
    pub clock: Clock,
    pub entropy: Entropy,
    /// `None`: new ids are UUIDs. Otherwise the first integer id.
    pub first_integer: Option<u64>,
    /// The events that go to the backend through the outbox.
    pub outbox: OutboxPolicy,
    /// A change of the store's key is known to be in progress. Initially false.
    pub is_changing_key: AtomicBool,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    #[error("there is no such user")]
    NoSuchUser,
    /// The user has been deleted.
    #[error("{}", gone_message(*at, merged_into.as_ref()))]
    Gone {
        at: Timestamp,
        merged_into: Option<UserId>,
    },
    #[error("another user has this name already")]
    UsernameTaken,
    #[error("this user has no name to sign in with, so there is no password to change")]
    NoUsername,
    #[error("there is no such session, or it has ended")]
    NoSession,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

fn gone_message(at: Timestamp, merged_into: Option<&UserId>) -> String {
    match merged_into {
        Some(user) => format!("this user was merged into {user} at {}", at.rfc3339()),
        None => format!("this user was erased at {}", at.rfc3339()),
    }
}

type AdminResult<T> = Result<T, AdministrationError>;

impl Administration {
    /// Users in the order of their ids as text, after this one, at most `limit`.
    pub async fn users(&self, after: Option<&UserId>, limit: usize) -> AdminResult<Vec<User>> {
        Ok(self.store.users(after, limit).await?)
    }

    /// A user with all identities.
    pub async fn user(&self, id: &UserId) -> AdminResult<Identities> {
        match self.store.lookup_user(id).await? {
            UserLookup::Active(found) => Ok(*found),
            UserLookup::Deleted { at, merged_into } => {
                Err(AdministrationError::Gone { at, merged_into })
            }
            UserLookup::Unknown => Err(AdministrationError::NoSuchUser),
        }
    }

    /// The user of an identity.
    pub async fn find(&self, by: &UserIdentity) -> AdminResult<UserId> {
        self.store
            .find_user(by)
            .await?
            .ok_or(AdministrationError::NoSuchUser)
    }

    /// Creates a user who logs in with a name and a password.
    pub async fn add(
        &self,
        username: Username,
        password: &Password,
        user_type: UserType,
    ) -> AdminResult<User> {
        let password = self.passwords.hash(password).await?;
        let now = self.now();
        let new_user = new_user_id(self.first_integer, &self.entropy, now)?;
        let account = NewAccount {
            new_user,
            username,
            password,
            user_type,
            now,
        };
        match self.store.create_account(&account).await? {
            AccountOutcome::Created(user) => {
                self.audit.record(&Event::AccountCreated {
                    user: &user.id,
                    user_type: &user.user_type,
                });
                Ok(*user)
            }
            AccountOutcome::UsernameTaken => Err(AdministrationError::UsernameTaken),
        }
    }

    /// Imports users of another system under their ids, or tries it (`is_trial`). One result for
    /// each.
    pub async fn import(
        &self,
        users: &[ImportedUser],
        is_trial: bool,
    ) -> AdminResult<Vec<ImportOutcome>> {
        let outcomes = self.store.import_users(users, is_trial).await?;
        let count =
            |is: fn(&ImportOutcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
        let created = count(|outcome| *outcome == ImportOutcome::Created);
        let linked = count(|outcome| *outcome == ImportOutcome::Linked);
        let refused = count(|outcome| matches!(outcome, ImportOutcome::Refused(_)));
        if !is_trial && created + linked > 0 {
            self.audit.record(&Event::UsersImported {
                created,
                linked,
                refused,
            });
        }
        Ok(outcomes)
    }

    /// Sets a new password. Returns how many sessions ended.
    pub async fn set_password(
        &self,
        id: &UserId,
        password: &Password,
        by: Actor,
    ) -> AdminResult<usize> {
        let hash = self.passwords.hash(password).await?;
        self.change(id, &RightsChange::Password(hash), by).await
    }

    /// Changes a user's rights. Returns how many sessions ended.
    pub async fn change(
        &self,
        id: &UserId,
        change: &RightsChange,
        by: Actor,
    ) -> AdminResult<usize> {
        let name = match change {
            RightsChange::Ban => "ban",
            RightsChange::Unban => "unban",
            RightsChange::UserType(_) => "user_type",
            RightsChange::Password(_) => "password",
        };
        let Some(changed) = self.store.change_rights(id, change, self.now()).await? else {
            return Err(self.why_not(id, AdministrationError::NoUsername).await);
        };
        let ended = changed.ended;
        self.apply_locally(&changed.entries, name, ended);
        self.audit.record(&Event::RightsChanged {
            user: id,
            change: name,
            ended,
            by,
        });
        Ok(ended)
    }

    /// Deletes a user. Returns how many sessions ended.
    pub async fn erase(&self, id: &UserId, by: Actor) -> AdminResult<usize> {
        let erased = self.store.erase_user(id, None, self.outbox, self.now());
        let Some(revoked) = erased.await? else {
            return Err(self.why_not(id, AdministrationError::NoSuchUser).await);
        };
        let ended = revoked.sessions.len();
        self.apply_locally(&revoked.entries, "erased", ended);
        self.audit.record(&Event::AccountErased {
            user: id,
            by: by.as_str(),
        });
        Ok(ended)
    }

    /// Why an operation did not find its user; `otherwise` where there is one. Looked up only after
    /// the operation, for the error.
    async fn why_not(&self, id: &UserId, otherwise: AdministrationError) -> AdministrationError {
        self.user(id).await.err().unwrap_or(otherwise)
    }

    /// The user's active sessions, newest login first.
    pub async fn sessions(&self, id: &UserId) -> AdminResult<Vec<Session>> {
        self.user(id).await?;
        Ok(self.store.sessions(id, self.now()).await?)
    }

    /// Ends one session of a user.
    pub async fn revoke_session(
        &self,
        user: &UserId,
        session: SessionId,
        by: Actor,
    ) -> AdminResult<usize> {
        let found = self.store.session(user, session, self.now()).await?;
        let user = found.ok_or(AdministrationError::NoSession)?.user;
        self.revoke(&RevocationScope::Session { user, session }, by)
            .await
    }

    /// Ends all sessions of a user, and revokes every access token issued for them.
    pub async fn revoke_user(&self, id: &UserId, by: Actor) -> AdminResult<usize> {
        self.user(id).await?;
        self.revoke(&RevocationScope::User(id.clone()), by).await
    }

    /// Ends all sessions of all users, which are not counted.
    pub async fn revoke_everything(&self, by: Actor) -> AdminResult<usize> {
        self.revoke(&RevocationScope::Everything, by).await
    }

    async fn revoke(&self, what: &RevocationScope, by: Actor) -> AdminResult<usize> {
        let revoked = self.store.revoke(what, self.now()).await?;
        let ended = revoked.sessions.len();
        let (scope, user, reason, count) = match what {
            RevocationScope::Session { user, .. } => ("session", Some(user), "operator", ended),
            RevocationScope::Others { user, .. } => ("others", Some(user), "operator", ended),
            RevocationScope::User(user) => ("user", Some(user), "operator", ended),
            // The ended sessions are not counted, so it counts as one.
            RevocationScope::Everything => ("everything", None, "everything", 1),
        };
        self.apply_locally(&revoked.entries, reason, count);
        self.audit.record(&Event::SessionsRevoked {
            scope,
            user,
            ended,
            by,
        });
        Ok(ended)
    }

    /// Begins a change of the store's key, which [`Self::reencrypt`] continues. `false`: one was
    /// in progress already.
    pub async fn rotate_store_key(&self) -> AdminResult<bool> {
        // Takes the next step of a change in progress; does nothing where there is none.
        if self.reencrypt().await?.records > 0 {
            return Ok(false);
        }
        self.store.rotate_store_key().await?;
        self.is_changing_key.store(true, Ordering::Release);
        self.audit.record(&Event::StoreKeyChanged { step: "begun" });
        Ok(true)
    }

    /// Takes the next step of a change of the store's key, if there is one.
    pub async fn reencrypt(&self) -> AdminResult<ReencryptionProgress> {
        let step = self.store.reencrypt(RESEAL_BATCH).await?;
        self.metrics.store_resealed.inc_by(step.records as u64);
        let was_changing = self.is_changing_key.swap(!step.finished, Ordering::AcqRel);
        if step.finished && (was_changing || step.records > 0) {
            self.audit
                .record(&Event::StoreKeyChanged { step: "finished" });
        }
        Ok(step)
    }

    /// Applies a revocation to this process without waiting for the store's log.
    fn apply_locally(&self, entries: &[RevocationEntry], reason: &'static str, ended: usize) {
        if let Some(denylist) = &self.denylist {
            for entry in entries {
                denylist.apply(entry);
            }
        }
        self.metrics
            .revocations
            .with_label_values(&[reason])
            .inc_by(ended as u64);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
