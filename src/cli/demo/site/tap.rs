//! A tap, and what came of it.

use super::super::{
    record::{Exchange, StepEvent, StepRecord},
    step::Step,
    step_run::StepError,
    text::Text,
};

pub(super) struct Tap {
    /// From 1.
    pub(super) number: usize,
    pub(super) outcome: TapOutcome,
}

pub(super) enum TapOutcome {
    /// The step has run; `error` says why it could not to its end.
    Ran {
        record: StepRecord,
        error: Option<String>,
    },
    /// The step could not be taken then, and nothing was sent.
    Obstacle { step: Step, reason: Text },
}

impl TapOutcome {
    /// A claim that is false is in the record.
    pub(super) fn from_run(record: StepRecord, result: Result<(), StepError>) -> Self {
        let error = match result {
            Ok(()) | Err(StepError::ClaimFailed(_)) => None,
            Err(error @ StepError::Other(_)) => Some(error.to_string()),
        };
        Self::Ran { record, error }
    }
}

impl Tap {
    pub(super) const fn step(&self) -> Step {
        match &self.outcome {
            TapOutcome::Ran { record, .. } => record.step,
            TapOutcome::Obstacle { step, .. } => *step,
        }
    }

    /// The request that the story ends with.
    pub(super) fn last_exchange(&self) -> Option<&Exchange> {
        let TapOutcome::Ran { record, .. } = &self.outcome else {
            return None;
        };
        record.events.iter().rev().find_map(|event| match event {
            StepEvent::Exchange(exchange) => Some(&**exchange),
            StepEvent::Claim { .. } => None,
        })
    }
}
