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
    #[error("menshen: {0:#}")]
    Failed(#[from] anyhow::Error),
}

impl CommandError {
    /// Prints it, unless printing is what failed.
    pub(super) fn report(self, err: &mut impl Write) -> io::Result<ExitCode> {
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
