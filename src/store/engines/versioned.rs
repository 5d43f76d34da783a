//! A shared engine in memory, for tests: records with versions, commits that compare them, and
//! faults on demand.
//!
//! Each call lets other tasks run before and after, so that calls of different operations come
//! between each other as they do on a server.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    store::{
        engine::{
            Changes, Commit, CommitOutcome, Pair, ReadResult, SharedEngine, SharedSnapshot,
            Version, Versioned, VersionedPairs,
        },
        error::EngineError,
    },
    types::Timestamp,
};

/// Records with their versions.
pub(in crate::store) type Records = BTreeMap<Vec<u8>, Versioned>;

/// What a commit does at its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum SharedFault {
    /// Nothing is wrong with this one.
    None,
    /// Nothing happens, and the caller is told so.
    Conflict,
    /// The engine cannot be reached; nothing happens.
    Refuse,
    /// Nothing happens, and the caller is not told.
    Lose,
    /// It happens, and the caller is not told.
    HappenUntold,
    /// The caller is not told; it is tried at [`VersionedMemory::deliver_late`].
    Late,
    /// It happens after so long.
    Hold(Duration),
    /// It happens after so long, and the caller is told that it is unknown.
    HoldUntold(Duration),
}

/// Something that happens just before a read, once.
type Interruption = (usize, Box<dyn FnOnce(&VersionedMemory) + Send>);

