//! Operations without the types of their outcomes, so that what runs them is compiled once and not
//! for each of them.

use std::any::Any;

use crate::store::{
    StoreError,
    error::EngineError,
    operations::transaction::{ReadView, Transaction},
};

/// What an operation came to.
pub(super) type Outcome = Box<dyn Any + Send>;

/// An operation that only reads. It is run as often as it takes.
pub(super) type Query = dyn Fn(&dyn ReadView) -> Result<Outcome, EngineError> + Send + Sync;

/// An operation that may change records. It is run as often as it takes.
pub(super) type Change = dyn Fn(&mut Transaction<'_>) -> Result<Outcome, EngineError> + Send + Sync;

/// An operation whose outcome is a `T`.
pub(super) fn query<T: Send + 'static>(
    operation: impl Fn(&dyn ReadView) -> Result<T, EngineError> + Send + Sync + 'static,
) -> Box<Query> {
    Box::new(move |view| Ok(Box::new(operation(view)?)))
}

/// An operation whose outcome is a `T`.
pub(super) fn change<T: Send + 'static>(
    operation: impl Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
) -> Box<Change> {
    Box::new(move |tx| Ok(Box::new(operation(tx)?)))
}

/// The outcome of an operation that was made of one with this type.
pub(super) fn typed<T: 'static>(outcome: Outcome) -> Result<T, StoreError> {
    match outcome.downcast() {
        Ok(outcome) => Ok(*outcome),
        Err(_) => Err(StoreError::Unavailable(
            "an operation has another outcome than it was made with".to_owned(),
        )),
    }
}
