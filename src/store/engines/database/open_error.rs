//! Why the store on a database does not open.

use crate::store::OpenError;

/// The name of an engine, in errors and metrics.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::engines) struct EngineName(pub(in crate::store::engines) &'static str);

impl EngineName {
    /// The database cannot be used now; it may be later.
    pub(in crate::store::engines) fn unavailable(self, why: impl Into<String>) -> OpenError {
        OpenError::Unavailable {
            engine: self.0,
            why: why.into(),
        }
    }

    /// The database cannot be used until it, or the config, is changed.
    pub(in crate::store::engines) fn unsuitable(self, why: impl Into<String>) -> OpenError {
        OpenError::Unsuitable {
            engine: self.0,
            why: why.into(),
        }
    }
}
