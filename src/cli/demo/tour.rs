//! The tour: what a mini program does in a day, one step after the other, for the terminal.
//!
//! The first false claim ends the tour and the demo.

use anyhow::Context;

use super::{
    error::DemoError,
    mini_program::MiniProgram,
    printer::TourPrinter,
    session::DemoSession,
    step::TOUR,
    step_run::{StepError, StepRunner},
};

/// Runs and prints all steps; returns a session that is still open.
pub(super) async fn run(
    printer: &mut TourPrinter<'_>,
    runner: &StepRunner,
) -> Result<DemoSession, DemoError> {
    let mut program = MiniProgram::of_the_tour();
    for step in TOUR {
        if !step.continues() {
            printer.step(step.title().english, step.why().english)?;
        }
        let (record, result) = runner.run(step, &mut program).await;
        printer.record(&record)?;
        match result {
            Ok(()) => {}
            Err(StepError::ClaimFailed(claim)) => {
                return Err(DemoError::ClaimFailed {
                    step: printer.steps(),
                    claim: claim.english.to_owned(),
                });
            }
            Err(StepError::Other(error)) => return Err(error.into()),
        }
    }
    Ok(program.session.context("the tour ends without a session")?)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{color::Color, sandbox::Sandbox},
        *,
    };

    #[tokio::test]
    async fn a_tour_without_menshen_tells_nothing_and_fails() {
        let sandbox = Sandbox::start().await.unwrap();
        let mut out = Vec::new();
        let backend = sandbox.servers.backend.address().to_string();
        let result = run(
            &mut TourPrinter::new(&mut out, Color::Plain),
            &StepRunner::new(sandbox.servers.clone(), &backend, None),
        )
        .await;
        assert!(
            matches!(result, Err(DemoError::ClaimFailed { step: 1, .. })),
            "{:?}",
            result.err()
        );
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains('✗') && !told.contains('✓'), "{told}");
    }
}
