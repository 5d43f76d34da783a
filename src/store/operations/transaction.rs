//! What an operation works on: the records as they were when it began, with its own changes on top.
//!
//! An operation that fails leaves nothing behind. Where a record is not at hand yet, as with a
//! shared engine, reading it fails with [`EngineError::NotFetched`]; the operation passes that on
//! like any other error, and is run again from its beginning when the record is there. So an
//! operation does nothing but read and change its transaction.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::layout::LookupKey;
use crate::{
    store::{
        engine::{Changes, FENCE, Pair, Source},
        error::EngineError,
        keyring::Keyring,
        record_cipher::RecordCipher,
    },
    types::Timestamp,
};

/// A record as it was encoded, before it was sealed.
type Plain = Zeroizing<Vec<u8>>;

/// A view of the records.
pub(in crate::store) trait ReadView {
    /// The cipher that decrypts them.
    fn cipher(&self) -> &RecordCipher;
    /// The record at a key, decrypted.
    fn plain(&self, key: &[u8]) -> Result<Option<Plain>, EngineError>;
    /// Whether there is a record at a key.
    fn contains(&self, key: &[u8]) -> Result<bool, EngineError>;
    /// Pairs whose key begins with `prefix` and is after `after`, in order, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;
    /// Says that these keys are about to be read, so that they can be fetched together.
    fn want(&self, keys: &[Vec<u8>]);
    /// The clock that all processes share. `None` where this process is alone.
    fn shared_time(&self) -> Result<Option<Timestamp>, EngineError>;
}

impl dyn ReadView + '_ {
    /// The record at a key.
    pub(in crate::store) fn record<R: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<R>, EngineError> {
        let plain = self.plain(key)?;
        plain
            .map(|plain| RecordCipher::decode(key, &plain))
            .transpose()
    }

    /// The record under a lookup key. The newest candidate is read a second time: while records are
    /// re-encrypted, one may move there between the two reads.
    pub(in crate::store) fn find<R: DeserializeOwned>(
        &self,
        lookup_key: LookupKey<'_>,
    ) -> Result<Option<R>, EngineError> {
        let mut candidate_keys = lookup_key.candidate_keys(self.cipher());
        self.want(&candidate_keys);
        if let [newest, _, ..] = candidate_keys.as_slice() {
            candidate_keys.push(newest.clone());
        }
        for key in candidate_keys {
            if let Some(record) = self.record(&key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// The records of a source, as readers see them.
pub(in crate::store) struct RecordView<'a> {
    pub(in crate::store) source: &'a dyn Source,
    pub(in crate::store) cipher: &'a RecordCipher,
}

impl ReadView for RecordView<'_> {
    fn cipher(&self) -> &RecordCipher {
        self.cipher
    }

    fn plain(&self, key: &[u8]) -> Result<Option<Plain>, EngineError> {
        let bytes = self.source.get(key)?;
        bytes.map(|bytes| self.cipher.open(key, &bytes)).transpose()
    }

    fn contains(&self, key: &[u8]) -> Result<bool, EngineError> {
        Ok(self.source.get(key)?.is_some())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        self.source.scan(prefix, after, limit)
    }

    fn want(&self, keys: &[Vec<u8>]) {
        self.source.want(keys);
    }

    fn shared_time(&self) -> Result<Option<Timestamp>, EngineError> {
        self.source.shared_time()
    }
}

/// A change of one record. It is sealed when the operation is through.
enum Change {
    Put(Plain),
    /// As it is: the keyring, and what cannot be read.
    PutBytes(Vec<u8>),
    Remove,
}

/// The state that one operation sees and changes.
pub(in crate::store) struct Transaction<'a> {
    source: &'a dyn Source,
    cipher: Arc<RecordCipher>,
    own: BTreeMap<Vec<u8>, Change>,
}

impl<'a> Transaction<'a> {
    pub(in crate::store) fn new(source: &'a dyn Source, cipher: Arc<RecordCipher>) -> Self {
        Self {
            source,
            cipher,
            own: BTreeMap::new(),
        }
    }

