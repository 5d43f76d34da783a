//! Colors for terminals that show them.

use std::io::{self, IsTerminal};

/// Whether the output has colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    Plain,
    Ansi,
}

/// What a piece of text is, which decides its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Title,
    Sent,
    Good,
    Refused,
    Name,
    Identity,
    Comment,
}

impl Color {
    /// Colors for a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn for_stdout() -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !declined {
            Self::Ansi
        } else {
            Self::Plain
        }
    }

    pub(super) fn paint(self, style: Style, text: &str) -> String {
        // Of the sixteen basic colors, which each terminal adapts to its background.
        let code = match style {
            Style::Title => "1",
            Style::Sent => "1;36",
            Style::Good => "32",
            Style::Refused => "33",
            Style::Name => "36",
            Style::Identity => "1;32",
            Style::Comment => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
