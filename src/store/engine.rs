//! What an embedded engine has to be: ordered bytes with atomic, durable batches. Nothing of the
//! domain.

use std::collections::BTreeMap;

use crate::store::error::EngineError;

/// A key and its value.
pub(in crate::store) type Pair = (Vec<u8>, Vec<u8>);

/// What a batch does: a value to put, or `None` to remove what is there.
pub(in crate::store) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Ordered bytes. Many threads read, one writes.
pub(in crate::store) trait Kv: Send + Sync + 'static {
    /// The engine's name, as metrics have it.
    fn name(&self) -> &'static str;

    /// Reads never touch a disk, so they need no thread of their own.
    fn reads_inline(&self) -> bool;

    /// The value at this key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Pairs whose key begins with `prefix` and is after `after`, in order, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError>;

    /// Makes all of the changes, or none. When it returns they survive power loss. Only the writer
    /// calls this.
    ///
    /// [`EngineError::Refused`] promises that nothing was changed; after any other failure the
    /// outcome is unknown.
    fn commit(&self, changes: &Changes) -> Result<(), EngineError>;

    /// Whether a commit would be tried: there is room, for one.
    fn ready(&self) -> Result<(), EngineError>;

    /// Bytes on disk; 0 in memory.
    fn size_bytes(&self) -> Result<u64, EngineError>;

    /// Releases files and locks. Every call after it is [`EngineError::Closed`].
    fn close(&self) -> Result<(), EngineError>;
}
