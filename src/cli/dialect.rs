//! `menshen dialect NAME`: a built-in dialect as one in config alone, to start another from.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;

use crate::{config::DialectKind, dialect};

/// The dialects that are built in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Builtin {
    Simplejwt,
    Nest,
    SuccessData,
    CodeData,
}

impl Builtin {
    const fn kind(self) -> DialectKind {
        match self {
            Self::Simplejwt => DialectKind::Simplejwt,
            Self::Nest => DialectKind::Nest,
            Self::SuccessData => DialectKind::SuccessData,
            Self::CodeData => DialectKind::CodeData,
        }
    }
}

pub(super) fn run(which: Builtin, out: &mut impl Write) -> io::Result<ExitCode> {
    out.write_all(dialect::source(which.kind()).unwrap_or_default().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
