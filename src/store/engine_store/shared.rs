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
//! - once a call is answered, none of its attempts that got lost happens any more, but for one that
//!   changes nothing that it has read;
//! - a call that writes runs to its end though its caller gives up waiting.

mod attempt;
mod backoff;
mod call_meter;
pub(super) mod open_keyring;
mod queues;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{
    attempt::{Attempt, Evaluated, LoggedEntries, LostAttempt, MAX_COMMIT_DELAY, guard},
    backoff::Backoff,
    call_meter::CallMeter,
    queues::{Queues, Turn},
};
use super::{
    export::{self, BlockingSnapshot},
    fetched::{ClockReading, Fetched, Missing},
    numbers::Numbers,
    operation::{self, Change, Outcome, Query},
};
use crate::metrics::Metrics;
use crate::store::{
    Export, RevocationEntry, StoreError, Unreadable,
    engine::{Changes, Commit, CommitOutcome, ConnectionPool, ReadResult, SharedEngine, Version},
    error::EngineError,
    operations::{layout, revocation_log, transaction::Transaction},
    record_cipher::{CipherCache, RecordCipher},
};

/// After so long a call begins no further attempt: its caller gets 503 and may repeat it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// So often a line is written again.
pub(super) const MAX_LOG_REWRITES: usize = 3;
/// More rounds of fetching than any operation needs.
const MAX_ROUNDS: usize = 256;

/// A shared engine, and what this process knows of it.
#[derive(Clone)]
pub(super) struct SharedRunner {
    engine: Arc<dyn SharedEngine>,
    ciphers: Arc<CipherCache>,
    numbers: Arc<Numbers>,
    queues: Queues,
    metrics: Metrics,
}

