//! Operations without the types of their outcomes, so that what runs them is compiled once and not
//! for each of them.

use std::any::Any;

use crate::store::{error::EngineError, operations::transaction::Transaction};

/// What an operation came to.
pub(super) type Outcome = Box<dyn Any + Send>;

/// An operation. It is run as often as it takes.
pub(super) type Operation =
    dyn Fn(&mut Transaction<'_>) -> Result<Outcome, EngineError> + Send + Sync;

/// An operation whose outcome is a `T`.
pub(super) fn untyped<T: Send + 'static>(
    operation: impl Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
) -> Box<Operation> {
    Box::new(move |tx| Ok(Box::new(operation(tx)?)))
}

/// The outcome of an operation that was made of one with this type.
pub(super) fn typed<T: 'static>(outcome: Outcome) -> Result<T, EngineError> {
    match outcome.downcast() {
        Ok(outcome) => Ok(*outcome),
        Err(_) => Err(EngineError::Fault(
            "an operation has another outcome than it was made with".to_owned(),
        )),
    }
}