    /// What the operation changed, sealed.
    pub(in crate::store) fn into_changes(self) -> Result<Changes, EngineError> {
        let Self { cipher, own, .. } = self;
        own.into_iter()
            .map(|(key, change)| {
                let value = sealed(&cipher, &key, &change)?;
                Ok((key, value))
            })
            .collect()
    }

    /// The record at a key.
    pub(in crate::store) fn record<R: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<R>, EngineError> {
        let view: &dyn ReadView = self;
        view.record(key)
    }

    /// The record at a key, on which nothing depends: it may change before the commit.
    pub(in crate::store) fn peek<R: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<R>, EngineError> {
        let bytes = self.source.peek(key)?;
        bytes.map(|bytes| self.cipher.read(key, &bytes)).transpose()
    }

    /// Where numbers come from that all processes share.
    pub(in crate::store) const fn source(&self) -> &dyn Source {
        self.source
    }

    /// Stores a record.
    pub(in crate::store) fn put<R: Serialize>(
        &mut self,
        key: Vec<u8>,
        record: &R,
    ) -> Result<(), EngineError> {
        let plain = RecordCipher::encode(&key, record)?;
        self.own.insert(key, Change::Put(plain));
        Ok(())
    }

    /// Stores a record that was encoded before.
    pub(in crate::store) fn put_plain(&mut self, key: Vec<u8>, plain: Plain) {
        self.own.insert(key, Change::Put(plain));
    }

    /// Stores bytes as they are.
    pub(in crate::store) fn put_bytes(&mut self, key: Vec<u8>, bytes: Vec<u8>) {
        self.own.insert(key, Change::PutBytes(bytes));
    }

    /// Uses this keyring from here on, and stores it.
    pub(in crate::store) fn put_keyring(&mut self, keyring: Keyring) -> Result<(), EngineError> {
        let (cipher, wrapped) = self.cipher.with_keyring(keyring)?;
        self.cipher = Arc::new(cipher);
        self.own.insert(FENCE.to_vec(), Change::PutBytes(wrapped));
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
        let mut candidate_keys = lookup_key.candidate_keys(&self.cipher).into_iter();
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
        for key in lookup_key.candidate_keys(&self.cipher) {
            self.remove(key);
        }
    }

    /// The keys below a prefix that this operation has written.
    pub(in crate::store) fn own_keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.own
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, change)| !matches!(change, Change::Remove))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Discards all changes of the operation so far.
    pub(in crate::store) fn rollback(&mut self) {
        self.own.clear();
    }

    /// Removes what is there.
    pub(in crate::store) fn remove(&mut self, key: Vec<u8>) {
        self.own.insert(key, Change::Remove);
    }
}

/// The bytes of a change; `None` where it removes.
fn sealed(
    cipher: &RecordCipher,
    key: &[u8],
    change: &Change,
) -> Result<Option<Vec<u8>>, EngineError> {
    match change {
        Change::Put(plain) => cipher.seal(key, plain).map(Some),
        Change::PutBytes(bytes) => Ok(Some(bytes.clone())),
        Change::Remove => Ok(None),
    }
}

impl ReadView for Transaction<'_> {
    fn cipher(&self) -> &RecordCipher {
        &self.cipher
    }

    fn plain(&self, key: &[u8]) -> Result<Option<Plain>, EngineError> {
        match self.own.get(key) {
            Some(Change::Put(plain)) => Ok(Some(plain.clone())),
            Some(Change::PutBytes(bytes)) => self.cipher.open(key, bytes).map(Some),
            Some(Change::Remove) => Ok(None),
            None => {
                let bytes = self.source.get(key)?;
                bytes.map(|bytes| self.cipher.open(key, &bytes)).transpose()
            }
        }
    }

    fn contains(&self, key: &[u8]) -> Result<bool, EngineError> {
        match self.own.get(key) {
            Some(Change::Put(_) | Change::PutBytes(_)) => Ok(true),
            Some(Change::Remove) => Ok(false),
            None => Ok(self.source.get(key)?.is_some()),
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
        let own = self
            .own
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, change)| Ok((key.clone(), sealed(&self.cipher, key, change)?)))
            .collect::<Result<_, EngineError>>()?;
        scan_with(self.source, &own, prefix, after, limit)
    }

    fn want(&self, keys: &[Vec<u8>]) {
        self.source.want(keys);
    }

    fn shared_time(&self) -> Result<Option<Timestamp>, EngineError> {
        self.source.shared_time()
    }
}

