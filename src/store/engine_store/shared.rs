//! Operations on an engine that many processes share: optimistic concurrency control.
//!
//! An operation is run over what has been fetched. Where it asks for something that is not at hand,
//! all that is missing is fetched together and it is run again, which costs microseconds. When it is
//! through, its changes are committed if nothing that it read has changed; otherwise all of it is
//! forgotten, and it begins anew, for a bounded time: at first when it is its turn among the calls
//! of this process that want to change the same records, and then, because of other processes,
//! after a jittered wait.
//!
//! Must stay true:
//! - an operation sees one moment (`fetched`);
//! - the fence is in the read set of every commit, so nobody commits under an old keyring or epoch;
//! - a line of the revocation log is visible at most [`MAX_COMMIT_DELAY`] after the time in its key, or it
//!   is written again before its call is answered; nothing begins to commit later than that;
//! - a call whose commit got lost looks for its own number before anything else, in every attempt
//!   that follows: a repeat that finds it gives the outcome of the attempt that happened;
//! - a call that writes runs to its end though its caller gives up waiting.

pub(super) mod open_keyring;

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, timeout_at},
};

use super::{
    export,
    fetched::{ClockReading, Fetched, Missing},
    numbers::Numbers,
};
use crate::store::{
    Export, RevocationEntry, StoreError,
    engine::{
        Changes, Commit, CommitOutcome, Pair, ReadResult, SharedEngine, SharedSnapshot, Source,
        Version,
    },
    error::EngineError,
    operations::{
        revocation_log,
        transaction::{ReadView, Transaction},
    },
    record_cipher::CipherCache,
};

/// After so long a call begins no further attempt: its caller gets 503 and may repeat it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait after the first conflict; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_millis(160);
/// How long after its first read an attempt may commit. The engine begins none later, and a line of
/// the revocation log that becomes visible later is written again: it may be behind the window of
/// readers.
const MAX_COMMIT_DELAY: Duration = Duration::from_secs(10);
/// So often a line is written again.
pub(super) const MAX_LOG_REWRITES: usize = 3;
/// More rounds of fetching than any operation needs.
const MAX_ROUNDS: usize = 256;

/// Queues of this process for calls that got in each other's way.
const QUEUES: usize = 256;

/// A shared engine, and what this process knows of it.
#[derive(Clone)]
pub(super) struct SharedRunner {
    engine: Arc<dyn SharedEngine>,
    ciphers: Arc<CipherCache>,
    numbers: Arc<Numbers>,
    queues: Arc<[Arc<Mutex<()>>]>,
}

/// What an operation came to over one view of the records.
struct Evaluated<T> {
    outcome: Result<T, EngineError>,
    changes: Changes,
    log: Vec<RevocationEntry>,
}

/// Entries that a commit adds to the revocation log, in lines with one time in their keys.
struct LoggedEntries {
    entries: Vec<RevocationEntry>,
    /// Not after the time in their keys, by the clock of this process.
    since: Instant,
}

impl LoggedEntries {
    /// The entries, if it is too late for readers to find their lines.
    fn if_late(self) -> Vec<RevocationEntry> {
        if self.since.elapsed() > MAX_COMMIT_DELAY {
            self.entries
        } else {
            Vec::new()
        }
    }
}

/// An attempt whose commit may have happened.
struct LostAttempt<T> {
    version: Version,
    written: Vec<Vec<u8>>,
    log: LoggedEntries,
    outcome: T,
}

/// What an attempt came to.
enum Attempt<T> {
    /// It is committed, or had nothing to commit. With the entries whose lines came too late.
    Done(T, Vec<RevocationEntry>),
    /// Something that it read has changed, or its commit got lost: begin anew. With the records
    /// that it would have changed.
    Again(Vec<Vec<u8>>),
}

impl SharedRunner {
    pub(super) fn new(engine: Arc<dyn SharedEngine>, ciphers: Arc<CipherCache>) -> Self {
        Self {
            engine,
            ciphers,
            numbers: Arc::default(),
            queues: (0..QUEUES).map(|_| Arc::default()).collect(),
        }
    }

    /// The same runner with another way to its engine.
    #[cfg(test)]
    pub(super) fn over(&self, engine: Arc<dyn SharedEngine>) -> Self {
        Self {
            engine,
            ..self.clone()
        }
    }

