//! Why an operation inside an engine did not come to an outcome, and what follows for the rest of
//! the store.

use super::StoreError;

/// What went wrong inside an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine failed. Nobody knows what it still holds right, so nothing more may be written
    /// until it is opened again.
    Fault(String),
    /// One record cannot be read. The others can.
    Damaged(String),
    /// Not done, and nothing changed. The store goes on.
    Refused(&'static str),
    /// The store has been closed.
    Closed,
}

impl Failure {
    /// Names the record by the kind it is of (the part of its key before `/`), never by what it
    /// holds.
    pub(super) fn damaged(at: &[u8], what: &str) -> Self {
        let kind = at.split(|byte| *byte == b'/').next().unwrap_or_default();
        Self::Damaged(format!("a record of kind '{}' {what}", kind.escape_ascii()))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(why) => Self::Failed(why),
            Failure::Damaged(why) => Self::Damaged(why),
            Failure::Refused(why) => Self::Unavailable(why.to_owned()),
            Failure::Closed => Self::Closed,
        }
    }
}
