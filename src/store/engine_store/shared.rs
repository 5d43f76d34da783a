//! Operations on an engine that many processes share: optimistic concurrency control.
//!
//! An operation is run over what has been fetched. Where it asks for something that is not at hand,
//! all that is missing is fetched together and it is run again, which costs microseconds. When it is
//! through, its changes are committed if nothing that it read has changed; otherwise all of it is
//! forgotten, and after a jittered wait it begins anew, for a bounded time.
//!
//! Must stay true:
//! - an operation sees one moment (`fetched`);
//! - the fence is in the read set of every commit, so nobody commits under an old keyring or epoch;
//! - a call whose commit got lost looks for its own number before anything else, in every attempt
//!   that follows: a repeat that finds it gives the outcome of the attempt that happened;
//! - a call that writes runs to its end though its caller gives up waiting.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    export,
    fetched::{Fetched, Missing, ScanMode},
};
use crate::{
    crypto,
    store::{
        Export, OpenError, StoreError, StoreKeys,
        engine::{
            Changes, Commit, CommitOutcome, FENCE, Pair, ReadResult, SharedEngine, SharedSnapshot,
            Source, Version,
        },
        error::EngineError,
        keyring::{Keyring, WrappedWith},
        operations::transaction::{ReadView, Transaction},
        record_cipher::CipherCache,
    },
};

/// After so long a call begins no further attempt: its caller gets 503 and may repeat it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Turns of calls that repeat; two records may share one.
const TURNS: usize = 64;
/// The longest wait after the first conflict; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_millis(160);
/// More rounds of fetching than any operation needs.
const MAX_ROUNDS: usize = 64;

/// A shared engine, and what this process knows of it.
#[derive(Clone)]
pub(super) struct SharedRunner {
    engine: Arc<dyn SharedEngine>,
    ciphers: Arc<CipherCache>,
    /// Each is held by a call of this process that repeats after a conflict: many calls for one record
    /// then go in turn instead of against each other.
    turns: Arc<[Mutex<()>; TURNS]>,
}

/// What an operation came to over one view of the records.
struct Evaluated<T> {
    outcome: Result<T, EngineError>,
    changes: Changes,
}

/// An attempt whose commit may have happened.
struct LostAttempt<T> {
    version: Version,
    written: Vec<Vec<u8>>,
    outcome: T,
}

/// What an attempt came to.
enum Attempt<T> {
    Done(T),
    /// Its commit got lost, or something that it read has changed: begin anew.
    Again,
    /// Another call has changed what this one read: begin anew, in a turn that the calls that write
    /// the same record share.
    Conflicted(usize),
}

