//! What an operation works on: the engine's pairs with the changes on top that have not been
//! committed yet.
//!
//! Operations of one group see each other's changes, as if each had been committed before the next
//! began. An operation that fails leaves nothing behind.

use std::{ops::Bound, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::layout::LookupKey;
use crate::store::{
    engine::{Changes, Kv, Pair},
    error::EngineError,
    record_cipher::RecordCipher,
};

/// A view of the records.
pub(in crate::store) trait ReadView {
    /// The cipher that decrypts them.
    fn cipher(&self) -> &RecordCipher;
    /// The bytes at a key.
    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;
    /// Pairs whose key begins with `prefix` and is after `after`, in order, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;
}

impl dyn ReadView + '_ {
    /// The record at a key.
    pub(in crate::store) fn record<R: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<R>, EngineError> {
        self.bytes(key)?
            .map(|bytes| self.cipher().open(key, &bytes))
            .transpose()
    }

    /// The record under a lookup key. The newest candidate is read a second time: while records are
    /// re-encrypted, one may move there between the two reads. If the keys were rotated meanwhile,
    /// all candidates were old ones, and the lookup is repeated.
    pub(in crate::store) fn find<R: DeserializeOwned>(
        &self,
        lookup_key: LookupKey<'_>,
    ) -> Result<Option<R>, EngineError> {
        loop {
            let keys = self.cipher().keyring();
            let mut candidate_keys = lookup_key.candidate_keys(self.cipher());
            if let [newest, _, ..] = candidate_keys.as_slice() {
                candidate_keys.push(newest.clone());
            }
            for key in candidate_keys {
                if let Some(record) = self.record(&key)? {
                    return Ok(Some(record));
                }
            }
            if Arc::ptr_eq(&keys, &self.cipher().keyring()) {
                return Ok(None);
            }
        }
    }
}

/// The committed state, as readers see it.
pub(in crate::store) struct CommittedView<'a> {
    pub(in crate::store) kv: &'a dyn Kv,
    pub(in crate::store) cipher: &'a RecordCipher,
}

impl ReadView for CommittedView<'_> {
    fn cipher(&self) -> &RecordCipher {
        self.cipher
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.kv.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.kv.scan(prefix, after, limit)
    }
}

/// The state that one operation of a group sees and changes.
pub(in crate::store) struct Transaction<'a> {
    kv: &'a dyn Kv,
    cipher: &'a RecordCipher,
    /// Of the operations before it in the group.
    group: &'a Changes,
    own: Changes,
}

impl<'a> Transaction<'a> {
    pub(in crate::store) fn new(
        kv: &'a dyn Kv,
        cipher: &'a RecordCipher,
        group: &'a Changes,
    ) -> Self {
        Self {
            kv,
            cipher,
            group,
            own: Changes::new(),
        }
    }

    /// What the operation changed.
    pub(in crate::store) fn into_changes(self) -> Changes {
        self.own
    }

    /// Whether the engine would take a commit.
    pub(in crate::store) fn ready(&self) -> Result<(), EngineError> {
        self.kv.ready()
    }

    /// The record at a key.
    pub(in crate::store) fn record<R: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<R>, EngineError> {
        let view: &dyn ReadView = self;
        view.record(key)
    }

    /// Stores a record.
    pub(in crate::store) fn put<R: Serialize>(
        &mut self,
        key: Vec<u8>,
        record: &R,
    ) -> Result<(), EngineError> {
        let bytes = self.cipher.seal(&key, record)?;
        self.own.insert(key, Some(bytes));
        Ok(())
    }

    /// The record under a lookup key.
    pub(in crate::store) fn find<R: DeserializeOwned>(
        &self,
        lookup_key: LookupKey<'_>,
    ) -> Result<Option<R>, EngineError> {
        let view: &dyn ReadView = self;
        view.find(lookup_key)
    }