/// A scan of a source with changes on top, all of which are within its bounds.
fn scan_with(
    source: &dyn Source,
    changed: &Changes,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Pair>, EngineError> {
    // Enough pairs of the source that `limit` are left when those removed here have gone.
    let removed = changed.values().filter(|change| change.is_none()).count();
    let mut merged: BTreeMap<_, _> = source
        .scan(prefix, after, limit.saturating_add(removed))?
        .into_iter()
        .collect();
    for (key, change) in changed {
        match change {
            Some(value) => drop(merged.insert(key.clone(), value.clone())),
            None => drop(merged.remove(key)),
        }
    }
    Ok(merged.into_iter().take(limit).collect())
}

/// A source with changes on top that are not committed yet: what the operations before this one
/// have done, where many are committed at once.
pub(in crate::store) struct Overlay<'a> {
    pub(in crate::store) source: &'a dyn Source,
    pub(in crate::store) changes: &'a Changes,
}

impl Source for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.source.get(key),
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
        let within = self
            .changes
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, change)| (key.clone(), change.clone()))
            .collect();
        scan_with(self.source, &within, prefix, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::Key,
        entropy::Entropy,
        store::{WrappingKeys, engine::LocalEngine, engines::memory::MemoryEngine},
    };

    fn keys(pairs: &[Pair]) -> Vec<String> {
        pairs
            .iter()
            .map(|(key, _)| String::from_utf8(key.clone()).unwrap())
            .collect()
    }

    #[test]
    fn a_scan_sees_the_engine_the_group_and_itself_in_order() {
        let engine = MemoryEngine::new();
        let put = |key: &str| (key.as_bytes().to_vec(), Some(vec![1]));
        let gone = |key: &str| (key.as_bytes().to_vec(), None);
        engine
            .commit(&["a/1", "a/2", "a/3", "a/4", "b/1"].map(put).into())
            .unwrap();
        let group: Changes = [gone("a/1"), put("a/25"), gone("a/3")].into();
        let cipher = Arc::new(RecordCipher::new(
            Keyring::generate(&Entropy::default()).unwrap(),
            WrappingKeys::derive(&Key::new([1; 32]), None),
            Entropy::default(),
        ));
        let overlay = Overlay {
            source: &engine,
            changes: &group,
        };
        let mut tx = Transaction::new(&overlay, cipher);
        tx.put(b"a/3".to_vec(), &3).unwrap();
        tx.remove(b"a/25".to_vec());
        tx.put(b"a/9".to_vec(), &9).unwrap();
        let scan = |after: Option<&str>, limit| {
            keys(&tx.scan(b"a/", after.map(str::as_bytes), limit).unwrap())
        };
        assert_eq!(scan(None, 9), ["a/2", "a/3", "a/4", "a/9"]);
        assert_eq!(scan(None, 2), ["a/2", "a/3"]);
        assert_eq!(scan(Some("a/2"), 2), ["a/3", "a/4"]);
        assert_eq!(scan(Some("a/9"), 2), [""; 0]);
        assert!(!tx.contains(b"a/1").unwrap() && tx.contains(b"a/4").unwrap());
        assert_eq!(tx.record::<u8>(b"a/9").unwrap(), Some(9));
        assert_eq!(tx.into_changes().unwrap().len(), 3);
    }
}
