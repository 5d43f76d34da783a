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
    audit::{Audit, Event},
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

/// Records sealed anew in one operation of the store, so that logins are not held up for long.
const RESEAL_BATCH: usize = 500;

/// The operations.
pub struct Administration {
    parts: AdministrationParts,
    /// A change of the store's key is known to be under way.
    is_changing_key: AtomicBool,
}

/// Their dependencies.
pub struct AdministrationParts {
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
    #[error("somebody has this name already")]
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
        Some(user) => format!("this user was joined to {user} at {}", at.rfc3339()),
        None => format!("this user was erased at {}", at.rfc3339()),
    }
}

/// A change of a user's rights.
#[derive(Debug, Clone)]
pub enum AccountChange {
    Ban,
    Unban,
    UserType(UserType),
    Password(Password),
}

impl AccountChange {
    const fn name(&self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Unban => "unban",
            Self::UserType(_) => "user_type",
            Self::Password(_) => "password",
        }
    }
}

type AdminResult<T> = Result<T, AdministrationError>;

impl Administration {
    pub const fn new(parts: AdministrationParts) -> Self {
        Self {
            parts,
            is_changing_key: AtomicBool::new(false),
        }
    }

    /// Users in the order of their ids as text, after this one, at most `limit`.
    pub async fn users(&self, after: Option<&UserId>, limit: usize) -> AdminResult<Vec<User>> {
        Ok(self.parts.store.users(after, limit).await?)
    }

    /// A user with all identities.
    pub async fn user(&self, id: &UserId) -> AdminResult<Identities> {
        match self.parts.store.lookup_user(id).await? {
            UserLookup::Active(found) => Ok(*found),
            UserLookup::Deleted { at, merged_into } => {
                Err(AdministrationError::Gone { at, merged_into })
            }
            UserLookup::Unknown => Err(AdministrationError::NoSuchUser),
        }
    }

    /// The user of an identity.
    pub async fn find(&self, by: &UserIdentity) -> AdminResult<UserId> {
        self.parts
            .store
            .find_user(by)
            .await?
            .ok_or(AdministrationError::NoSuchUser)
    }