    /// Stores a record under the newest candidate of a lookup key alone, and returns that key.
    pub(in crate::store) fn put_under<R: Serialize>(
        &mut self,
        lookup_key: LookupKey<'_>,
        record: &R,
    ) -> Result<Vec<u8>, EngineError> {
        let mut candidate_keys = lookup_key.candidate_keys(self.cipher).into_iter();
        let newest = candidate_keys
            .next()
            .ok_or(EngineError::Refused("the store has no key"))?;
        for older in candidate_keys {
            self.remove(older);
        }
        self.put(newest.clone(), record)?;
        Ok(newest)
    }

    /// Removes the record under a lookup key.
    pub(in crate::store) fn remove_under(&mut self, lookup_key: LookupKey<'_>) {
        for key in lookup_key.candidate_keys(self.cipher) {
            self.remove(key);
        }
    }

    /// Stores bytes as they are: a record that is encrypted already.
    pub(in crate::store) fn put_bytes(&mut self, key: Vec<u8>, bytes: Vec<u8>) {
        self.own.insert(key, Some(bytes));
    }

    /// Stores a key without a value, as in an index.
    pub(in crate::store) fn touch(&mut self, key: Vec<u8>) {
        self.own.insert(key, Some(Vec::new()));
    }

    /// Discards all changes of the operation so far.
    pub(in crate::store) fn rollback(&mut self) {
        self.own.clear();
    }

    /// Removes what is there.
    pub(in crate::store) fn remove(&mut self, key: Vec<u8>) {
        self.own.insert(key, None);
    }
}

impl ReadView for Transaction<'_> {
    fn cipher(&self) -> &RecordCipher {
        self.cipher
    }

    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.own.get(key).or_else(|| self.group.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.kv.get(key),
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        // Own changes come second, so that they win over those of the group.
        let mut changed = Changes::new();
        for layer in [self.group, &self.own] {
            let within = layer
                .range::<[u8], _>((start, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix));
            changed.extend(within.map(|(key, change)| (key.clone(), change.clone())));
        }
        // Enough pairs of the engine that `limit` are left when those removed here have gone.
        let removed = changed.values().filter(|change| change.is_none()).count();
        let mut merged: std::collections::BTreeMap<_, _> = self
            .kv
            .scan(prefix, after, limit.saturating_add(removed))?
            .into_iter()
            .collect();
        for (key, change) in changed {
            match change {
                Some(value) => drop(merged.insert(key, value)),
                None => drop(merged.remove(&key)),
            }
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::Entropy,
        store::{engines::memory::MemoryKv, record_cipher::Keyring},
    };

    fn keys(pairs: &[Pair]) -> Vec<String> {
        pairs
            .iter()
            .map(|(key, _)| String::from_utf8(key.clone()).unwrap())
            .collect()
    }

    #[test]
    fn a_scan_sees_the_engine_the_group_and_itself_in_order() {
        let kv = MemoryKv::new();
        let put = |key: &str| (key.as_bytes().to_vec(), Some(vec![1]));
        let gone = |key: &str| (key.as_bytes().to_vec(), None);
        kv.commit(&["a/1", "a/2", "a/3", "a/4", "b/1"].map(put).into())
            .unwrap();
        let group: Changes = [gone("a/1"), put("a/25"), gone("a/3")].into();
        let cipher = RecordCipher::new(
            Keyring::generate(&Entropy::default()).unwrap(),
            Entropy::default(),
        );
        let mut tx = Transaction::new(&kv, &cipher, &group);
        tx.touch(b"a/3".to_vec());
        tx.remove(b"a/25".to_vec());
        tx.touch(b"a/9".to_vec());
        let scan = |after: Option<&str>, limit| {
            keys(&tx.scan(b"a/", after.map(str::as_bytes), limit).unwrap())
        };
        assert_eq!(scan(None, 9), ["a/2", "a/3", "a/4", "a/9"]);
        assert_eq!(scan(None, 2), ["a/2", "a/3"]);
        assert_eq!(scan(Some("a/2"), 2), ["a/3", "a/4"]);
        assert_eq!(scan(Some("a/9"), 2), [""; 0]);
        assert_eq!(tx.bytes(b"a/1").unwrap(), None);
        assert_eq!(tx.bytes(b"a/4").unwrap(), Some(vec![1]));
    }
}
