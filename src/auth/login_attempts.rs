//! Repeated posts of one WeChat login code.
//!
//! A double tap, a client that retries and a proxy that repeats post one code twice, and WeChat
//! takes it once. So posts of one code from one address to one API share one login, and get the
//! same response for ten seconds. A code is single use all the same: later, from another address,
//! to another API (whose tokens have other claims), or with another phone to bind, even while the
//! first login runs, it is spent, and WeChat is not called.
//!
//! A login is a [`SingleFlight`], so a client that hangs up takes nothing from the others. A login
//! that failed for a transient reason (WeChat busy, store down) leaves the code free to be tried
//! again.
//!
//! Must stay true: the table is bounded; a code that it has evicted is rejected by the store, which
//! remembers spent codes, or by WeChat. It is keyed by the whole keyed hash of (app id, code),
//! never by anything shorter.

use std::{future::Future, sync::Arc, time::Duration};

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::{AuthError, SignedIn};
use crate::{
    single_flight::{Progress, SingleFlight},
    store::{CodeHash, SHARED_LOGIN_TTL},
    types::{ClientIp, Timestamp},
};

/// How long a spent code is rejected without a call to WeChat: twice WeChat's five minutes of validity.
pub(super) const SPENT_CODE_TTL: Duration = Duration::from_mins(10);
/// Capacity of the table, in codes.
const CAPACITY: usize = 8192;

/// The result that all posts of the code share.
pub(super) type Shared = Result<Arc<SignedIn>, Arc<AuthError>>;

/// The code was posted before, too long ago or by another client: no work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent;

/// The logins of the last minutes by their codes.
pub(super) struct LoginAttempts {
    table: Cache<CodeHash, Attempt>,
}

/// The client that posts a code, the API that it posts to, and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginClient {
    pub(super) from: ClientIp,
    /// The number of the token profile.
    pub(super) token_profile: usize,
    /// Keyed hash of the phone that is to be bound.
    pub(super) phone: Option<CodeHash>,
}

#[derive(Clone)]
struct Attempt {
    by: LoginClient,
    login: SingleFlight<FinishedLogin>,
}

#[derive(Clone)]
struct FinishedLogin {
    at: Timestamp,
    result: Shared,
}

impl Default for LoginAttempts {
    fn default() -> Self {
        Self {
            table: Cache::new(CAPACITY),
        }
    }
}

impl LoginAttempts {
    /// The result of `work` for this code: started now, or by an earlier post of the same client.
    /// `clock` gives the time at which it ends.
    pub(super) async fn once<W>(
        &self,
        code: CodeHash,
        by: LoginClient,
        clock: impl Fn() -> Timestamp + Send + 'static,
        work: impl FnOnce() -> W,
    ) -> Result<Shared, Spent>
    where
        W: Future<Output = Result<SignedIn, AuthError>> + Send + 'static,
    {
        let login = self.join(code, by, clock(), || {
            let work = work();
            async move {
                let result = work.await.map(Arc::new).map_err(Arc::new);
                FinishedLogin {
                    at: clock(),
                    result,
                }
            }
        })?;
        Ok(match login.result().await {
            Some(outcome) => outcome.result,
            None => Err(Arc::new(AuthError::Interrupted)),
        })
    }

    /// Evicts results and codes that no post can match any more.
    pub(super) fn evict_expired(&self, now: Timestamp) {
        self.table.retain(|_, attempt| match attempt.state(now) {
            AttemptState::Running => true,
            AttemptState::Free => false,
            // The store remembers the code of a login that succeeded.
            AttemptState::Finished { age, succeeded } => {
                age <= if succeeded {
                    SHARED_LOGIN_TTL
                } else {
                    SPENT_CODE_TTL
                }
            }
        });
    }

    fn join<W>(
        &self,
        code: CodeHash,
        by: LoginClient,
        now: Timestamp,
        work: impl FnOnce() -> W,
    ) -> Result<SingleFlight<FinishedLogin>, Spent>
    where
        W: Future<Output = FinishedLogin> + Send + 'static,
    {
        let entry = self.table.entry(&code, None, |_, earlier: &mut Attempt| {
            let same_client = earlier.by == by;
            match earlier.state(now) {
                AttemptState::Running if same_client => {
                    EntryAction::Retain(Ok(earlier.login.clone()))
                }
                AttemptState::Finished { age, .. } if same_client && age <= SHARED_LOGIN_TTL => {
                    EntryAction::Retain(Ok(earlier.login.clone()))
                }
                AttemptState::Running | AttemptState::Finished { .. } => {
                    EntryAction::Retain(Err(Spent))
                }
                AttemptState::Free => EntryAction::ReplaceWithGuard,
            }
        });
        match entry {
            EntryResult::Retained(joined) => joined,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                let login = SingleFlight::start(work());
                // Fails only when the entry was removed meanwhile; then this login is just not
                // shared.
                let _ = guard.insert(Attempt {
                    by,
                    login: login.clone(),
                });
                Ok(login)
            }
            // Neither is requested above.
            EntryResult::Removed(..) | EntryResult::Timeout => Err(Spent),
        }
    }
}

enum AttemptState {
    Running,
    Finished {
        age: Duration,
        succeeded: bool,
    },
    /// It failed for a reason that says nothing about the code, or its task has panicked.
    Free,
}

