//! The simulated server: records with versions, and a network that loses what it likes.
//!
//! Each call of the store has a connection of its own, so that it is known which call a commit
//! belongs to, and when it took effect.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    store::{
        engine::{
            Commit, CommitOutcome, ReadResult, SharedEngine, SharedSnapshot, Version, Versioned,
            VersionedPairs,
        },
        engines::versioned,
        error::EngineError,
        fixture::NOW,
        operations::layout::{self, LogLineId},
    },
    types::{Timestamp, UserId},
};

/// The longest time that one way through the network takes as a rule.
const LATENCY: Duration = Duration::from_millis(20);
/// The longest time after which a commit that its caller gave up still happens, and the longest that
/// the server waits for a standby.
const LATE: Duration = Duration::from_secs(45);
/// After so long a commit that gets no answer is given up.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How far a line of the log may come behind others, so that every reader finds it.
const LOG_WINDOW: Duration = Duration::from_secs(30);

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where something stands in the order of all that happened at the server.
pub(super) type Moment = u64;

#[derive(Default)]
struct ServerState {
    records: versioned::Records,
    moment: Moment,
    /// Commits that have begun, and wait until a standby has them: nobody sees what they write, and
    /// they keep their locks.
    waiting: Vec<Commit>,
    /// Lines of the log that came when no reader has to look for them any more.
    late_lines: usize,
}

/// The server that all replicas share.
pub(super) struct Server {
    records: Mutex<ServerState>,
    began: Instant,
    /// How far the clock was set back.
    set_back: Mutex<Duration>,
    /// Commits that happened, and steps of the clock.
    changes: AtomicU64,
    random: Mutex<fastrand::Rng>,
    /// Commits that are on their way although their callers have given up.
    late: watch::Sender<usize>,
    /// Nothing goes wrong any more.
    is_calm: Mutex<bool>,
    /// Every fourth commit that writes to the log waits until its line may be behind what readers look
    /// at again, and its caller with it.
    log_is_slow: bool,
}

/// What became of one call at the server.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) last_read: Option<Moment>,
    /// The last commit was there to be seen at the last read.
    pub(super) saw_commit: bool,
    /// The commits of it that happened.
    pub(super) commits: Vec<Applied>,
    /// When the last commit happened that changed nothing but for keeping earlier ones from happening.
    pub(super) prevented: Option<Moment>,
    /// A commit happened although an earlier one of the same call was there to be seen.
    pub(super) repeated: bool,
}

/// A commit that happened.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) at: Moment,
    /// The call was told that it had happened.
    pub(super) is_told: bool,
    /// See [`is_blind`].
    pub(super) is_blind: bool,
    version: Version,
    keys: Vec<Vec<u8>>,
}

/// A process, as the network sees it.
pub(super) struct Host {
    paused_until: Mutex<Instant>,
    is_dead: AtomicBool,
    /// Wakes in the order in which it was waited for.
    death: Notify,
}

/// What a process has to the server for one call.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) host: Arc<Host>,
    pub(super) trace: Arc<Mutex<Trace>>,
}

/// What goes wrong with a commit.
#[derive(Clone, Copy)]
enum Fault {
    Nothing,
    Conflict,
    Refuse,
    /// It does not happen, and the caller is not told.
    Lose,
    /// It happens, and the caller is not told.
    HappenUntold,
    /// It happens after its caller has given up.
    Late,
    /// It begins now and is seen later.
    Wait,
}

impl ServerState {
    fn version(&self, key: &[u8]) -> Version {
        let record = self.records.get(key);
        record.map_or(Version::ABSENT, |record| record.version)
    }

    /// Whether a commit leaves all as it is, and only keeps earlier attempts of its call from happening.
    fn has_no_effect(&self, commit: &Commit) -> bool {
        let value = |key| {
            self.records
                .get(key)
                .and_then(|record| record.value.as_ref())
        };
        let mut changes = commit.changes.iter();
        changes.all(|(key, put)| {
            key.starts_with(layout::ENDED_CALLS.prefix())
                || (put.is_some() && put.as_ref() == value(key))
        })
    }

