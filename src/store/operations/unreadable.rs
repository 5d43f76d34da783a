//! Records that an export cannot read.

use crate::store::error::EngineError;

/// What becomes of a record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Unreadable {
    /// The export fails: without it, it would look whole.
    Fails,
    /// It is logged and left out.
    IsLeftOut,
}

impl Unreadable {
    /// What was read; nothing for a record that is left out.
    pub(super) fn read<T: Default>(self, read: Result<T, EngineError>) -> Result<T, EngineError> {
        match read {
            Err(EngineError::Damaged(why)) if self == Self::IsLeftOut => {
                tracing::error!(error = %why, "a record cannot be read and is not exported: {why}");
                Ok(T::default())
            }
            read => read,
        }
    }
}
