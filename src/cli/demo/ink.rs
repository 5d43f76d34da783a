//! A few colours, where a terminal shows them.

use std::io::{self, IsTerminal};

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Colour,
}

/// What a piece of text is, which is what a colour tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Title,
    Sent,
    Good,
    Refused,
    Name,
    Identity,
    Comment,
}

impl Ink {
    /// Colours for a terminal whose owner has not declined them (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !declined {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        // Of the sixteen basic colours, whose shades each terminal fits to its own background.
        let code = match tone {
            Tone::Title => "1",
            Tone::Sent => "1;36",
            Tone::Good => "32",
            Tone::Refused => "33",
            Tone::Name => "36",
            Tone::Identity => "1;32",
            Tone::Comment => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
