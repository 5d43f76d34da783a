//! What one attempt of an operation has fetched from a shared engine, and what of it the operation
//! has read.
//!
//! Must stay true: all of it is of one moment, because each later read also brings the versions of
//! what was fetched before, and a difference ends the attempt. So no operation ever sees two
//! moments, and an outcome without changes holds without a commit.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use tokio::time::Instant;

use super::numbers::Numbers;
use crate::{
    store::{
        engine::{Changes, FENCE, NumberPool, Pair, Source, Version, Versioned, VersionedPairs},
        error::EngineError,
    },
    types::Timestamp,
};

/// A scan that was asked for: prefix, after, limit.
type Scan = (Vec<u8>, Option<Vec<u8>>, usize);

/// What the engine's clock showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    pub(super) time: Timestamp,
    /// When it was asked, by the steady clock of this process: not after `time`.
    pub(super) asked_at: Instant,
}

/// Records at hand, and what was asked for.
pub(super) struct Fetched {
    numbers: Arc<Numbers>,
    /// Numbers of this attempt, in the order in which it asks for them: each run gets the same.
    taken: RefCell<Vec<(NumberPool, u64)>>,
    records: BTreeMap<Vec<u8>, Versioned>,
    scans: BTreeMap<Scan, Vec<Pair>>,
    /// Versions of what scans found. They count only for what the operation changes of it: the rest
    /// is a list, and may be of another moment.
    scanned: BTreeMap<Vec<u8>, Version>,
    /// Fetched only to be peeked at: not of the one moment.
    peeked: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Of the first read.
    clock: Option<ClockReading>,
    run: RefCell<Run>,
}

/// What one run of the operation has asked for.
#[derive(Default)]
struct Run {
    read: BTreeSet<Vec<u8>>,
    missing: BTreeSet<Vec<u8>>,
    missing_peeks: BTreeSet<Vec<u8>>,
    missing_scans: BTreeSet<Scan>,
    /// How many numbers it has asked for.
    numbers: usize,
    left: Vec<(NumberPool, Range<u64>)>,
}

/// What has to be fetched before the operation can go on.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) values: Vec<Vec<u8>>,
    pub(super) peeks: Vec<Vec<u8>>,
    pub(super) scans: Vec<Scan>,
}

impl Missing {
    pub(super) const fn is_empty(&self) -> bool {
        self.values.is_empty() && self.peeks.is_empty() && self.scans.is_empty()
    }
}

/// How many numbers are taken from a shared record at once.
const BLOCK_SIZE: u64 = 64;

impl Fetched {
    pub(super) fn new(numbers: Arc<Numbers>) -> Self {
        Self {
            numbers,
            taken: RefCell::default(),
            records: BTreeMap::new(),
            scans: BTreeMap::new(),
            scanned: BTreeMap::new(),
            peeked: BTreeMap::new(),
            clock: None,
            run: RefCell::default(),
        }
    }

    /// The numbers of this attempt are used, because it is committed; what it leaves is there.
    pub(super) fn keep_numbers(&self) {
        let run = self.run.borrow();
        self.give_back_after(run.numbers);
        self.taken.borrow_mut().clear();
        for (pool, numbers) in &run.left {
            self.numbers.add(*pool, numbers.clone());
        }
    }

    /// Nobody uses the numbers of this attempt any more: it may be committed.
    pub(super) fn forget_numbers(&self) {
        self.taken.borrow_mut().clear();
    }

    fn give_back_after(&self, used: usize) {
        let mut taken = self.taken.borrow_mut();
        let from = used.min(taken.len());
        for (pool, number) in taken.drain(from..) {
            self.numbers.give_back(pool, number);
        }
    }

    /// Begins a run of the operation: what earlier ones have read does not count.
    pub(super) fn begin(&mut self) {
        self.run.take();
    }

    /// What is not at hand. Always with the fence, and with `unread`: keys that the operation need
    /// not read.
    pub(super) fn missing(&self, unread: &[Vec<u8>]) -> Missing {
        let run = self.run.borrow();
        let wanted = run.missing.iter().chain(unread).map(Vec::as_slice);
        let wanted = wanted.chain([FENCE]);
        let is_missing = |key: &&[u8]| !self.records.contains_key(*key);
        let mut values: Vec<_> = wanted.filter(is_missing).map(<[u8]>::to_vec).collect();
        values.sort_unstable();
        values.dedup();
        Missing {
            values,
            peeks: run.missing_peeks.iter().cloned().collect(),
            scans: run.missing_scans.iter().cloned().collect(),
        }
    }

