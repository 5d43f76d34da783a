//! Why the demo ends early.

use std::io;

/// Why the demo ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// A claim of the tour is not true.
    #[error("step {step} did not go as promised: this is not so: {claim}")]
    ClaimFailed { step: usize, claim: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}
