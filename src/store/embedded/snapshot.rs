//! The store as it was at one moment, read while others write.
//!
//! The engines have no snapshots of their own. So as long as one is open, the writer notes what
//! stands at a key before it is changed; whoever reads the snapshot looks at the engine first and
//! at the notes after that.
//!
//! Must stay true: a note is made before the change is committed, so a reader who sees the change
//! finds the note.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{
    draft::View,
    kv::{Changes, Kv, Pair},
    layout,
};
use crate::store::{failure::Failure, vault::Vault};

/// Most bytes of notes of one snapshot; beyond, reading it fails.
const MOST_NOTED: usize = 256 << 20;

/// The snapshots that are open.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<Mutex<Notes>>>>);

#[derive(Default)]
struct Notes {
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Snapshots {
    /// Begins one. Only the writer calls this, so it is of the state between two groups.
    pub(super) fn begin(&self, kv: Arc<dyn Kv>, vault: Vault) -> Snapshot {
        let notes = Arc::new(Mutex::new(Notes::default()));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&notes));
        Snapshot { kv, vault, notes }
    }

    /// Notes what stands at the keys that are about to be changed.
    pub(super) fn note(&self, kv: &dyn Kv, changes: &Changes) -> Result<(), Failure> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|notes| notes.strong_count() > 0);
        for notes in open.iter().filter_map(Weak::upgrade) {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            for key in changes.keys().filter(|key| is_exported(key)) {
                if notes.bytes <= MOST_NOTED && !notes.before.contains_key(key) {
                    let value = kv.get(key)?;
                    notes.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    notes.before.insert(key.clone(), value);
                }
            }
        }
        Ok(())
    }
}

/// Indexes, codes and messages are in no export.
fn is_exported(key: &[u8]) -> bool {
    ![
        layout::EXPIRY,
        layout::CODES,
        layout::SESSIONS_OF,
        layout::SMS,
        b"w/",
    ]
    .iter()
    .any(|kind| key.starts_with(kind))
}

/// The store at one moment.
pub(super) struct Snapshot {
    kv: Arc<dyn Kv>,
    vault: Vault,
    notes: Arc<Mutex<Notes>>,
}

impl Snapshot {
    /// Calls with all pairs under a prefix, in order, some at a time.
    pub(super) fn each_page(
        &self,
        prefix: &[u8],
        page: usize,
        mut visit: impl FnMut(Vec<Pair>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pairs = self.kv.scan(prefix, after.as_deref(), page)?;
            let last = (pairs.len() >= page)
                .then(|| pairs.last().map(|(key, _)| key.clone()))
                .flatten();
            let pairs = self.corrected(prefix, after.as_deref(), last.as_deref(), pairs)?;
            visit(pairs)?;
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// The pairs after one key and up to another, as they were.
    fn corrected(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        last: Option<&[u8]>,
        pairs: Vec<Pair>,
    ) -> Result<Vec<Pair>, Failure> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.bytes > MOST_NOTED {
            return Err(Failure::Refused(
                "too much was written meanwhile: export at a quieter time",
            ));
        }
        let mut pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        for (key, value) in notes
            .before
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            let is_within = after.is_none_or(|after| key.as_slice() > after)
                && last.is_none_or(|last| key.as_slice() <= last);
            match value {
                Some(value) if is_within => drop(pairs.insert(key.clone(), value.clone())),
                None => drop(pairs.remove(key)),
                Some(_) => {}
            }
        }
        Ok(pairs.into_iter().collect())
    }
}

impl View for Snapshot {
    fn vault(&self) -> &Vault {
        &self.vault
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let now = self.kv.get(key)?;
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(notes.before.get(key).cloned().unwrap_or(now))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, Failure> {
        let mut all = Vec::new();
        self.each_page(prefix, 256, |pairs| {
            all.extend(
                pairs
                    .into_iter()
                    .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after)),
            );
            Ok(())
        })?;
        all.truncate(limit);
        Ok(all)
    }
}
