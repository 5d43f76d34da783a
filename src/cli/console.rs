//! What a command reads and writes: the source of the config, standard output and standard error.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use zeroize::Zeroizing;

use super::command_error::CommandError;
use crate::{
    app,
    config::{Config, Loaded, Source},
};

pub(super) struct Console<'a> {
    pub(super) source: &'a Source,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
}

impl Console<'_> {
    /// Loads the config with every check there is, and prints its warnings.
    pub(super) fn load(&mut self) -> Result<Config, CommandError> {
        Ok(self.load_all()?.config)
    }

    pub(super) fn load_all(&mut self) -> Result<Loaded, CommandError> {
        let loaded = Config::load_with(self.source, app::check)?;
        for warning in &loaded.warnings {
            writeln!(self.err, "warning: {warning}")?;
        }
        Ok(loaded)
    }
}

/// Most bytes of a token; the gate's own limit is lower.
const MAX_TOKEN_LEN: u64 = 64 * 1024;

/// The token of the command line; `-` reads it from `input`.
pub(super) fn read_token(given: &str, input: &mut impl Read) -> io::Result<Zeroizing<String>> {
    let mut token = Zeroizing::new(given.to_owned());
    if given == "-" {
        token.clear();
        input.take(MAX_TOKEN_LEN).read_to_string(&mut token)?;
    }
    Ok(token)
}

/// Opens a file, or standard input for `-`.
pub(super) fn open_input(file: &Path) -> io::Result<Box<dyn Read>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(file)?))
}

/// Prints a name and a value a row. The name of rows that follow each other is printed once.
pub(super) struct TextRows<'a> {
    out: &'a mut dyn Write,
    indent: &'static str,
    /// Columns of the name.
    width: usize,
    last: &'static str,
}

impl<'a> TextRows<'a> {
    pub(super) fn new(out: &'a mut dyn Write, indent: &'static str, width: usize) -> Self {
        Self {
            out,
            indent,
            width,
            last: "",
        }
    }

    pub(super) fn row(&mut self, name: &'static str, value: impl Display) -> io::Result<()> {
        let shown = if name == self.last { "" } else { name };
        self.last = name;
        let Self { indent, width, .. } = *self;
        writeln!(self.out, "{indent}{shown:<width$} {value}")
    }

    /// A row for each value.
    pub(super) fn rows(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = impl Display>,
    ) -> io::Result<()> {
        values
            .into_iter()
            .try_for_each(|value| self.row(name, value))
    }
}