    /// Makes a user who logs in with a name and a password.
    pub async fn add(
        &self,
        username: Username,
        password: &Password,
        user_type: UserType,
    ) -> AdminResult<User> {
        let password = self.parts.passwords.hash(password).await?;
        let now = self.now();
        let new_user = new_user_id(self.parts.first_integer, &self.parts.entropy, now)?;
        let account = NewAccount {
            new_user,
            username,
            password,
            user_type,
            now,
        };
        match self.parts.store.create_account(&account).await? {
            AccountOutcome::Created(user) => {
                self.parts.audit.record(&Event::AccountCreated {
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
        let outcomes = self.parts.store.import_users(users, is_trial).await?;
        let count =
            |is: fn(&ImportOutcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
        let created = count(|outcome| *outcome == ImportOutcome::Created);
        let linked = count(|outcome| *outcome == ImportOutcome::Linked);
        let refused = count(|outcome| matches!(outcome, ImportOutcome::Refused(_)));
        if !is_trial && created + linked > 0 {
            self.parts.audit.record(&Event::UsersImported {
                created,
                linked,
                refused,
            });
        }
        Ok(outcomes)
    }

    /// Changes a user's rights. Returns how many sessions ended.
    pub async fn change(&self, id: &UserId, change: AccountChange) -> AdminResult<usize> {
        let name = change.name();
        let change = match change {
            AccountChange::Ban => RightsChange::Ban,
            AccountChange::Unban => RightsChange::Unban,
            AccountChange::UserType(kind) => RightsChange::UserType(kind),
            AccountChange::Password(password) => {
                RightsChange::Password(self.parts.passwords.hash(&password).await?)
            }
        };
        let Some(changed) = self
            .parts
            .store
            .change_rights(id, &change, self.now())
            .await?
        else {
            // No such user, or no username: looked up only now, for the error.
            return Err(self
                .user(id)
                .await
                .err()
                .unwrap_or(AdministrationError::NoUsername));
        };
        self.apply_locally(&changed.entries, name, changed.ended);
        self.parts.audit.record(&Event::RightsChanged {
            user: id,
            change: name,
            ended: changed.ended,
        });
        Ok(changed.ended)
    }

    /// Deletes a user. Returns how many sessions ended.
    pub async fn erase(&self, id: &UserId) -> AdminResult<usize> {
        let Some(revoked) = self
            .parts
            .store
            .erase_user(id, None, self.parts.outbox, self.now())
            .await?
        else {
            // Looked up only now, for the error.
            return Err(self
                .user(id)
                .await
                .err()
                .unwrap_or(AdministrationError::NoSuchUser));
        };
        self.apply_locally(&revoked.entries, "erased", revoked.sessions.len());
        self.parts.audit.record(&Event::AccountErased {
            user: id,
            by: "operator",
        });
        Ok(revoked.sessions.len())
    }

    /// The user's active sessions, newest login first.
    pub async fn sessions(&self, id: &UserId) -> AdminResult<Vec<Session>> {
        self.user(id).await?;
        Ok(self.parts.store.sessions(id, self.now()).await?)
    }

    /// Ends one session of any user.
    pub async fn revoke_session(&self, session: SessionId) -> AdminResult<usize> {
        let found = self
            .parts
            .store
            .session(session, self.now())
            .await?
            .ok_or(AdministrationError::NoSession)?;
        self.revoke(
            "session",
            Some(&found.user),
            &RevocationScope::Session {
                user: found.user.clone(),
                session,
            },
        )
        .await
    }

    /// Ends all sessions of a user, and revokes every access token issued for them.
    pub async fn revoke_user(&self, id: &UserId) -> AdminResult<usize> {
        self.user(id).await?;
        self.revoke("user", Some(id), &RevocationScope::User(id.clone()))
            .await
    }

    /// Ends all sessions of all users, which are not counted.
    pub async fn revoke_everything(&self) -> AdminResult<usize> {
        self.revoke("everything", None, &RevocationScope::Everything)
            .await
    }

    async fn revoke(
        &self,
        scope: &'static str,
        user: Option<&UserId>,
        what: &RevocationScope,
    ) -> AdminResult<usize> {
        let revoked = self.parts.store.revoke(what, self.now()).await?;
        let ended = revoked.sessions.len();
        match what {
            // The ended sessions are not counted, so it counts as one.
            RevocationScope::Everything => self.apply_locally(&revoked.entries, "everything", 1),
            RevocationScope::Session { .. }
            | RevocationScope::Others { .. }
            | RevocationScope::User(_) => {
                self.apply_locally(&revoked.entries, "operator", ended);
            }
        }
        self.parts
            .audit
            .record(&Event::SessionsRevoked { scope, user, ended });
        Ok(ended)
    }

    /// Begins a change of the store's key, which [`Self::reencrypt`] goes on with. `false`: one was
    /// under way already.
    pub async fn rotate_store_key(&self) -> AdminResult<bool> {
        // Where a change is under way this is its next step; where none is it does nothing.
        if self.reencrypt().await?.records > 0 {
            return Ok(false);
        }
        self.parts.store.rotate_store_key().await?;
        self.is_changing_key.store(true, Ordering::Release);
        self.parts
            .audit
            .record(&Event::StoreKeyChanged { step: "begun" });
        Ok(true)
    }

    /// Takes the next step of a change of the store's key, if there is one.
    pub async fn reencrypt(&self) -> AdminResult<ReencryptionProgress> {
        let step = self.parts.store.reencrypt(RESEAL_BATCH).await?;
        self.parts
            .metrics
            .store_resealed
            .inc_by(step.records as u64);
        let was_changing = self.is_changing_key.swap(!step.finished, Ordering::AcqRel);
        if step.finished && (was_changing || step.records > 0) {
            self.parts
                .audit
                .record(&Event::StoreKeyChanged { step: "finished" });
        }
        Ok(step)
    }

    /// Applies a revocation to this process without waiting for the store's log.
    fn apply_locally(&self, entries: &[RevocationEntry], reason: &'static str, ended: usize) {
        if let Some(denylist) = &self.parts.denylist {
            for entry in entries {
                denylist.apply(entry);
            }
        }
        self.parts
            .metrics
            .revocations
            .with_label_values(&[reason])
            .inc_by(ended as u64);
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }
}