impl Attempt {
    fn state(&self, now: Timestamp) -> AttemptState {
        match self.login.progress() {
            Progress::Running => AttemptState::Running,
            Progress::Died => AttemptState::Free,
            Progress::Done(FinishedLogin { at, result }) => {
                let age = now.since(at);
                match result {
                    Ok(_) => AttemptState::Finished {
                        age,
                        succeeded: true,
                    },
                    Err(error) if error.is_final_for_code() => AttemptState::Finished {
                        age,
                        succeeded: false,
                    },
                    Err(_) => AttemptState::Free,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::{error::ErrorCode, provider::wechat::WechatError};

    const CODE: CodeHash = CodeHash([1; 32]);
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn ip(last: u8) -> LoginClient {
        LoginClient {
            from: ClientIp::new([192, 0, 2, last].into()),
            token_profile: 0,
            phone: None,
        }
    }

    /// Posts the code with work that fails as said; gives the answer's code and whether the work
    /// ran.
    async fn post(
        table: &LoginAttempts,
        from: LoginClient,
        now: Timestamp,
        error: AuthError,
    ) -> (&'static str, bool) {
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let work = || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(error)
        };
        let answer = table.once(CODE, from, move || now, work).await;
        let says = answer.map_or(AuthError::CodeUsed.code(), |shared| {
            shared.unwrap_err().code()
        });
        (says.as_str(), ran.load(Ordering::SeqCst) == 1)
    }

    #[tokio::test]
    async fn a_refused_code_is_not_asked_about_again() {
        let table = LoginAttempts::default();
        let invalid = || AuthError::Wechat(WechatError::CodeInvalid.into());
        assert_eq!(
            post(&table, ip(1), NOW, invalid()).await,
            ("wechat_code_invalid", true)
        );
        for (from, after) in [(1, 1), (1, 11), (2, 1), (2, 11)] {
            let now = NOW.plus(Duration::from_secs(after));
            assert_eq!(
                post(&table, ip(from), now, AuthError::Interrupted).await,
                ("wechat_code_invalid", false)
            );
        }
    }

    #[tokio::test]
    async fn a_failure_of_the_moment_leaves_the_code_free_for_anybody() {
        let table = LoginAttempts::default();
        for (from, error, says) in [
            (
                1,
                AuthError::Wechat(WechatError::Timeout.into()),
                "wechat_busy",
            ),
            (
                1,
                AuthError::Wechat(WechatError::Misconfigured.into()),
                "wechat_misconfigured",
            ),
            (
                2,
                AuthError::Store(crate::store::StoreError::Closed),
                "store_unavailable",
            ),
            (
                1,
                AuthError::Wechat(WechatError::Blocked.into()),
                "wechat_blocked",
            ),
        ] {
            assert_eq!(post(&table, ip(from), NOW, error).await, (says, true));
        }
        assert_eq!(
            post(&table, ip(1), NOW, AuthError::Interrupted).await,
            ("wechat_blocked", false),
            "the same answer"
        );
        assert_eq!(
            post(&table, ip(2), NOW, AuthError::Interrupted).await,
            ("wechat_code_invalid", false)
        );
        let elsewhere = LoginClient {
            token_profile: 1,
            ..ip(1)
        };
        assert_eq!(
            post(&table, elsewhere, NOW, AuthError::Interrupted).await,
            ("wechat_code_invalid", false),
            "another API"
        );
        let with_phone = LoginClient {
            phone: Some(CodeHash([2; 32])),
            ..ip(1)
        };
        assert_eq!(
            post(&table, with_phone, NOW, AuthError::Interrupted).await,
            ("wechat_code_invalid", false),
            "another phone"
        );
    }

    #[tokio::test]
    async fn the_first_client_hanging_up_takes_nothing_from_the_others() {
        let table = Arc::new(LoginAttempts::default());
        let (go, wait) = oneshot::channel::<()>();
        let (begun, has_begun) = oneshot::channel::<()>();
        let first = tokio::spawn({
            let table = Arc::clone(&table);
            async move {
                let work = || async move {
                    begun.send(()).unwrap();
                    wait.await.unwrap();
                    Err(ErrorCode::UserDisabled.into())
                };
                table.once(CODE, ip(1), || NOW, work).await
            }
        });
        has_begun.await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(
            post(&table, ip(2), NOW, AuthError::Interrupted).await,
            ("wechat_code_invalid", false),
            "in flight"
        );
        let second = post(&table, ip(1), NOW, AuthError::Interrupted);
        let (second, ()) = tokio::join!(second, async { go.send(()).unwrap() });
        assert_eq!(second, ("user_disabled", false));
    }

    #[tokio::test]
    async fn work_that_panics_fails_its_clients_and_frees_the_code() {
        let table = LoginAttempts::default();
        let answer = table
            .once(
                CODE,
                ip(1),
                || NOW,
                || async { panic!("as the test wants") },
            )
            .await;
        assert!(matches!(
            *answer.unwrap().unwrap_err(),
            AuthError::Interrupted
        ));
        assert_eq!(
            post(
                &table,
                ip(1),
                NOW,
                AuthError::Rejected(ErrorCode::UserDisabled)
            )
            .await,
            ("user_disabled", true)
        );
    }

    #[tokio::test]
    async fn what_is_too_old_is_forgotten() {
        let table = LoginAttempts::default();
        post(
            &table,
            ip(1),
            NOW,
            AuthError::Wechat(WechatError::CodeInvalid.into()),
        )
        .await;
        table.evict_expired(NOW.plus(SPENT_CODE_TTL));
        assert_eq!(table.table.len(), 1);
        table.evict_expired(NOW.plus(SPENT_CODE_TTL + Duration::from_secs(1)));
        assert_eq!(table.table.len(), 0);
    }
}
