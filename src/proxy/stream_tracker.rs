//! The streams of one client HTTP/2 connection: how many are open, were reset, or were malformed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct StreamTracker {
    open: AtomicUsize,
    drained: Notify,
    reset: AtomicU32,
    malformed: AtomicU32,
}

impl StreamTracker {
    /// Counts a request that the client has reset.
    pub(super) fn count_reset(&self) {
        self.reset.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a malformed request.
    pub(super) fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that the client has reset.
    pub(super) fn reset_count(&self) -> u32 {
        self.reset.load(Ordering::Relaxed)
    }

    pub(super) fn malformed_count(&self) -> u32 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Resolves when no stream has been open for `idle_timeout`.
    pub(super) async fn idle(&self, idle_timeout: Duration) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.drained.notified().await;
        }
        sleep(idle_timeout).await;
    }
}

/// One stream; counted until dropped.
pub(super) struct StreamGuard(Arc<StreamTracker>);

impl StreamGuard {
    pub(super) fn new(streams: &Arc<StreamTracker>) -> Self {
        streams.open.fetch_add(1, Ordering::AcqRel);
        Self(streams.clone())
    }

    pub(super) const fn streams(&self) -> &Arc<StreamTracker> {
        &self.0
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drained.notify_one();
        }
    }
}