    /// Whether all that a commit has read is as it was, and it gets its locks.
    fn permits(&self, commit: &Commit) -> bool {
        let is_same = |(key, read): (&Vec<u8>, &Version)| self.version(key) == *read;
        let has_locks = |other: &Commit| {
            let (mut ours, mut theirs) = (commit.changes.keys(), other.changes.keys());
            !ours.any(|key| touches(other, key)) && !theirs.any(|key| touches(commit, key))
        };
        commit.reads.iter().all(is_same) && self.waiting.iter().all(has_locks)
    }
}

fn touches(commit: &Commit, key: &Vec<u8>) -> bool {
    commit.reads.contains_key(key) || commit.changes.contains_key(key)
}

impl Applied {
    /// Whether it is a line of the log alone, which a call writes again when it came late.
    pub(super) fn is_log(&self) -> bool {
        self.keys.iter().all(|key| key.starts_with(layout::LOG))
    }

    /// The user with an integer as id who may be new in it.
    pub(super) fn integer_user(&self) -> Option<UserId> {
        let mut users = self
            .keys
            .iter()
            .filter_map(|key| key.strip_prefix(layout::USERS));
        let is_integer = |id: &&[u8]| id.iter().all(u8::is_ascii_digit);
        let id = std::str::from_utf8(users.find(is_integer)?).ok()?;
        UserId::parse(id).ok()
    }

    /// Whether something of it has not been overwritten.
    fn is_in(&self, records: &ServerState) -> bool {
        let mut versions = self.keys.iter().map(|key| records.version(key));
        versions.any(|version| version == self.version)
    }
}

impl Trace {
    fn told(&mut self, version: Version) {
        for applied in &mut self.commits {
            applied.is_told |= applied.version == version;
        }
    }

    /// Whether a commit happened after all that the call has read and been told.
    pub(super) fn is_stray(&self, commit: &Applied) -> bool {
        !commit.is_told && self.last_read.is_some_and(|read| read < commit.at)
    }

