//! The one thread that writes, and the group commit that makes many writers as fast as a disk
//! allows.
//!
//! It takes everything that is queued, runs the operations one after the other, commits all their
//! changes in one durable batch, and only then answers. So operations are atomic without locks, and
//! one `fdatasync` serves a whole group.
//!
//! Must stay true: no operation returns before the group is durable, not even one without changes,
//! because it may have seen those of others. After a fault nothing is written until the store has
//! been opened again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    operation::{Change, Outcome},
    snapshot::Snapshots,
};
use crate::store::{
    StoreError,
    engine::{Changes, FENCE, LocalEngine, Source},
    error::EngineError,
    operations::transaction::{Overlay, Transaction},
    record_cipher::CipherCache,
};

/// At most so many operations share one commit: bounds how long the first of them waits.
const MAX_GROUP_SIZE: usize = 256;
/// At most so many wait in the queue; further callers wait to get in.
const QUEUE_CAPACITY: usize = 4096;

/// What has become of the store as a whole.
#[derive(Debug, Default)]
pub(super) struct Health {
    fault: OnceLock<String>,
    closed: AtomicBool,
}

impl Health {
    /// Fails when nothing may be asked any more.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(EngineError::Closed);
        }
        self.fault
            .get()
            .map_or(Ok(()), |why| Err(EngineError::Fault(why.clone())))
    }

    /// Remembers a fault for good; what is not a fault passes.
    pub(super) fn record(&self, error: EngineError) -> EngineError {
        if let EngineError::Fault(why) = &error
            && self.fault.set(why.clone()).is_ok()
        {
            tracing::error!(error = %why, "the store failed and writes nothing more until menshen is started again: {why}");
        }
        error
    }
}

/// A handle on the writing thread.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    health: Arc<Health>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Run(Job),
    Close(oneshot::Sender<Result<(), EngineError>>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        engine: Arc<dyn LocalEngine>,
        ciphers: Arc<CipherCache>,
        health: Arc<Health>,
        snapshots: Arc<Snapshots>,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_CAPACITY);
        let group = GroupCommit {
            engine,
            ciphers,
            health: Arc::clone(&health),
            snapshots,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || group.serve(jobs))?;
        Ok(Self {
            queue,
            health,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs an operation in its turn; returns when what it did is durable. If the caller gives up
    /// waiting, it happens all the same.
    pub(super) async fn run(&self, change: Box<Change>) -> Result<Outcome, StoreError> {
        self.health.check()?;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            change,
            outcome: None,
            answer,
        };
        self.queue
            .send(Message::Run(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Ends after what is queued now. A second call finds it closed, which is fine.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Message::Close(answer)).await.is_err() {
            return Ok(());
        }
        match answered.await {
            Ok(closed) => closed.map_err(StoreError::from),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that files are released when the store is gone.
    fn drop(&mut self) {
        let (gone, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.queue, gone));
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writing thread panicked");
        }
    }
}

/// One queued operation and its caller's channel.
struct Job {
    change: Box<Change>,
    /// What it came to, once it has run.
    outcome: Option<Result<Outcome, EngineError>>,
    answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl Job {
    /// Runs it on the transaction, keeps the outcome and gives the changes.
    fn run(&mut self, mut tx: Transaction<'_>) -> Result<Changes, EngineError> {
        let done = (self.change)(&mut tx).and_then(|outcome| Ok((outcome, tx.into_changes()?)));
        let (outcome, changes) = match done {
            Ok((outcome, changes)) => (Ok(outcome), Ok(changes)),
            Err(error) => (Err(error.clone()), Err(error)),
        };
        self.outcome = Some(outcome);
        changes
    }

    /// Tells the outcome, or why there is none.
    fn answer(self, durable: Result<(), EngineError>) {
        let outcome = match (durable, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(EngineError::Closed),
        };
        // The caller may have been cancelled; then the outcome is not needed.
        drop(self.answer.send(outcome.map_err(StoreError::from)));
    }
}

/// What the thread works with.
struct GroupCommit {
    engine: Arc<dyn LocalEngine>,
    ciphers: Arc<CipherCache>,
    health: Arc<Health>,
    snapshots: Arc<Snapshots>,
}

impl GroupCommit {
    fn serve(self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(MAX_GROUP_SIZE);
        while queue.blocking_recv_many(&mut messages, MAX_GROUP_SIZE) > 0 {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut closing = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Run(job) => jobs.push(job),
                    Message::Close(answer) => closing.push(answer),
                }
            }
            self.commit(jobs);
            if !closing.is_empty() {
                queue.close();
                let closed = self.close();
                for answer in closing {
                    drop(answer.send(closed.clone()));
                }
            }
        }
        drop(self.close());
    }

    /// Runs, commits, answers.
    fn commit(&self, mut jobs: Vec<Job>) {
        let durable = self
            .health
            .check()
            .and_then(|()| self.run(&mut jobs))
            .map_err(|error| self.health.record(error));
        for job in jobs {
            job.answer(durable.clone());
        }
    }

    fn run(&self, jobs: &mut [Job]) -> Result<(), EngineError> {
        let mut changes = Changes::new();
        let source: &dyn Source = self.engine.as_ref();
        let mut cipher = self.ciphers.cipher(source.get(FENCE)?.as_deref())?;
        for job in jobs {
            let overlay = Overlay {
                source,
                changes: &changes,
            };
            let tx = Transaction::new(&overlay, Arc::clone(&cipher));
            match catch_panic(|| job.run(tx)) {
                Ok(own) => {
                    if let Some(wrapped) = own.get(FENCE) {
                        cipher = self.ciphers.cipher(wrapped.as_deref())?;
                    }
                    changes.extend(own);
                }
                Err(fault @ (EngineError::Fault(_) | EngineError::Closed)) => return Err(fault),
                // Its own affair: what it had changed is dropped, the others go on.
                Err(
                    EngineError::Damaged(_)
                    | EngineError::Refused(_)
                    | EngineError::ImportUnfinished(_)
                    | EngineError::NotFetched,
                ) => {}
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        catch_panic(|| {
            self.snapshots
                .note(source, &changes)
                .and_then(|()| self.engine.commit(&changes))
        })
    }

    fn close(&self) -> Result<(), EngineError> {
        self.health.closed.store(true, Ordering::Release);
        catch_panic(|| self.engine.close())
    }
}

/// A panic of the engine or of an operation is a fault like any other: the thread stays, and
/// everybody is answered.
fn catch_panic<T>(action: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(action))
        .unwrap_or_else(|_| Err(EngineError::Fault("the store panicked".to_owned())))
}
