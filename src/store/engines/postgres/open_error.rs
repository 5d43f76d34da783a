//! Why the store on PostgreSQL does not open.

use crate::store::OpenError;

/// The engine's name, in errors and metrics.
pub(super) const NAME: &str = "postgres";

/// The database cannot be used now; it may be later.
pub(super) fn unavailable(why: impl Into<String>) -> OpenError {
    OpenError::Unavailable {
        engine: NAME,
        why: why.into(),
    }
}

/// The database cannot be used until it, or the config, is changed.
pub(super) fn unsuitable(why: impl Into<String>) -> OpenError {
    OpenError::Unsuitable {
        engine: NAME,
        why: why.into(),
    }
}