    /// An operation that only reads.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn ReadView) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::default();
        loop {
            let mut fetched = Fetched::new(Arc::clone(&self.numbers));
            let query = |tx: &mut Transaction<'_>| query(tx);
            if let Some(evaluated) = self.evaluate(&mut fetched, &[], &query).await? {
                return evaluated.outcome.map_err(StoreError::from);
            }
            self.wait(&mut backoff, deadline).await?;
        }
    }

    /// An operation that may change records.
    pub(super) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let runner = self.clone();
        let call = tokio::spawn(async move { runner.run_call(&change).await });
        match call.await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(
                "an operation of the store panicked".to_owned(),
            )),
        }
    }

    /// Runs a call to its end, and writes lines of the revocation log again that came too late.
    async fn run_call<T, F>(&self, change: &F) -> Result<T, EngineError>
    where
        T: Send,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Sync,
    {
        let (outcome, mut late) = self.commit_call(change).await?;
        let mut rewrites = 0;
        while !late.is_empty() {
            if rewrites == MAX_LOG_REWRITES {
                return Err(EngineError::Refused(
                    "the engine commits too slowly for other processes to hear of a revocation",
                ));
            }
            rewrites += 1;
            tracing::warn!("a revocation was committed late and is written to the log again");
            let entries = late;
            let write_again = |tx: &mut Transaction<'_>| {
                for entry in &entries {
                    revocation_log::append(tx, entry.clone())?;
                }
                Ok(())
            };
            ((), late) = self.commit_call(&write_again).await?;
        }
        Ok(outcome)
    }

    /// Runs a call until an attempt is committed. With the entries whose lines came too late.
    async fn commit_call<T, F>(&self, change: &F) -> Result<(T, Vec<RevocationEntry>), EngineError>
    where
        T: Send,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Sync,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::default();
        let mut version = Version::first(self.ciphers.entropy())?;
        let mut lost = Vec::new();
        let mut turn = Vec::new();
        loop {
            let contested = match self.attempt(change, version, &mut lost).await {
                Ok(Attempt::Done(outcome, late)) => return Ok((outcome, late)),
                Ok(Attempt::Again(contested)) => contested,
                // An attempt may have happened: it is looked for as long as there is time.
                Err(EngineError::Refused(_)) if !lost.is_empty() => Vec::new(),
                Err(error) => return Err(error),
            };
            version = version.next().ok_or(TOO_BUSY)?;
            // What may have happened is looked for without waiting for others.
            if turn.is_empty() && lost.is_empty() && !contested.is_empty() {
                turn = self.wait_for_turn(&contested, deadline).await?;
            } else {
                self.wait(&mut backoff, deadline).await?;
            }
        }
    }

    /// Lets calls of this process that want to change the same records go one after the other, once
    /// they have got in each other's way. In the order of the queues, so that no two calls wait for
    /// each other.
    async fn wait_for_turn(
        &self,
        contested: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Vec<OwnedMutexGuard<()>>, EngineError> {
        let queue = |key: &Vec<u8>| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default()
        };
        let queues: BTreeSet<_> = contested.iter().map(queue).collect();
        let mut turn = Vec::with_capacity(queues.len());
        for queue in queues {
            let mutex = Arc::clone(&self.queues[queue]);
            let locked = timeout_at(deadline, mutex.lock_owned()).await;
            turn.push(locked.map_err(|_| TOO_BUSY)?);
        }
        Ok(turn)
    }

    async fn attempt<T, F>(
        &self,
        change: &F,
        version: Version,
        lost: &mut Vec<LostAttempt<T>>,
    ) -> Result<Attempt<T>, EngineError>
    where
        T: Send,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Sync,
    {
        let written: Vec<_> = lost.iter().flat_map(|one| one.written.clone()).collect();
        let mut fetched = Fetched::new(Arc::clone(&self.numbers));
        let Some(Evaluated {
            outcome,
            changes,
            log,
        }) = self.evaluate(&mut fetched, &written, change).await?
        else {
            return Ok(Attempt::Again(Vec::new()));
        };
        let happened = |one: &LostAttempt<T>| {
            let versions = one.written.iter().map(|key| fetched.version(key));
            versions.flatten().any(|version| version == one.version)
        };
        if let Some(at) = lost.iter().position(happened) {
            let LostAttempt { outcome, log, .. } = lost.swap_remove(at);
            return Ok(Attempt::Done(outcome, log.if_late()));
        }
        let outcome = outcome?;
        if changes.is_empty() {
            return Ok(Attempt::Done(outcome, Vec::new()));
        }
        let clock = fetched.clock().ok_or(EngineError::NotFetched)?;
        let log = LoggedEntries {
            entries: log,
            since: clock.asked_at,
        };
        let commit = Commit {
            version,
            reads: fetched.read_set(&changes),
            changes,
            not_after: clock.time.plus(MAX_COMMIT_DELAY),
        };
        match self.engine.commit(&commit).await? {
            CommitOutcome::Committed => {
                fetched.keep_numbers();
                Ok(Attempt::Done(outcome, log.if_late()))
            }
            CommitOutcome::Conflict => {
                let is_contested = |key: &Vec<u8>| commit.reads.contains_key(key);
                let changed = commit.changes.into_keys();
                Ok(Attempt::Again(changed.filter(is_contested).collect()))
            }
            CommitOutcome::Unknown => {
                fetched.forget_numbers();
                let put = |(key, value): (_, Option<_>)| value.map(|_| key);
                lost.push(LostAttempt {
                    version,
                    written: commit.changes.into_iter().filter_map(put).collect(),
                    log,
                    outcome,
                });
                Ok(Attempt::Again(Vec::new()))
            }
        }
    }

    /// Runs an operation until all that it reads is at hand; `None`: that has changed meanwhile.
    /// The keys in `unread` are fetched as well.
    async fn evaluate<T, F>(
        &self,
        fetched: &mut Fetched,
        unread: &[Vec<u8>],
        operation: &F,
    ) -> Result<Option<Evaluated<T>>, EngineError>
    where
        T: Send,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Sync,
    {
        // The keys of the last call are probably those of now, so that the first run says what to
        // fetch; what it finds with them is not used.
        let mut cipher = self.ciphers.last();
        for _ in 0..MAX_ROUNDS {
            fetched.begin();
            let evaluated = cipher.take().map(|cipher| {
                let mut tx = Transaction::new(fetched, cipher);
                let done = operation(&mut tx).and_then(|outcome| {
                    let log = revocation_log::appended(&tx)?;
                    Ok((outcome, log, tx.into_changes()?))
                });
                match done {
                    Ok((outcome, log, changes)) => Evaluated {
                        outcome: Ok(outcome),
                        changes,
                        log,
                    },
                    Err(error) => Evaluated {
                        outcome: Err(error),
                        changes: Changes::new(),
                        log: Vec::new(),
                    },
                }
            });
            let missing = fetched.missing(unread);
            if missing.is_empty()
                && let Some(evaluated) = evaluated
            {
                return Ok(Some(evaluated));
            }
            drop(evaluated);
            if !self.fetch(fetched, missing).await? {
                return Ok(None);
            }
            cipher = Some(self.ciphers.cipher(fetched.fence())?);
        }
        Err(EngineError::Refused(
            "an operation read too many records one after the other",
        ))
    }

    /// Fetches what is missing; `false`: something that was fetched before has changed since.
    async fn fetch(&self, fetched: &mut Fetched, missing: Missing) -> Result<bool, EngineError> {
        for scan in missing.scans {
            let (prefix, after, limit) = &scan;
            let pairs = self.engine.scan(prefix, after.as_deref(), *limit).await?;
            if !fetched.insert_scan(scan, pairs) {
                return Ok(false);
            }
        }
        let known = fetched.keys();
        let (peeks, mut values) = (missing.peeks, missing.values);
        values.retain(|key| fetched.version(key).is_none());
        let wanted: Vec<_> = values.iter().chain(&peeks).cloned().collect();
        if wanted.is_empty() && known.is_empty() {
            return Ok(true);
        }
        let asked_at = Instant::now();
        let ReadResult {
            values: mut found,
            versions,
            time,
        } = self.engine.read(&wanted, &known).await?;
        fetched.set_clock(ClockReading { time, asked_at });
        if found.len() != wanted.len() || versions.len() != known.len() {
            return Err(EngineError::Refused(
                "the engine gave something else than it was asked for",
            ));
        }
        let is_same = |(key, version): (&Vec<u8>, &Version)| fetched.version(key) == Some(*version);
        if !known.iter().zip(&versions).all(is_same) {
            return Ok(false);
        }
        let peeked = found.split_off(values.len());
        for (key, record) in values.into_iter().zip(found) {
            fetched.insert(key, record);
        }
        for (key, record) in peeks.into_iter().zip(peeked) {
            fetched.insert_peeked(key, record);
        }
        Ok(true)
    }

    async fn wait(&self, backoff: &mut Backoff, deadline: Instant) -> Result<(), EngineError> {
        if Instant::now() >= deadline {
            return Err(TOO_BUSY);
        }
        let random = u32::from_be_bytes(self.ciphers.entropy().bytes()?);
        tokio::time::sleep(backoff.next(random)).await;
        Ok(())
    }

    /// Everything as it is at one moment.
    pub(super) async fn export(&self) -> Result<Export, StoreError> {
        let snapshot = BlockingSnapshot {
            snapshot: self.engine.snapshot().await?,
            runtime: Handle::current(),
        };
        Ok(export::stream(
            snapshot,
            Arc::clone(&self.ciphers),
            StoreError::from,
        ))
    }

    /// Whether a commit would be tried.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        Ok(self.engine.ready().await?)
    }

    /// Bytes that the records take.
    pub(super) async fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.engine.size_bytes().await?)
    }

    /// Gives connections back.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        Ok(self.engine.close().await?)
    }
}

const TOO_BUSY: EngineError =
    EngineError::Refused("others change the same records, or the engine does not answer");

/// How long to wait before the next attempt: a random time, up to a bound that doubles.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    fn next(&mut self, random: u32) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(MAX_BACKOFF);
        longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// A snapshot that is read on a thread of its own.
struct BlockingSnapshot {
    snapshot: Box<dyn SharedSnapshot>,
    runtime: Handle,
}

impl Source for BlockingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.runtime.block_on(self.snapshot.get(key))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.runtime
            .block_on(self.snapshot.scan(prefix, after, limit))
    }
}

#[cfg(test)]
mod tests;