    fn read(&mut self, records: &ServerState) {
        self.last_read = Some(records.moment);
        let last = self.commits.last();
        self.saw_commit = last.is_some_and(|applied| applied.is_in(records));
    }
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            paused_until: Mutex::new(Instant::now()),
            is_dead: AtomicBool::new(false),
            death: Notify::new(),
        }
    }

    /// As SIGSTOP, with SIGCONT after so long.
    pub(super) fn pause(&self, span: Duration) {
        *locked(&self.paused_until) = Instant::now() + span;
    }

    /// As SIGKILL: whatever it waits for never comes.
    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.death.notify_waiters();
    }

    /// Ends when the process has died.
    pub(super) async fn died(&self) {
        let death = self.death.notified();
        if !self.is_dead.load(Ordering::SeqCst) {
            death.await;
        }
    }

    /// Waits until the process runs; for ever where it is dead.
    pub(super) async fn run(&self) {
        loop {
            if self.is_dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let until = *locked(&self.paused_until);
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Server {
    pub(super) fn new(seed: u64, log_is_slow: bool) -> Arc<Self> {
        Arc::new(Self {
            records: Mutex::default(),
            began: Instant::now(),
            set_back: Mutex::default(),
            changes: AtomicU64::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            late: watch::Sender::new(0),
            is_calm: Mutex::new(false),
            log_is_slow,
        })
    }

    /// From now on nothing goes wrong; ends when nothing is on its way any more.
    pub(super) async fn calm_down(&self) {
        *locked(&self.is_calm) = true;
        let mut late = self.late.subscribe();
        // The sender lives as long as the server.
        drop(late.wait_for(|late| *late == 0).await);
    }

    fn time(&self) -> Timestamp {
        let right = NOW.plus(self.began.elapsed());
        right.minus(*locked(&self.set_back))
    }

    /// Sets the server's clock back, as a failover to another server may.
    pub(super) fn set_clock_back(&self, by: Duration) {
        *locked(&self.set_back) += by;
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it has changed: as long as this is the same, nothing new can be read.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn random<T>(&self, choose: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        choose(&mut locked(&self.random))
    }

    async fn travel(&self) {
        let span = self.random(|random| match random.u8(..) {
            0..64 => Duration::ZERO,
            64..250 => LATENCY.mul_f64(random.f64()),
            250.. => 20 * LATENCY.mul_f64(random.f64()),
        });
        if span.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(span).await;
        }
    }

    fn fault(&self) -> Fault {
        if *locked(&self.is_calm) {
            return Fault::Nothing;
        }
        self.random(|random| match random.u8(..) {
            0..5 => Fault::Conflict,
            5..7 => Fault::Refuse,
            7..13 => Fault::Lose,
            13..21 => Fault::HappenUntold,
            21..27 => Fault::Late,
            27..31 => Fault::Wait,
            31.. => Fault::Nothing,
        })
    }

    /// Whether this commit waits for longer than readers look back.
    fn is_slow(&self, commit: &Commit) -> bool {
        let is_logged = || {
            commit
                .changes
                .keys()
                .any(|key| key.starts_with(layout::LOG))
        };
        let is_quarter = || self.random(|random| random.u8(..4) == 0);
        self.log_is_slow && is_logged() && !*locked(&self.is_calm) && is_quarter()
    }

    fn refuses_read(&self) -> bool {
        !*locked(&self.is_calm) && self.random(|random| random.u8(..) < 2)
    }

    /// Compares and writes, in one step.
    fn apply(&self, commit: &Commit, trace: &Mutex<Trace>) -> CommitOutcome {
        let mut all = locked(&self.records);
        let now = self.time();
        if now > commit.not_after || !all.permits(commit) {
            return CommitOutcome::Conflict;
        }
        // What re-encryption seals anew has been there before.
        let lines = commit
            .changes
            .keys()
            .filter(|key| !all.records.contains_key(*key))
            .filter_map(|key| LogLineId::from_key(key));
        let late = lines
            .filter(|line| line.at().plus(LOG_WINDOW) < now)
            .count();
        all.late_lines += late;
        self.write(&mut all, commit, &mut locked(trace));
        CommitOutcome::Committed
    }

    fn write(&self, all: &mut ServerState, commit: &Commit, trace: &mut Trace) {
        let is_blind = is_blind(commit);
        let is_effect = !all.has_no_effect(commit);
        trace.repeated |=
            is_effect && !is_blind && trace.commits.iter().any(|applied| applied.is_in(all));
        all.moment += 1;
        for (key, value) in &commit.changes {
            if value.is_some() {
                let record = Versioned {
                    version: commit.version,
                    value: value.clone(),
                };
                all.records.insert(key.clone(), record);
            } else {
                all.records.remove(key);
            }
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
        if is_effect {
            trace.commits.push(Applied {
                at: all.moment,
                is_told: false,
                is_blind,
                version: commit.version,
                keys: commit.changes.keys().cloned().collect(),
            });
        } else {
            trace.prevented = Some(all.moment);
        }
    }

    /// Compares now, and writes when a standby has it; meanwhile the locks are kept. `None`: it does
    /// not begin. Otherwise it happens, whether this is waited for or not.
    fn begin(
        self: &Arc<Self>,
        commit: &Commit,
        trace: &Arc<Mutex<Trace>>,
        least: Duration,
    ) -> Option<tokio::task::JoinHandle<()>> {
        {
            let mut all = locked(&self.records);
            if self.time() > commit.not_after || !all.permits(commit) {
                return None;
            }
            all.waiting.push(commit.clone());
        }
        let span = least + self.random(|random| LATE.saturating_sub(least).mul_f64(random.f64()));
        let (server, trace, commit) = (Arc::clone(self), Arc::clone(trace), commit.clone());
        self.late.send_modify(|late| *late += 1);
        Some(tokio::spawn(async move {
            tokio::time::sleep(span).await;
            {
                let mut all = locked(&server.records);
                all.waiting.retain(|other| other.version != commit.version);
                server.write(&mut all, &commit, &mut locked(&trace));
            }
            server.late.send_modify(|late| *late -= 1);
        }))
    }

    /// How many lines of the log came when no reader has to look for them any more, though the
    /// server let nothing wait.
    pub(super) fn late_lines(&self) -> usize {
        locked(&self.records).late_lines
    }

    /// Whether commits are on their way although their callers have given up.
    pub(super) fn is_busy(&self) -> bool {
        *self.late.borrow() > 0
    }

    fn pairs(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> VersionedPairs {
        versioned::pairs(&locked(&self.records).records, prefix, after, limit)
    }
}

/// Whether it changes nothing that it depends on: lines of the log, and what stands for phones
/// without a code. Such a commit may happen twice.
fn is_blind(commit: &Commit) -> bool {
    let mut keys = commit.changes.keys();
    !keys.any(|key| commit.reads.contains_key(key))
}

impl Connection {
    async fn send(&self) {
        self.host.run().await;
        self.server.travel().await;
    }

    async fn receive(&self) {
        self.server.travel().await;
        self.host.run().await;
    }
}

#[async_trait]
impl SharedEngine for Connection {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn read(
        &self,
        values: &[Vec<u8>],
        versions: &[Vec<u8>],
    ) -> Result<ReadResult, EngineError> {
        self.send().await;
        if self.server.refuses_read() {
            self.receive().await;
            return Err(EngineError::Refused("the server is away"));
        }
        let result = {
            let mut all = locked(&self.server.records);
            all.moment += 1;
            locked(&self.trace).read(&all);
            let record = |key| all.records.get(key).cloned().unwrap_or(Versioned::ABSENT);
            ReadResult {
                values: values.iter().map(record).collect(),
                versions: versions.iter().map(|key| record(key).version).collect(),
                time: self.server.time(),
            }
        };
        self.receive().await;
        Ok(result)
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<VersionedPairs, EngineError> {
        self.send().await;
        if self.server.refuses_read() {
            self.receive().await;
            return Err(EngineError::Refused("the server is away"));
        }
        let found = self.server.pairs(prefix, after, limit);
        self.receive().await;
        Ok(found)
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome, EngineError> {
        self.send().await;
        let is_slow = self.server.is_slow(commit);
        let fault = if is_slow {
            Fault::Wait
        } else {
            self.server.fault()
        };
        let outcome = match fault {
            Fault::Nothing => Ok(self.server.apply(commit, &self.trace)),
            Fault::Conflict => Ok(CommitOutcome::Conflict),
            Fault::Refuse => Err(EngineError::Refused("the server is away")),
            Fault::Lose => Ok(CommitOutcome::Unknown),
            Fault::HappenUntold => {
                self.server.apply(commit, &self.trace);
                Ok(CommitOutcome::Unknown)
            }
            Fault::Late => {
                let (server, trace) = (Arc::clone(&self.server), Arc::clone(&self.trace));
                let commit = commit.clone();
                // Mostly soon, when the call looks for it.
                let is_soon = server.random(|random| random.u8(..) < 192);
                let longest = if is_soon { LATE / 90 } else { LATE };
                let span = server.random(|random| longest.mul_f64(random.f64()));
                server.late.send_modify(|late| *late += 1);
                tokio::spawn(async move {
                    tokio::time::sleep(span).await;
                    server.apply(&commit, &trace);
                    server.late.send_modify(|late| *late -= 1);
                });
                Ok(CommitOutcome::Unknown)
            }
            Fault::Wait => match self.server.begin(
                commit,
                &self.trace,
                if is_slow { LOG_WINDOW } else { Duration::ZERO },
            ) {
                None => Ok(CommitOutcome::Conflict),
                Some(mut waiting) => {
                    // A process that is stopped meanwhile finds the answer.
                    let is_stopped = is_slow || self.server.random(fastrand::Rng::bool);
                    let limit = if is_stopped { LATE } else { COMMIT_TIMEOUT };
                    let answer = tokio::time::timeout(limit, &mut waiting).await;
                    Ok(answer.map_or(CommitOutcome::Unknown, |_| CommitOutcome::Committed))
                }
            },
        };
        if outcome == Ok(CommitOutcome::Committed) {
            locked(&self.trace).told(commit.version);
        }
        self.receive().await;
        outcome
    }

    async fn snapshot(&self) -> Result<Box<dyn SharedSnapshot>, EngineError> {
        Err(EngineError::Refused("no call of a history exports"))
    }

    async fn ready(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn size_bytes(&self) -> Result<u64, EngineError> {
        Ok(0)
    }

    async fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}