    /// The keys of all that is at hand and has to stay as it is.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.records.keys().cloned().collect()
    }

    /// The version of a record at hand.
    pub(super) fn version(&self, key: &[u8]) -> Option<Version> {
        self.records.get(key).map(|record| record.version)
    }

    /// The bytes of a record at hand; `None` where it is absent.
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key)?.value.as_deref()
    }

    /// The wrapped keyring.
    pub(super) fn fence(&self) -> Option<&[u8]> {
        self.value(FENCE)
    }

    /// Takes in a record.
    pub(super) fn insert(&mut self, key: Vec<u8>, record: Versioned) {
        self.records.insert(key, record);
    }

    /// Takes in a record that is only peeked at.
    pub(super) fn insert_peeked(&mut self, key: Vec<u8>, record: Versioned) {
        self.peeked.insert(key, record.value);
    }

    /// Takes in what the engine's clock showed. The first reading stays, so that each run of the
    /// operation sees the same time.
    pub(super) fn set_clock(&mut self, reading: ClockReading) {
        self.clock.get_or_insert(reading);
    }

    /// What the engine's clock showed at the first read.
    pub(super) const fn clock(&self) -> Option<ClockReading> {
        self.clock
    }

    /// Takes in what a scan found; `false` where that contradicts an earlier scan.
    pub(super) fn insert_scan(&mut self, scan: Scan, pairs: VersionedPairs) -> bool {
        let mut found = Vec::with_capacity(pairs.len());
        for (key, Versioned { version, value }) in pairs {
            let known = self.scanned.insert(key.clone(), version);
            if known.is_some_and(|known| known != version) {
                return false;
            }
            found.extend(value.map(|value| (key, value)));
        }
        self.scans.insert(scan, found);
        true
    }

    /// What the last run has read, and what it has scanned and changes, with the versions.
    pub(super) fn read_set(&self, changes: &Changes) -> BTreeMap<Vec<u8>, Version> {
        let run = self.run.borrow();
        let read = run.read.iter().map(Vec::as_slice).chain([FENCE]);
        let read = read.filter_map(|key| Some((key.to_vec(), self.version(key)?)));
        let scanned = changes
            .keys()
            .filter_map(|key| Some((key.clone(), *self.scanned.get(key)?)));
        // What was read as well has the version that was read.
        scanned.chain(read).collect()
    }
}

impl Source for Fetched {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let mut run = self.run.borrow_mut();
        if let Some(record) = self.records.get(key) {
            run.read.insert(key.to_vec());
            Ok(record.value.clone())
        } else {
            run.missing.insert(key.to_vec());
            Err(EngineError::NotFetched)
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let scan = (prefix.to_vec(), after.map(<[u8]>::to_vec), limit);
        if let Some(pairs) = self.scans.get(&scan) {
            return Ok(pairs.clone());
        }
        self.run.borrow_mut().missing_scans.insert(scan);
        Err(EngineError::NotFetched)
    }

    fn peek(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        if let Some(value) = self.peeked.get(key) {
            return Ok(value.clone());
        }
        let mut run = self.run.borrow_mut();
        run.missing_peeks.insert(key.to_vec());
        Err(EngineError::NotFetched)
    }

    fn shared_time(&self) -> Result<Option<Timestamp>, EngineError> {
        // The fence is always fetched, and with it the time.
        let reading = self.clock.ok_or(EngineError::NotFetched)?;
        Ok(Some(reading.time))
    }

    fn block_size(&self) -> u64 {
        BLOCK_SIZE
    }

    fn take_number(&self, pool: NumberPool) -> Option<u64> {
        let at = {
            let mut run = self.run.borrow_mut();
            run.numbers += 1;
            run.numbers - 1
        };
        let before = self.taken.borrow().get(at).copied();
        if let Some((known, number)) = before {
            if known.key == pool.key && known.tag == pool.tag && number >= pool.at_least {
                return Some(number);
            }
            self.give_back_after(at);
        }
        let number = self.numbers.take(pool);
        match number {
            Some(number) => self.taken.borrow_mut().push((pool, number)),
            None => self.run.borrow_mut().numbers -= 1,
        }
        number
    }

    fn leave_numbers(&self, pool: NumberPool, numbers: Range<u64>) {
        self.run.borrow_mut().left.push((pool, numbers));
    }

    fn want(&self, keys: &[Vec<u8>]) {
        let missing = keys.iter().filter(|key| !self.records.contains_key(*key));
        self.run.borrow_mut().missing.extend(missing.cloned());
    }
}

