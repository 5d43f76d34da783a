//! What one attempt of an operation has fetched from a shared engine, and what of it the operation
//! has read.
//!
//! Must stay true: all of it is of one moment, because each later read also brings the versions of
//! what was fetched before, and a difference ends the attempt. So no operation ever sees two
//! moments, and an outcome without changes holds without a commit.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use crate::store::{
    engine::{FENCE, Pair, Source, Version, Versioned, VersionedPairs},
    error::EngineError,
};

/// A scan that was asked for: prefix, after, limit.
type Scan = (Vec<u8>, Option<Vec<u8>>, usize);

/// Whether the records that a scan finds belong to the one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanMode {
    /// They are compared at the commit like all that was read.
    Compared,
    /// A list that is only shown: it may be of another moment than what is read beside it.
    Listed,
}

/// Records at hand, and what was asked for.
pub(super) struct Fetched {
    mode: ScanMode,
    records: BTreeMap<Vec<u8>, Versioned>,
    scans: BTreeMap<Scan, Vec<Pair>>,
    /// Fetched only to be peeked at, or listed: not of the one moment.
    loose: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    run: RefCell<Run>,
}

/// What one run of the operation has asked for.
#[derive(Default)]
struct Run {
    read: BTreeSet<Vec<u8>>,
    missing: BTreeSet<Vec<u8>>,
    missing_peeks: BTreeSet<Vec<u8>>,
    missing_scans: BTreeSet<Scan>,
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

impl Fetched {
    pub(super) fn new(mode: ScanMode) -> Self {
        Self {
            mode,
            records: BTreeMap::new(),
            scans: BTreeMap::new(),
            loose: BTreeMap::new(),
            run: RefCell::default(),
        }
    }

    /// Begins a run of the operation: what earlier ones have read does not count.
    pub(super) fn begin(&mut self) {
        self.run.take();
    }

    /// What is not at hand. Always with the fence, and with these keys, which nothing reads.
    pub(super) fn missing(&self, also: &[Vec<u8>]) -> Missing {
        let run = self.run.borrow();
        let fence = [FENCE.to_vec()];
        let wanted: BTreeSet<_> = run.missing.iter().chain(&fence).chain(also).collect();
        let is_missing = |key: &&&Vec<u8>| !self.records.contains_key(**key);
        Missing {
            values: wanted.iter().filter(is_missing).copied().cloned().collect(),
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

    /// The wrapped keyring.
    pub(super) fn fence(&self) -> Option<&[u8]> {
        self.records.get(FENCE)?.value.as_deref()
    }

    /// Takes in a record.
    pub(super) fn insert(&mut self, key: Vec<u8>, record: Versioned) {
        self.records.insert(key, record);
    }

    /// Takes in a record that is only peeked at.
    pub(super) fn insert_loose(&mut self, key: Vec<u8>, record: Versioned) {
        self.loose.insert(key, record.value);
    }

    /// Takes in what a scan found; `false` where that contradicts what is at hand.
    pub(super) fn insert_scan(&mut self, scan: Scan, pairs: VersionedPairs) -> bool {
        let mut found = Vec::with_capacity(pairs.len());
        for (key, record) in pairs {
            let Some(value) = record.value.clone() else {
                continue;
            };
            if self.mode == ScanMode::Compared {
                let known = self.records.insert(key.clone(), record.clone());
                if known.is_some_and(|known| known.version != record.version) {
                    return false;
                }
            }
            found.push((key, value));
        }
        self.scans.insert(scan, found);
        true
    }

    /// What the last run has read, with its versions.
    pub(super) fn read_set(&self) -> BTreeMap<Vec<u8>, Version> {
        let run = self.run.borrow();
        let read = run.read.iter().map(Vec::as_slice).chain([FENCE]);
        read.filter_map(|key| Some((key.to_vec(), self.version(key)?)))
            .collect()
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
        let mut run = self.run.borrow_mut();
        if let Some(pairs) = self.scans.get(&scan) {
            if self.mode == ScanMode::Compared {
                run.read.extend(pairs.iter().map(|(key, _)| key.clone()));
            }
            Ok(pairs.clone())
        } else {
            run.missing_scans.insert(scan);
            Err(EngineError::NotFetched)
        }
    }

    fn peek(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        if let Some(value) = self.loose.get(key) {
            return Ok(value.clone());
        }
        let mut run = self.run.borrow_mut();
        run.missing_peeks.insert(key.to_vec());
        Err(EngineError::NotFetched)
    }

    fn want(&self, keys: &[Vec<u8>]) {
        let missing = keys.iter().filter(|key| !self.records.contains_key(*key));
        self.run.borrow_mut().missing.extend(missing.cloned());
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
        let mut fetched = Fetched::new(ScanMode::Compared);
        for key in [FENCE, b"a", b"b", b"c"] {
            fetched.insert(key.to_vec(), record(1));
        }
        fetched.insert(b"gone".to_vec(), Versioned::ABSENT);
        fetched.insert_loose(b"hot".to_vec(), record(2));
        fetched.want(&[b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(fetched.get(b"b").unwrap(), Some(vec![1]));
        assert_eq!(fetched.get(b"gone").unwrap(), None);
        assert_eq!(fetched.peek(b"hot").unwrap(), Some(vec![2]));
        let read = fetched.read_set();
        let keys: Vec<_> = read.keys().map(Vec::as_slice).collect();
        assert_eq!(keys, [b"b", b"gone".as_slice(), FENCE]);
        assert_eq!(read.get(b"gone".as_slice()), Some(&Version::ABSENT));
        fetched.begin();
        assert_eq!(fetched.read_set().len(), 1, "the fence alone");
    }

    #[test]
    fn what_is_not_at_hand_is_asked_for_together() {
        let mut fetched = Fetched::new(ScanMode::Compared);
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

    #[test]
    fn a_scan_that_finds_another_version_contradicts() {
        let mut fetched = Fetched::new(ScanMode::Compared);
        let (old, new) = (record(1), record(2));
        fetched.insert(b"x/1".to_vec(), old.clone());
        let scan = || (b"x/".to_vec(), None, 9);
        assert!(fetched.insert_scan(scan(), vec![(b"x/1".to_vec(), old)]));
        assert!(!fetched.insert_scan(scan(), vec![(b"x/1".to_vec(), new)]));
    }
}