impl SharedRunner {
    pub(super) fn new(
        engine: Arc<dyn SharedEngine>,
        ciphers: Arc<CipherCache>,
        metrics: Metrics,
    ) -> Self {
        call_meter::initialize(&metrics, engine.name());
        Self {
            engine,
            ciphers,
            numbers: Arc::default(),
            queues: Queues::new(),
            metrics,
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

    fn meter(&self, operation: &'static str) -> CallMeter<'_> {
        CallMeter {
            metrics: &self.metrics,
            engine: self.engine.name(),
            operation,
        }
    }

    /// An operation that only reads. `operation` is its name in the metrics.
    pub(super) async fn read(
        &self,
        operation: &'static str,
        query: Box<Query>,
    ) -> Result<Outcome, StoreError> {
        let query = move |tx: &mut Transaction<'_>| query(tx);
        self.run_query(operation, &query)
            .await
            .map_err(StoreError::from)
    }

    async fn run_query(
        &self,
        operation: &'static str,
        query: &Change,
    ) -> Result<Outcome, EngineError> {
        let meter = self.meter(operation);
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::default();
        loop {
            let mut fetched = Fetched::new(Arc::clone(&self.numbers));
            if let Some(evaluated) = self.evaluate(&meter, &mut fetched, &[], query).await? {
                return evaluated.outcome;
            }
            meter.count_conflict();
            self.wait(&mut backoff, deadline).await?;
        }
    }

    /// An operation that may change records. `operation` is its name in the metrics.
    pub(super) async fn write(
        &self,
        operation: &'static str,
        change: Box<Change>,
    ) -> Result<Outcome, StoreError> {
        let runner = self.clone();
        let call = tokio::spawn(async move { runner.run_call(operation, &*change).await });
        match call.await {
            Ok(outcome) => outcome.map_err(StoreError::from),
            Err(_) => Err(StoreError::Unavailable(
                "an operation of the store panicked".to_owned(),
            )),
        }
    }

    /// Runs a call to its end, and writes lines of the revocation log again that came too late.
    async fn run_call(
        &self,
        operation: &'static str,
        change: &Change,
    ) -> Result<Outcome, EngineError> {
        let meter = self.meter(operation);
        let (outcome, mut late) = self.commit_call(&meter, change).await?;
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
            let write_again = operation::change(move |tx| {
                for entry in &entries {
                    revocation_log::append(tx, entry.clone())?;
                }
                Ok(())
            });
            (_, late) = self.commit_call(&meter, &*write_again).await?;
        }
        Ok(outcome)
    }

    /// Runs a call until an attempt is committed. With the entries whose lines came too late.
    async fn commit_call(
        &self,
        meter: &CallMeter<'_>,
        change: &Change,
    ) -> Result<(Outcome, Vec<RevocationEntry>), EngineError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut backoff = Backoff::default();
        let mut version = Version::first(self.ciphers.entropy())?;
        let mut lost = Vec::new();
        let mut turn = Turn::new();
        loop {
            let contested = match self.attempt(meter, change, version, &mut lost).await {
                Ok(Attempt::Done(outcome, late)) => return Ok((outcome, late)),
                Ok(Attempt::Again(contested)) => contested,
                // An attempt may have happened: it is looked for as long as there is time.
                Err(EngineError::Refused(_)) if !lost.is_empty() => Vec::new(),
                Err(error) => return Err(error),
            };
            version = version.next().ok_or(TOO_BUSY)?;
            // What may have happened is looked for without waiting for others.
            if turn.is_empty() && lost.is_empty() && Queues::admit(&contested) {
                let waited = self.queues.wait(&contested, deadline).await;
                turn = waited.map_err(|_| TOO_BUSY)?;
            } else {
                self.wait(&mut backoff, deadline).await?;
            }
        }
    }

    async fn attempt(
        &self,
        meter: &CallMeter<'_>,
        change: &Change,
        version: Version,
        lost: &mut Vec<LostAttempt>,
    ) -> Result<Attempt, EngineError> {
        let unread: Vec<_> = lost.iter().flat_map(LostAttempt::keys).cloned().collect();
        let mut fetched = Fetched::new(Arc::clone(&self.numbers));
        let Some(Evaluated {
            outcome,
            mut changes,
            log,
        }) = self.evaluate(meter, &mut fetched, &unread, change).await?
        else {
            meter.count_conflict();
            return Ok(Attempt::Again(Vec::new()));
        };
        let happened = lost.iter().position(|one| one.has_happened(&fetched));
        if let Some(at) = happened {
            return self.answer(meter, at, lost, fetched, version).await;
        }
        let outcome = outcome?;
        let mut reads = fetched.read_set(&changes);
        self.prevent(lost.iter(), &fetched, &mut reads, &mut changes)?;
        if changes.is_empty() {
            return Ok(Attempt::Done(outcome, Vec::new()));
        }
        let clock = fetched.clock().ok_or(EngineError::NotFetched)?;
        let log = LoggedEntries {
            entries: log,
            since: clock.asked_at,
        };
        let mut commit = Commit {
            version,
            reads,
            changes,
            not_after: clock.time.plus(MAX_COMMIT_DELAY),
        };
        let guard = guard(&mut commit, layout::ended_call(version.call(), clock.time));
        meter.count_round_trip();
        let committed = self.engine.commit(&commit).await?;
        meter.count_attempt(committed);
        match committed {
            CommitOutcome::Committed => {
                fetched.keep_numbers();
                self.send_hint(&log);
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
                    guard,
                    log,
                    outcome,
                });
                Ok(Attempt::Again(Vec::new()))
            }
        }
    }

    /// Ends a call with the outcome of the attempt at `happened`, once none of the others can happen.
    async fn answer(
        &self,
        meter: &CallMeter<'_>,
        happened: usize,
        lost: &mut Vec<LostAttempt>,
        mut fetched: Fetched,
        version: Version,
    ) -> Result<Attempt, EngineError> {
        // Nothing that the operation has read matters any more.
        fetched.begin();
        let mut changes = Changes::new();
        let mut reads = fetched.read_set(&changes);
        let others = lost[..happened].iter().chain(&lost[happened + 1..]);
        self.prevent(others, &fetched, &mut reads, &mut changes)?;
        if !changes.is_empty() {
            let clock = fetched.clock().ok_or(EngineError::NotFetched)?;
            let commit = Commit {
                version,
                reads,
                changes,
                not_after: clock.time.plus(MAX_COMMIT_DELAY),
            };
            meter.count_round_trip();
            let committed = self.engine.commit(&commit).await?;
            meter.count_attempt(committed);
            if committed != CommitOutcome::Committed {
                return Ok(Attempt::Again(Vec::new()));
            }
        }
        let LostAttempt { outcome, log, .. } = lost.swap_remove(happened);
        self.send_hint(&log);
        Ok(Attempt::Done(outcome, log.if_late()))
    }

    /// Adds to a commit what it takes for none of these attempts to happen after it.
    fn prevent<'a>(
        &self,
        mut lost: impl Iterator<Item = &'a LostAttempt>,
        fetched: &Fetched,
        reads: &mut BTreeMap<Vec<u8>, Version>,
        changes: &mut Changes,
    ) -> Result<(), EngineError> {
        let ended = |key: &[u8]| {
            let plain = RecordCipher::encode(key, &())?;
            self.ciphers.cipher(fetched.fence())?.seal(key, &plain)
        };
        lost.try_for_each(|one| one.prevent(fetched, reads, changes, ended))
    }

    /// Lets other processes look at the log now, if something was written there. The caller does not
    /// wait for that.
    fn send_hint(&self, log: &LoggedEntries) {
        if !log.entries.is_empty() {
            let engine = Arc::clone(&self.engine);
            tokio::spawn(async move { engine.send_hint().await });
        }
    }

    /// Runs an operation until all that it reads is at hand; `None`: that has changed meanwhile.
    /// The keys in `unread` are fetched as well.
    async fn evaluate(
        &self,
        meter: &CallMeter<'_>,
        fetched: &mut Fetched,
        unread: &[Vec<u8>],
        operation: &Change,
    ) -> Result<Option<Evaluated>, EngineError> {
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
            if !self.fetch(meter, fetched, missing).await? {
                return Ok(None);
            }
            cipher = Some(self.ciphers.cipher(fetched.fence())?);
        }
        Err(EngineError::Refused(
            "an operation read too many records one after the other",
        ))
    }

    /// Fetches what is missing; `false`: something that was fetched before has changed since.
    async fn fetch(
        &self,
        meter: &CallMeter<'_>,
        fetched: &mut Fetched,
        missing: Missing,
    ) -> Result<bool, EngineError> {
        for scan in missing.scans {
            let (prefix, after, limit) = &scan;
            meter.count_round_trip();
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
        meter.count_round_trip();
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
    pub(super) async fn export(&self, unreadable: Unreadable) -> Result<Export, StoreError> {
        let snapshot = self.engine.snapshot().await?;
        Ok(export::stream(
            BlockingSnapshot::new(snapshot),
            Arc::clone(&self.ciphers),
            unreadable,
            StoreError::from,
        ))
    }

    /// Whether a commit would be tried.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        self.engine.ready().await?;
        // The keyring may not be for this process: it says that an import fills the store.
        let nothing = operation::query(|_| Ok(()));
        self.read("check", nothing).await.map(drop)
    }

    /// Waits until another process may have written to the revocation log.
    pub(super) async fn wait_for_hint(&self) {
        self.engine.wait_for_hint().await;
    }

    /// Whether hints of other processes arrive.
    pub(super) fn hints_arrive(&self) -> Option<bool> {
        self.engine.hints_arrive()
    }

    /// The engine's pool of connections.
    pub(super) fn connections(&self) -> Option<ConnectionPool> {
        self.engine.connections()
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

#[cfg(test)]
mod tests;