impl Drop for Fetched {
    /// What was not committed used no number.
    fn drop(&mut self) {
        self.give_back_after(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    fn record(value: u8) -> Versioned {
        Versioned {
            version: Version::first(&Entropy::default()).unwrap(),
            value: Some(vec![value]),
        }
    }

    #[test]
    fn only_what_was_read_is_in_the_read_set() {
        let mut fetched = Fetched::new(Arc::default());
        for key in [FENCE, b"a", b"b", b"c"] {
            fetched.insert(key.to_vec(), record(1));
        }
        fetched.insert(b"gone".to_vec(), Versioned::ABSENT);
        fetched.insert_peeked(b"hot".to_vec(), record(2));
        fetched.want(&[b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(fetched.get(b"b").unwrap(), Some(vec![1]));
        assert_eq!(fetched.get(b"gone").unwrap(), None);
        assert_eq!(fetched.peek(b"hot").unwrap(), Some(vec![2]));
        let read = fetched.read_set(&Changes::new());
        let keys: Vec<_> = read.keys().map(Vec::as_slice).collect();
        assert_eq!(keys, [b"b", b"gone".as_slice(), FENCE]);
        assert_eq!(read.get(b"gone".as_slice()), Some(&Version::ABSENT));
        fetched.begin();
        assert_eq!(
            fetched.read_set(&Changes::new()).len(),
            1,
            "the fence alone"
        );
    }

    #[test]
    fn what_is_not_at_hand_is_asked_for_together() {
        let mut fetched = Fetched::new(Arc::default());
        fetched.want(&[b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(fetched.get(b"a"), Err(EngineError::NotFetched));
        let missing = fetched.missing(&[b"own".to_vec()]);
        assert_eq!(missing.values, [b"a", b"b", FENCE, b"own".as_slice()]);
        for key in missing.values {
            fetched.insert(key, record(1));
        }
        fetched.begin();
        fetched.want(&[b"a".to_vec(), b"b".to_vec()]);
        assert!(fetched.get(b"a").is_ok() && fetched.missing(&[]).is_empty());
        assert_eq!(
            fetched.scan(b"x/", None, 9),
            Err(EngineError::NotFetched),
            "a scan is fetched too"
        );
        assert_eq!(
            fetched.missing(&[]).scans,
            [(b"x/".to_vec(), None, 9_usize)]
        );
    }

    /// A scan that begins at a time would otherwise be another one in each run.
    #[test]
    fn an_attempt_has_one_time() {
        let mut fetched = Fetched::new(Arc::default());
        assert_eq!(fetched.shared_time(), Err(EngineError::NotFetched));
        for secs in [7, 8] {
            let (time, asked_at) = (Timestamp::from_secs(secs), Instant::now());
            fetched.set_clock(ClockReading { time, asked_at });
            fetched.begin();
        }
        assert_eq!(fetched.shared_time(), Ok(Some(Timestamp::from_secs(7))));
    }

    #[test]
    fn of_a_scan_what_is_changed_is_in_the_read_set() {
        let mut fetched = Fetched::new(Arc::default());
        fetched.insert(FENCE.to_vec(), record(1));
        let (one, other) = (record(1), record(2));
        let pairs = vec![
            (b"x/1".to_vec(), one.clone()),
            (b"x/2".to_vec(), other.clone()),
        ];
        assert!(fetched.insert_scan((b"x/".to_vec(), None, 9), pairs));
        assert_eq!(fetched.scan(b"x/", None, 9).unwrap().len(), 2);
        let changes = [(b"x/2".to_vec(), None), (b"x/3".to_vec(), None)].into();
        let read = fetched.read_set(&changes);
        let keys: Vec<_> = read.keys().map(Vec::as_slice).collect();
        assert_eq!(keys, [FENCE, b"x/2"]);
        assert_eq!(read[b"x/2".as_slice()], other.version);
        assert!(!fetched.keys().contains(&b"x/1".to_vec()));
        let again = vec![(b"x/1".to_vec(), other)];
        assert!(
            !fetched.insert_scan((b"x/".to_vec(), None, 1), again),
            "another version contradicts"
        );
    }

    #[test]
    fn an_attempt_has_the_same_numbers_in_each_run_and_gives_them_back() {
        let numbers = Arc::new(Numbers::default());
        let pool = NumberPool {
            key: b"m/next",
            tag: 0,
            at_least: 0,
        };
        numbers.add(pool, 1..4);
        let mut fetched = Fetched::new(Arc::clone(&numbers));
        for _ in 0..3 {
            fetched.begin();
            assert_eq!(fetched.take_number(pool), Some(1));
        }
        assert_eq!(fetched.take_number(pool), Some(2));
        drop(fetched);
        let mut committed = Fetched::new(Arc::clone(&numbers));
        assert_eq!(committed.take_number(pool), Some(1));
        assert_eq!(committed.take_number(pool), Some(2));
        committed.begin();
        assert_eq!(
            committed.take_number(pool),
            Some(1),
            "the last run needs one"
        );
        committed.leave_numbers(pool, 10..11);
        committed.keep_numbers();
        drop(committed);
        let lost = Fetched::new(Arc::clone(&numbers));
        assert_eq!(lost.take_number(pool), Some(2));
        lost.leave_numbers(pool, 20..21);
        lost.forget_numbers();
        drop(lost);
        let rest: Vec<_> = std::iter::from_fn(|| numbers.take(pool)).collect();
        assert_eq!(rest, [3, 10]);
    }
}
