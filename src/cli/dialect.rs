//! `menshen dialect NAME`: a built-in dialect as a custom one, to start another from.

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
    /// Its document.
    pub(super) fn source(self) -> &'static str {
        let kind = match self {
            Self::Simplejwt => DialectKind::Simplejwt,
            Self::Nest => DialectKind::Nest,
            Self::SuccessData => DialectKind::SuccessData,
            Self::CodeData => DialectKind::CodeData,
        };
        dialect::source(kind).unwrap_or_default()
    }
}
