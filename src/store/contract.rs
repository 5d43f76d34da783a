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
        }
    };
}

mod accounts;
mod engines;
mod imports;
mod logins;
mod outbox;
mod phones;
mod revocations;
mod rotations;
mod sms;
mod transfers;
mod upkeep;

use std::{future::Future, sync::Arc, time::Duration};

use super::{
    CodeHash, LoginOutcome, NewLogin, OpenedSession, RevocationEntry, Rotation, RotationOutcome,
    Store,
    fixture::{ABSOLUTE, IDLE, NOW, login_of, wechat_of},
};
use crate::types::{AppId, SessionId, Timestamp, UnionId};

/// The store on trial.
type Subject = Arc<dyn Store>;

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
        LoginOutcome::Opened(opened) => *opened,
        other => panic!("not signed in: {other:?}"),
    }
}

fn rotation(session: SessionId, counter: u64, now: Timestamp) -> Rotation {
    Rotation {
        session,
        counter,
        replay_window: None,
        idle_ttl: IDLE,
        now,
    }
}

async fn rotated(store: &Subject, rotation: &Rotation) -> RotationOutcome {
    store.rotate(rotation).await.expect("the store works")
}

/// The counter after a step that had to succeed.
async fn moved(store: &Subject, rotation: &Rotation) -> u64 {
    match rotated(store, rotation).await {
        RotationOutcome::Rotated(renewed) => renewed.session.counter,
        other => panic!("not rotated: {other:?}"),
    }
}

async fn is_active(store: &Subject, id: SessionId, now: Timestamp) -> bool {
    store
        .session(id, now)
        .await
        .expect("the store works")
        .is_some()
}

/// The whole log, read in pieces.
async fn whole_log(store: &Subject) -> Vec<RevocationEntry> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .revocations(cursor.as_ref(), 7)
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
