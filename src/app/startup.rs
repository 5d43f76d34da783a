//! A start while the store's database cannot be reached: menshen waits for it instead of exiting, and
//! its probes say so.

use std::{error::Error, net::TcpListener, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    admin,
    config::{StoreConfig, StoreEngine},
    store::{OpenError, StoreError},
    token::KeyringError,
};

/// The wait after the first attempt; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Does what needs the store, and does it again while the database that processes share cannot be
/// reached. Any other error is returned: it does not end by itself.
pub(super) async fn when_reachable<T>(
    config: &StoreConfig,
    admin: &TcpListener,
    attempt: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let is_shared = matches!(config.engine(), Ok(StoreEngine::Shared));
    // Dropped, so stopped, when it is done.
    let mut probes = JoinSet::new();
    let mut delay = FIRST_RETRY_DELAY;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !is_shared || !error.chain().any(says_unreachable) {
            return Err(error);
        }
        tracing::warn!(error = %format!("{error:#}"), retry_after = ?delay, "waiting for the store");
        if probes.is_empty() {
            let routes = Arc::new(ArcSwap::from_pointee(admin::waiting_router()));
            probes.spawn(admin::serve(admin.try_clone()?, routes));
        }
        sleep(delay).await;
        delay = (delay * 2).min(MAX_RETRY_DELAY);
    }
}

fn says_unreachable(cause: &(dyn Error + 'static)) -> bool {
    let of_store = match cause.downcast_ref() {
        Some(KeyringError::Store(error)) => Some(error),
        _ => cause.downcast_ref::<StoreError>(),
    };
    matches!(of_store, Some(StoreError::Unavailable(_)))
        || matches!(cause.downcast_ref(), Some(OpenError::Unavailable { .. }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::Context as _;

    use super::*;

    fn store(url: &str) -> StoreConfig {
        StoreConfig {
            url: url.to_owned(),
            ..StoreConfig::default()
        }
    }

    fn away() -> StoreError {
        StoreError::Unavailable("away".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_needs_the_store_waits_for_a_shared_one() {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = store("postgres://menshen@localhost/menshen");
        let attempts = Cell::new(0);
        let done = when_reachable(&shared, &admin, async || {
            attempts.set(attempts.get() + 1);
            match attempts.get() {
                1 => Err(OpenError::Unavailable {
                    engine: "postgres",
                    why: "away".to_owned(),
                }
                .into()),
                2 => Err(away()).context("cannot read the revocations"),
                3 => Err(KeyringError::from(away()).into()),
                _ => Ok(()),
            }
        });
        done.await.unwrap();
        assert_eq!(attempts.get(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_else_is_waited_for() {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = store("postgres://menshen@localhost/menshen");
        let damaged = async || -> anyhow::Result<()> {
            Err(StoreError::Damaged("a record".to_owned()).into())
        };
        assert!(when_reachable(&shared, &admin, damaged).await.is_err());
        let full = async || -> anyhow::Result<()> { Err(away().into()) };
        assert!(
            when_reachable(&store("sled:data"), &admin, full)
                .await
                .is_err()
        );
    }
}
