//! How a command ends without success: what is printed, and the exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::config::Problems;

/// Exit code for an invalid config or usage (`EX_USAGE` of BSD's sysexits.h).
pub const BAD_USAGE: u8 = 64;

/// An exit code, or why there is none yet.
pub(super) type CommandResult = Result<ExitCode, CommandError>;

#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// Exit code 64 after all problems.
    #[error(transparent)]
    Config(#[from] Problems),
    /// Exit code 64 after this text.
    #[error("menshen: {0}")]
    Usage(String),
    /// Exit code 1.
    #[error("menshen: {}", with_causes(.0))]
    Failed(#[from] anyhow::Error),
}

/// Success, or exit code 1.
pub(super) fn exit_code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl CommandError {
    /// Prints it, unless printing is what failed.
    pub(super) fn report(self, err: &mut dyn Write) -> io::Result<ExitCode> {
        let message = self.to_string();
        let code = match self {
            Self::Output(error) => return Err(error),
            Self::Config(_) | Self::Usage(_) => ExitCode::from(BAD_USAGE),
            Self::Failed(_) => ExitCode::FAILURE,
        };
        writeln!(err, "{message}")?;
        Ok(code)
    }
}

/// The error and its causes; a cause that the text before it ends with is not repeated.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            text if text.ends_with(&cause) => text.to_owned(),
            text => format!("{text}: {cause}"),
        }
    })
}
