//! Why the store on a database does not open.

use crate::store::{OpenError, open_options::FORMAT};

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

    /// There are no tables to read.
    pub(in crate::store::engines) fn no_tables(self) -> OpenError {
        self.unsuitable(
            "it has no tables of this version: start menshen with it, or run `menshen store migrate`",
        )
    }

    /// Refuses a store whose records have another format. `None`: it has none yet.
    pub(in crate::store::engines) fn check_format(
        self,
        found: Option<u32>,
    ) -> Result<(), OpenError> {
        let Some(found) = found.filter(|found| *found != FORMAT) else {
            return Ok(());
        };
        let place = format!("on {}", self.0);
        Err(OpenError::OtherFormat { place, found })
    }

    /// The database cannot be used until it, or the config, is changed.
    pub(in crate::store::engines) fn unsuitable(self, why: impl Into<String>) -> OpenError {
        OpenError::Unsuitable {
            engine: self.0,
            why: why.into(),
        }
    }
}
