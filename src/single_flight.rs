//! Work that runs once and is shared by every caller that waits for it.
//!
//! It runs in a task of its own, so a caller that is cancelled takes its result from no other one.
//! Who may join a run, and for how long its result counts, is decided by the caller's own table.

use std::future::Future;

use tokio::sync::watch;

/// One run. A clone waits for the same result.
#[derive(Clone)]
pub struct SingleFlight<T>(watch::Receiver<Option<T>>);

/// How far a run is.
pub enum Progress<T> {
    Running,
    Done(T),
    /// Its task ended without a result: the work has panicked.
    Died,
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Starts the work. Needs a tokio runtime.
    pub fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move { sender.send_replace(Some(work.await)) });
        Self(receiver)
    }

    pub fn progress(&self) -> Progress<T> {
        let has_ended = self.0.has_changed().is_err();
        match self.0.borrow().clone() {
            Some(result) => Progress::Done(result),
            None if has_ended => Progress::Died,
            None => Progress::Running,
        }
    }

    /// Waits for the result; `None` when the work has panicked.
    pub async fn result(mut self) -> Option<T> {
        let result = self.0.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}