/// Records in memory, with versions.
#[derive(Default)]
pub(in crate::store) struct VersionedMemory {
    /// `None` once closed.
    records: Mutex<Option<Records>>,
    faults: Mutex<VecDeque<SharedFault>>,
    late: Mutex<VecDeque<Commit>>,
    interruption: Mutex<Option<Interruption>>,
    delayed_read: Mutex<Option<(usize, Duration)>>,
    reads: AtomicUsize,
    commits: Mutex<Vec<Commit>>,
    began: OnceLock<Instant>,
    /// How far the clock was set back.
    set_back: Mutex<Duration>,
    hint: Notify,
    loses_hints: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VersionedMemory {
    pub(in crate::store) fn new() -> Self {
        let engine = Self::default();
        *locked(&engine.records) = Some(Records::new());
        engine
    }

    /// The faults of the next commits, one each.
    pub(in crate::store) fn fail_next(&self, faults: impl IntoIterator<Item = SharedFault>) {
        locked(&self.faults).extend(faults);
    }

    /// Nothing goes wrong any more.
    pub(in crate::store) fn recover(&self) {
        locked(&self.faults).clear();
    }

    /// Tries the commits that were late; says what became of each.
    pub(in crate::store) fn deliver_late(&self) -> Vec<CommitOutcome> {
        std::iter::from_fn(|| self.deliver_first_late()).collect()
    }

    /// The same with the first of them alone.
    pub(in crate::store) fn deliver_first_late(&self) -> Option<CommitOutcome> {
        let commit = locked(&self.late).pop_front()?;
        Some(if self.comes_in_time(&commit) {
            self.apply(&commit).expect("open")
        } else {
            CommitOutcome::Conflict
        })
    }

    /// Does something just before a read, `reads` of them from now.
    pub(in crate::store) fn interrupt(
        &self,
        reads: usize,
        action: impl FnOnce(&Self) + Send + 'static,
    ) {
        let at = self.reads.load(Ordering::SeqCst) + reads;
        *locked(&self.interruption) = Some((at, Box::new(action)));
    }

    /// Lets a read wait for so long, `reads` of them from now.
    pub(in crate::store) fn delay_read(&self, reads: usize, delay: Duration) {
        let at = self.reads.load(Ordering::SeqCst) + reads;
        *locked(&self.delayed_read) = Some((at, delay));
    }

    /// Writes as another process would.
    pub(in crate::store) fn write(&self, version: Version, changes: Changes) {
        let commit = Commit {
            version,
            reads: BTreeMap::new(),
            changes,
            not_after: self.time(),
        };
        assert_eq!(self.apply(&commit).expect("open"), CommitOutcome::Committed);
    }

    /// The commits that happened, in order.
    pub(in crate::store) fn commits(&self) -> Vec<Commit> {
        locked(&self.commits).clone()
    }

    /// The engine's clock, which goes with tokio's.
    pub(in crate::store) fn time(&self) -> Timestamp {
        let began = self.began.get_or_init(Instant::now);
        let right = Timestamp::from_secs(1_790_000_000).plus(began.elapsed());
        right.minus(*locked(&self.set_back))
    }

    /// Sets the engine's clock back.
    pub(in crate::store) fn set_clock_back(&self, by: Duration) {
        *locked(&self.set_back) = by;
    }

    /// No hint arrives from here on.
    pub(in crate::store) fn lose_hints(&self) {
        self.loses_hints.store(true, Ordering::SeqCst);
    }

    /// How many reads there were.
    pub(in crate::store) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn comes_in_time(&self, commit: &Commit) -> bool {
        self.time() <= commit.not_after
    }

    fn apply(&self, commit: &Commit) -> Result<CommitOutcome, EngineError> {
        let mut records = locked(&self.records);
        let records = records.as_mut().ok_or(EngineError::Closed)?;
        let version = |key: &Vec<u8>| {
            records
                .get(key)
                .map_or(Version::ABSENT, |record| record.version)
        };
        if commit.reads.iter().any(|(key, read)| version(key) != *read) {
            return Ok(CommitOutcome::Conflict);
        }
        for (key, value) in &commit.changes {
            match value {
                Some(_) => {
                    let record = Versioned {
                        version: commit.version,
                        value: value.clone(),
                    };
                    records.insert(key.clone(), record);
                }
                None => drop(records.remove(key)),
            }
        }
        locked(&self.commits).push(commit.clone());
        Ok(CommitOutcome::Committed)
    }

    fn scan_now(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError> {
        let records = locked(&self.records);
        let records = records.as_ref().ok_or(EngineError::Closed)?;
        Ok(pairs(records, prefix, after, limit))
    }
}

/// Pairs whose key begins with `prefix` and is after `after`, in order, at most `limit`.
pub(in crate::store) fn pairs(
    records: &Records,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> VersionedPairs {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    };
    records
        .range::<[u8], _>((start, Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(prefix))
        .take(limit)
        .map(|(key, record)| (key.clone(), record.clone()))
        .collect()
}

#[async_trait]
impl SharedEngine for VersionedMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn read(
        &self,
        values: &[Vec<u8>],
        versions: &[Vec<u8>],
    ) -> Result<ReadResult, EngineError> {
        tokio::task::yield_now().await;
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        let delayed = locked(&self.delayed_read).take_if(|(at, _)| *at == number);
        if let Some((_, delay)) = delayed {
            sleep(delay).await;
        }
        let interruption = locked(&self.interruption).take_if(|(at, _)| *at == number);
        if let Some((_, action)) = interruption {
            action(self);
        }
        let result = {
            let records = locked(&self.records);
            let records = records.as_ref().ok_or(EngineError::Closed)?;
            let record = |key| records.get(key).cloned().unwrap_or(Versioned::ABSENT);
            ReadResult {
                values: values.iter().map(record).collect(),
                versions: versions.iter().map(|key| record(key).version).collect(),
                time: self.time(),
            }
        };
        tokio::task::yield_now().await;
        Ok(result)
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError> {
        tokio::task::yield_now().await;
        let found = self.scan_now(prefix, after, limit);
        tokio::task::yield_now().await;
        found
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome, EngineError> {
        tokio::task::yield_now().await;
        let fault = locked(&self.faults).pop_front();
        if !self.comes_in_time(commit) {
            return Ok(CommitOutcome::Conflict);
        }
        let outcome = match fault.unwrap_or(SharedFault::None) {
            SharedFault::None => self.apply(commit)?,
            SharedFault::Conflict => CommitOutcome::Conflict,
            SharedFault::Refuse => return Err(EngineError::Refused("down")),
            SharedFault::Lose => CommitOutcome::Unknown,
            SharedFault::HappenUntold => {
                self.apply(commit)?;
                CommitOutcome::Unknown
            }
            SharedFault::Hold(held) => {
                sleep(held).await;
                self.apply(commit)?
            }
            SharedFault::HoldUntold(held) => {
                sleep(held).await;
                self.apply(commit)?;
                CommitOutcome::Unknown
            }
            SharedFault::Late => {
                locked(&self.late).push_back(commit.clone());
                CommitOutcome::Unknown
            }
        };
        tokio::task::yield_now().await;
        Ok(outcome)
    }

    async fn snapshot(&self) -> Result<Box<dyn SharedSnapshot>, EngineError> {
        let snapshot = Self::new();
        let records = locked(&self.records).clone();
        *locked(&snapshot.records) = Some(records.ok_or(EngineError::Closed)?);
        Ok(Box::new(snapshot))
    }

    async fn ready(&self) -> Result<(), EngineError> {
        match locked(&self.records).as_ref() {
            Some(_) => Ok(()),
            None => Err(EngineError::Closed),
        }
    }

    async fn size_bytes(&self) -> Result<u64, EngineError> {
        self.ready().await.map(|()| 0)
    }

    async fn send_hint(&self) {
        if !self.loses_hints.load(Ordering::SeqCst) {
            self.hint.notify_one();
        }
    }

    async fn wait_for_hint(&self) {
        self.hint.notified().await;
    }

    async fn close(&self) -> Result<(), EngineError> {
        locked(&self.records).take();
        Ok(())
    }
}

#[async_trait]
impl SharedSnapshot for VersionedMemory {
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let records = locked(&self.records);
        let records = records.as_ref().ok_or(EngineError::Closed)?;
        Ok(records.get(key).and_then(|record| record.value.clone()))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let pairs = self.scan_now(prefix, after, limit)?.into_iter();
        Ok(pairs
            .filter_map(|(key, record)| Some((key, record.value?)))
            .collect())
    }
}
