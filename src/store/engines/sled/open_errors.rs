//! From what failed while a directory was opened to an error text for operators.

use std::{
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use crate::store::OpenError;

/// Turns an error while opening into the text for an operator.
pub(super) struct OpenErrorContext<'a> {
    pub(super) path: &'a Path,
    pub(super) waited: Duration,
}

impl OpenErrorContext<'_> {
    pub(super) fn locked(&self) -> OpenError {
        OpenError::Locked {
            path: self.path.to_owned(),
            waited: self.waited,
        }
    }

    pub(super) fn not_writable(&self, error: &io::Error) -> OpenError {
        OpenError::NotWritable {
            path: self.path.to_owned(),
            why: error.to_string(),
        }
    }

    pub(super) fn corrupt(&self, why: &str) -> OpenError {
        OpenError::Corrupt {
            path: self.path.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(super) fn io(&self, error: &io::Error) -> OpenError {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => self.not_writable(error),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData => self.corrupt(&error.to_string()),
            _ => OpenError::Io {
                path: self.path.to_owned(),
                why: error.to_string(),
            },
        }
    }

    pub(super) fn sled(&self, error: &::sled::Error) -> OpenError {
        use ::sled::Error::{CollectionNotFound, Corruption, Io, ReportableBug, Unsupported};
        match error {
            error if is_lock(error) => self.locked(),
            Io(error) => self.io(error),
            CollectionNotFound(_) | Corruption { .. } | ReportableBug(_) | Unsupported(_) => {
                self.corrupt(&error.to_string())
            }
        }
    }
}

/// sled has no variant for it; the text is its contract in 0.34.7, to which we are pinned.
pub(super) fn is_lock(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}
