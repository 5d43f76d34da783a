//! What every engine promises, as cases that run on each engine.
//!
//! A case gets an empty store and panics when the promise is broken.

/// A case, and a test of it on each engine.
macro_rules! case {
    ($name:ident, async |$store:ident| $case:block) => {
        async fn $name($store: $crate::store::contract::Subject) $case

        mod $name {
            use $crate::store::contract::engines;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                super::$name(engines::memory().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sled() {
                let (store, _directory) = engines::sled().await;
                super::$name(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn shared() {
                super::$name(engines::shared().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(engines::postgres().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                super::$name(engines::mysql().await).await;
            }
        }
    };
}

mod accounts;
mod engines;
mod imports;
mod limits;
mod logins;
mod outbox;
mod phones;
mod revocations;
mod rotations;
mod sms;
mod transfers;
mod upkeep;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    CodeHash, CodeUse, LoginOutcome, LookBack, NewLogin, OpenedSession, RefreshSalt,
    RevocationEntry, Rotation, RotationOutcome, Session, Store, TokenCheck, WechatSession,
    engine::SharedEngine,
    fixture::{ABSOLUTE, IDLE, NOW, login_of, wechat_of},
};
use crate::types::{AppId, REVOCATION_RETENTION, SessionId, Timestamp, UnionId, UserId};

/// The store on trial, and whose the sessions are that the case has opened.
#[derive(Clone)]
struct Subject {
    store: Arc<dyn Store>,
    owners: Arc<Mutex<HashMap<SessionId, UserId>>>,
    /// Below the store, where others may share it.
    engine: Option<Arc<dyn SharedEngine>>,
}

impl std::ops::Deref for Subject {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

impl Subject {
    fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            owners: Arc::default(),
            engine: None,
        }
    }

    /// Another store with the same sessions.
    fn with_store(&self, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            owners: self.owners.clone(),
            engine: None,
        }
    }

    fn note(&self, session: &Session) {
        let mut owners = self.owners.lock().expect("no case panics here");
        owners.insert(session.id, session.user.clone());
    }

    /// The user of a session; an unknown user's id, if the case has not opened it.
    fn owner(&self, session: SessionId) -> UserId {
        let owners = self.owners.lock().expect("no case panics here");
        owners.get(&session).cloned().unwrap_or_else(nobody)
    }

    /// The session while it is active.
    async fn active(&self, id: SessionId, now: Timestamp) -> Option<Session> {
        let session = self.session(&self.owner(id), id, now).await;
        session.expect("the store works")
    }

    async fn wechat(&self, id: SessionId, now: Timestamp) -> Option<WechatSession> {
        let session = self.wechat_session(&self.owner(id), id, now).await;
        session.expect("the store works")
    }

    /// The salt by which a token of a session is checked: what one that is not genuine is compared
    /// with. `None`: the store remembers no such session.
    async fn salt(&self, id: SessionId, now: Timestamp) -> Option<RefreshSalt> {
        let seen = Arc::new(Mutex::new(None));
        let seen_by_check = seen.clone();
        let check = TokenCheck::new(move |salt| {
            *seen_by_check.lock().expect("no check panics") = Some(*salt);
            false
        });
        let rotation = Rotation {
            check,
            ..rotation(id, 0, now)
        };
        let outcome = rotated(self, &rotation).await;
        assert!(matches!(outcome, RotationOutcome::Unknown), "{outcome:?}");
        let salt = seen
            .lock()
            .expect("no check panics")
            .expect("it is checked");
        (salt != RefreshSalt::DECOY).then_some(salt)
    }
}

/// The id of no user.
fn nobody() -> UserId {
    UserId::parse("nobody").expect("an id")
}

fn with_unionid(mut login: NewLogin, unionid: &str) -> NewLogin {
    wechat_of(&mut login).unionid = Some(UnionId::parse(unionid).expect("a unionid"));
    login
}

fn under_app(mut login: NewLogin, app_id: &str) -> NewLogin {
    wechat_of(&mut login).app_id = AppId::parse(app_id).expect("an app id");
    login
}

fn with_code(mut login: NewLogin, code: u8) -> NewLogin {
    login.code = Some((CodeHash([code; 32]), NOW.plus(Duration::from_mins(10))));
    login
}

fn at(mut login: NewLogin, now: Timestamp) -> NewLogin {
    login.now = now;
    login
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Signs in; anything but an open session breaks the case.
async fn opened(store: &Subject, login: &NewLogin) -> OpenedSession {
    match store.login(login).await.expect("the store works") {
        LoginOutcome::Opened(opened) => {
            store.note(&opened.session);
            *opened
        }
        other => panic!("not signed in: {other:?}"),
    }
}

/// The check of a token that is genuine.
fn genuine() -> TokenCheck {
    TokenCheck::new(|_| true)
}

/// A rotation by the user who opened the session, see [`rotated`].
fn rotation(session: SessionId, counter: u64, now: Timestamp) -> Rotation {
    Rotation {
        user: nobody(),
        session,
        counter,
        check: genuine(),
        replay_window: None,
        idle_ttl: IDLE,
        now,
    }
}

async fn rotated(store: &Subject, rotation: &Rotation) -> RotationOutcome {
    let user = store.owner(rotation.session);
    let rotation = Rotation {
        user,
        ..rotation.clone()
    };
    store.rotate(&rotation).await.expect("the store works")
}

/// The counter after a step that had to succeed.
async fn moved(store: &Subject, rotation: &Rotation) -> u64 {
    match rotated(store, rotation).await {
        RotationOutcome::Rotated(renewed) => renewed.session.counter,
        other => panic!("not rotated: {other:?}"),
    }
}

async fn is_active(store: &Subject, id: SessionId, now: Timestamp) -> bool {
    store.active(id, now).await.is_some()
}

/// The whole log, read in pieces.
/// Whether a login code is spent for a client that has not used it.
async fn is_spent(store: &Subject, code: &CodeHash, now: Timestamp) -> bool {
    let found = store.code_use(code, None, now).await.expect("works");
    matches!(found, CodeUse::Used)
}

async fn whole_log(store: &Subject) -> Vec<RevocationEntry> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .revocations(
                cursor.as_ref(),
                LookBack::Window,
                REVOCATION_RETENTION,
                7,
                NOW,
            )
            .await
            .expect("the store works");
        entries.extend(page.entries);
        if !page.more {
            return entries;
        }
        cursor = Some(page.next);
    }
}

/// Runs all at once, on real threads; the outcomes in no order.
async fn together<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let set: tokio::task::JoinSet<T> = tasks.into_iter().collect();
    set.join_all().await
}