impl SharedRunner {
    pub(super) fn new(engine: Arc<dyn SharedEngine>, ciphers: Arc<CipherCache>) -> Self {
        Self {
            engine,
            ciphers,
            turns: Arc::new(std::array::from_fn(|_| Mutex::default())),
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
            let mut fetched = Fetched::new(ScanMode::Listed);
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

    async fn run_call<T, F>(&self, change: &F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::default();
        let mut version = Version::first(self.ciphers.entropy())?;
        let mut lost = Vec::new();
        let mut turn = None;
        loop {
            match self.attempt(change, version, &mut lost).await {
                Ok(Attempt::Done(outcome)) => return Ok(outcome),
                // What may have happened is looked for without waiting for others.
                Ok(Attempt::Conflicted(at)) if turn.is_none() && lost.is_empty() => {
                    let waiting = timeout_at(deadline, self.turns[at].lock()).await;
                    turn = Some(waiting.map_err(|_| TOO_BUSY)?);
                }
                Ok(Attempt::Again | Attempt::Conflicted(_)) => {
                    self.wait(&mut backoff, deadline).await?;
                }
                // It is looked for as long as there is time.
                Err(EngineError::Refused(_)) if !lost.is_empty() => {
                    self.wait(&mut backoff, deadline).await?;
                }
                Err(error) => return Err(error),
            }
            version = version.next().ok_or(TOO_BUSY)?;
        }
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
        let mut fetched = Fetched::new(ScanMode::Compared);
        let Some(Evaluated { outcome, changes }) =
            self.evaluate(&mut fetched, &written, change).await?
        else {
            return Ok(Attempt::Again);
        };
        let happened = |one: &LostAttempt<T>| {
            let versions = one.written.iter().map(|key| fetched.version(key));
            versions.flatten().any(|version| version == one.version)
        };
        if let Some(at) = lost.iter().position(happened) {
            return Ok(Attempt::Done(lost.swap_remove(at).outcome));
        }
        let outcome = outcome?;
        if changes.is_empty() {
            return Ok(Attempt::Done(outcome));
        }
        let commit = Commit {
            version,
            reads: fetched.read_set(),
            changes,
        };
        match self.engine.commit(&commit).await? {
            CommitOutcome::Committed => Ok(Attempt::Done(outcome)),
            CommitOutcome::Conflict => Ok(Attempt::Conflicted(turn_of(&commit.changes))),
            CommitOutcome::Unknown => {
                let put = |(key, value): (_, Option<_>)| value.map(|_| key);
                lost.push(LostAttempt {
                    version,
                    written: commit.changes.into_iter().filter_map(put).collect(),
                    outcome,
                });
                Ok(Attempt::Again)
            }
        }
    }

    /// Runs an operation until all that it reads is at hand; `None`: that has changed meanwhile.
    /// The keys in `also` are fetched as well.
    async fn evaluate<T, F>(
        &self,
        fetched: &mut Fetched,
        also: &[Vec<u8>],
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
                let done = operation(&mut tx).and_then(|outcome| Ok((outcome, tx.into_changes()?)));
                match done {
                    Ok((outcome, changes)) => Evaluated {
                        outcome: Ok(outcome),
                        changes,
                    },
                    Err(error) => Evaluated {
                        outcome: Err(error),
                        changes: Changes::new(),
                    },
                }
            });
            let missing = fetched.missing(also);
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
        let ReadResult {
            values: mut found,
            versions,
        } = self.engine.read(&wanted, &known).await?;
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
            fetched.insert_loose(key, record);
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

/// The store's own keys: those that are there, or new ones where there are none. Of processes that
/// start together one makes them.
pub(super) async fn open_keyring(
    engine: &dyn SharedEngine,
    keys: &StoreKeys,
    ciphers: &CipherCache,
) -> Result<Keyring, OpenError> {
    let unavailable = |error: EngineError| OpenError::Unavailable {
        engine: engine.name(),
        why: StoreError::from(error).to_string(),
    };
    let entropy = ciphers.entropy();
    let mut version = Version::first(entropy).map_err(|error| unavailable(error.into()))?;
    loop {
        let fence = engine
            .read(&[FENCE.to_vec()], &[])
            .await
            .map_err(unavailable)?
            .values
            .pop()
            .ok_or(EngineError::Refused("the engine read nothing"))
            .map_err(unavailable)?;
        let keyring = match &fence.value {
            // Records without their keyring: a new one could read none of them.
            None if !engine
                .scan(b"", None, 1)
                .await
                .map_err(unavailable)?
                .is_empty() =>
            {
                return Err(OpenError::Unsuitable {
                    engine: engine.name(),
                    why: "it has records, and its keyring (m/fence) is gone: restore it, or begin with an empty table"
                        .to_owned(),
                });
            }
            None => Keyring::generate(entropy).map_err(|error| unavailable(error.into()))?,
            Some(wrapped) => match Keyring::unwrap(keys, wrapped) {
                Some((keyring, WrappedWith::Present)) => return Ok(keyring),
                Some((keyring, WrappedWith::Previous)) => keyring,
                None => {
                    let path = engine.name().into();
                    return Err(OpenError::WrongKey { path });
                }
            },
        };
        let wrapped = keyring.wrap(keys, entropy).map_err(unavailable)?;
        let commit = Commit {
            version,
            reads: [(FENCE.to_vec(), fence.version)].into(),
            changes: [(FENCE.to_vec(), Some(wrapped))].into(),
        };
        // Whatever came of it, the next look tells.
        engine.commit(&commit).await.map_err(unavailable)?;
        version = version.next().ok_or(TOO_BUSY).map_err(unavailable)?;
    }
}

/// The turn of calls that change these records.
fn turn_of(changes: &Changes) -> usize {
    let first = changes.keys().next().map(|key| crypto::sha256(key)[0]);
    usize::from(first.unwrap_or_default()) % TURNS
}

#[cfg(test)]
mod tests;
