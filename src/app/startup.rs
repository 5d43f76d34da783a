//! A start while the store's database cannot be reached: menshen waits for it instead of exiting, and
//! its probes say so.

use std::{net::TcpListener, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{task::JoinSet, time::sleep};

use super::storage::open_store;
use crate::{
    admin,
    config::Config,
    entropy::Entropy,
    metrics::Metrics,
    store::{Access, OpenError, OpenedStore},
};

/// The wait after the first attempt; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Opens the store, and goes on trying while its database cannot be reached. Any other error is
/// returned: it does not end by itself.
pub(super) async fn open_store_when_reachable(
    config: &Config,
    metrics: &Metrics,
    entropy: &Entropy,
    admin: &TcpListener,
) -> anyhow::Result<OpenedStore> {
    // Dropped, so stopped, when the store is open.
    let mut probes = JoinSet::new();
    let mut delay = FIRST_RETRY_DELAY;
    loop {
        let error = match open_store(config, Access::ReadWrite, metrics, entropy).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if !matches!(error.downcast_ref(), Some(OpenError::Unavailable { .. })) {
            return Err(error);
        }
        tracing::warn!(error = %error, retry_after = ?delay, "waiting for the store");
        if probes.is_empty() {
            let routes = Arc::new(ArcSwap::from_pointee(admin::waiting_router()));
            probes.spawn(admin::serve(admin.try_clone()?, routes));
        }
        sleep(delay).await;
        delay = (delay * 2).min(MAX_RETRY_DELAY);
    }
}
