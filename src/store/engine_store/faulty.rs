//! The memory engine with faults on demand, for tests.

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::EngineStore;
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, WrappingKeys,
        engine::{Changes, LocalEngine, Pair, SharedEngine, Source},
        engines::{
            memory::MemoryEngine,
            versioned::{SharedFault, VersionedMemory},
        },
        error::EngineError,
    },
};

/// A store in memory.
pub(crate) fn in_memory() -> EngineStore {
    EngineStore::memory(&OpenOptions::default(), &keys(), Entropy::default()).unwrap()
}

/// A store in memory, and what goes wrong with it: nothing yet.
pub(crate) fn with_faults() -> (EngineStore, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    (over(&faults), faults)
}

/// A store on an engine that processes share, in memory; and its hints.
pub(crate) async fn shared_in_memory() -> (EngineStore, Hints) {
    let engine = Arc::new(VersionedMemory::new());
    let shared: Arc<dyn SharedEngine> = Arc::<VersionedMemory>::clone(&engine);
    let options = OpenOptions::default();
    let store = EngineStore::shared(shared, &options, &keys(), Entropy::default()).await;
    (store.unwrap(), Hints(engine))
}

/// The hints of an engine, and its next fault.
pub(crate) struct Hints(Arc<VersionedMemory>);

impl Hints {
    /// None arrives from here on.
    pub(crate) fn lose(&self) {
        self.0.lose_hints();
    }

    /// The next commit of the engine is refused.
    pub(crate) fn refuse_next_commit(&self) {
        self.0.fail_next([SharedFault::Refuse]);
    }
}

/// A store with one commit, counted from 0, that goes wrong. The first one writes the keyring.
pub(super) fn with_commit_fault(at: usize, how: CommitFault) -> EngineStore {
    over(&Arc::new(Faults {
        commit: Some((at, how)),
        ..Faults::default()
    }))
}

fn over(faults: &Arc<Faults>) -> EngineStore {
    let engine = FaultyEngine {
        inner: MemoryEngine::new(),
        faults: Arc::clone(faults),
    };
    let (options, entropy) = (OpenOptions::default(), Entropy::default());
    let path = Path::new("faulty");
    EngineStore::local(Arc::new(engine), &options, (&keys(), entropy), path, false).unwrap()
}

fn keys() -> WrappingKeys {
    WrappingKeys::derive(&Key::new([7; 32]), None)
}

/// What a commit does at its turn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum CommitFault {
    Refuse,
    Fail,
    /// Does it, then says that it failed: the outcome is unknown.
    FailAfter,
    Panic,
}

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    is_down: AtomicBool,
    /// Reads wait here, in threads of their own.
    pub(crate) reads: Gate,
    /// Commits wait here.
    pub(crate) commits: Gate,
    commit: Option<(usize, CommitFault)>,
    commits_so_far: AtomicUsize,
}

impl Faults {
    /// While it is down every operation is refused.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.is_down.load(Ordering::Relaxed) {
            Err(EngineError::Refused("down"))
        } else {
            Ok(())
        }
    }
}

/// Holds threads up while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
    /// A thread has come to the closed gate.
    pub(crate) reached: Notify,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn open(&self) {
        *self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    fn is_closed(&self) -> bool {
        *self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not for ever: a test that fails leaves the gate closed.
    fn pass(&self) {
        let is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            self.reached.notify_one();
            drop(
                self.opened
                    .wait_timeout_while(is_closed, Duration::from_secs(10), |closed| *closed),
            );
        }
    }
}

struct FaultyEngine {
    inner: MemoryEngine,
    faults: Arc<Faults>,
}

impl Source for FaultyEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.faults.check()?;
        self.faults.reads.pass();
        self.inner.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.faults.check()?;
        self.faults.reads.pass();
        self.inner.scan(prefix, after, limit)
    }
}

impl LocalEngine for FaultyEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn reads_inline(&self) -> bool {
        !self.faults.reads.is_closed()
    }

    fn commit(&self, changes: &Changes) -> Result<(), EngineError> {
        self.faults.check()?;
        self.faults.commits.pass();
        let number = self.faults.commits_so_far.fetch_add(1, Ordering::SeqCst);
        let fault = self.faults.commit.filter(|(at, _)| *at == number);
        match fault.map(|(_, how)| how) {
            None => self.inner.commit(changes),
            Some(CommitFault::Refuse) => Err(EngineError::Refused("the disk is full")),
            Some(CommitFault::Fail) => Err(EngineError::Fault("input/output error".to_owned())),
            Some(CommitFault::FailAfter) => {
                self.inner.commit(changes).unwrap();
                Err(EngineError::Fault("input/output error".to_owned()))
            }
            Some(CommitFault::Panic) => panic!("on purpose"),
        }
    }

    fn ready(&self) -> Result<(), EngineError> {
        self.faults.check()
    }

    fn size_bytes(&self) -> Result<u64, EngineError> {
        self.inner.size_bytes()
    }

    fn close(&self) -> Result<(), EngineError> {
        self.inner.close()
    }
}
