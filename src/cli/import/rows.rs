//! Reads the rows of users in a file, one at a time.
//!
//! Must stay true: memory is bounded for any file; an error names line and field, never a value,
//! because values are personal.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use super::{
    field::Field,
    format::RowFormat,
    json_row::json_row,
    null_words::NullWords,
    quotes::{QuoteChecker, QuoteError, quote_error},
    row::{RowError, RowOptions, Values},
};
use crate::admin::import::ImportRow;

/// Longest row, in bytes.
const MAX_ROW_LEN: usize = 256 * 1024;

/// A row, or its error.
#[derive(Debug)]
pub(super) struct Row {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    pub(super) read: Result<ImportRow, RowError>,
}

/// Why reading a file ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsReadError {
    /// The header does not name the fields.
    #[error("{0}")]
    Header(String),
    #[error("line {line}: a row of more than {MAX_ROW_LEN} bytes: is a quotation mark not closed?")]
    TooLong { line: u64 },
    #[error(transparent)]
    Quotes(#[from] QuoteError),
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

/// The rows of a file.
pub(super) struct Rows<'a> {
    options: &'a RowOptions,
    source: RowSource<'a>,
    null_words: NullWords,
}

enum RowSource<'a> {
    Table {
        reader: csv::Reader<RowLimit<Box<dyn Read + 'a>>>,
        /// What each column is.
        columns: Vec<Option<Field>>,
        remaining: Rc<Cell<usize>>,
        record: csv::StringRecord,
    },
    Lines {
        reader: BufReader<Box<dyn Read + 'a>>,
        line: u64,
    },
}

impl<'a> Rows<'a> {
    /// Begins to read; the header must be valid.
    pub(super) fn open(
        file: Box<dyn Read + 'a>,
        options: &'a RowOptions,
    ) -> Result<Self, RowsReadError> {
        let null_words = NullWords::default();
        let (delimiter, escape, file): (_, _, Box<dyn Read + 'a>) = match options.format {
            RowFormat::Csv => (b',', None, Box::new(QuoteChecker::new(file, false))),
            RowFormat::MysqlCsv => (b',', Some(b'\\'), Box::new(QuoteChecker::new(file, true))),
            RowFormat::Tsv => (b'\t', None, file),
            RowFormat::Ndjson => {
                return Ok(Self {
                    options,
                    source: RowSource::Lines {
                        reader: BufReader::new(file),
                        line: 0,
                    },
                    null_words,
                });
            }
        };
        let remaining = Rc::new(Cell::new(MAX_ROW_LEN));
        let bounded = RowLimit {
            inner: file,
            remaining: Rc::clone(&remaining),
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(options.format != RowFormat::Tsv)
            .escape(escape)
            .flexible(true)
            // A carriage return is trimmed with the last value; as part of the terminator it would
            // shift line numbers by one.
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(bounded);
        let headers = reader
            .headers()
            .map_err(|error| read_error(error, 1))?
            .clone();
        let columns = columns(headers.iter(), options)?;
        Ok(Self {
            options,
            source: RowSource::Table {
                reader,
                columns,
                remaining,
                record: csv::StringRecord::new(),
            },
            null_words,
        })
    }

    /// The words for NULL so far.
    pub(super) const fn null_words(&self) -> &NullWords {
        &self.null_words
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row>, RowsReadError> {
        let (options, null_words) = (self.options, &mut self.null_words);
        match &mut self.source {
            RowSource::Table {
                reader,
                columns,
                remaining,
                record,
            } => {
                remaining.set(MAX_ROW_LEN);
                let line = reader.position().line();
                match reader.read_record(record) {
                    Ok(false) => Ok(None),
                    Ok(true) => {
                        let line = record.position().map_or(line, csv::Position::line);
                        Ok(Some(Row {
                            line,
                            read: table_row(options, columns, record, null_words),
                        }))
                    }
                    Err(error) => match error.kind() {
                        csv::ErrorKind::Utf8 { pos, .. } => {
                            let line = pos.as_ref().map_or(line, csv::Position::line);
                            Ok(Some(Row {
                                line,
                                read: Err(RowError::row("is not UTF-8")),
                            }))
                        }
                        _ => Err(read_error(error, line)),
                    },
                }
            }
            RowSource::Lines { reader, line } => loop {
                *line += 1;
                let Some(text) = next_line(reader, *line)? else {
                    return Ok(None);
                };
                let text = if *line == 1 {
                    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)
                } else {
                    &text
                };
                if !text.trim_ascii().is_empty() {
                    return Ok(Some(Row {
                        line: *line,
                        read: json_row(options, text, null_words),
                    }));
                }
            },
        }
    }
}

/// Which field each column is.
fn columns<'h>(
    headers: impl Iterator<Item = &'h str>,
    options: &RowOptions,
) -> Result<Vec<Option<Field>>, RowsReadError> {
    let mut columns = Vec::new();
    let mut unknown = Vec::new();
    for header in headers {
        let header = header.trim();
        let field = options.field_of(header);
        if field.is_none() && !options.ignore_others {
            unknown.push(header.escape_debug().to_string());
        }
        if field.is_some() && columns.contains(&field) {
            return Err(RowsReadError::Header(format!(
                "line 1: there are two columns for {}",
                header.escape_debug()
            )));
        }
        columns.push(field);
    }
    if !unknown.is_empty() {
        return Err(RowsReadError::Header(format!(
            "line 1: no field is named {} (fields: {}). Give --column FIELD=COLUMN for each of them, or \
             --ignore-other-columns",
            unknown.join(", "),
            Field::names()
        )));
    }
    if !columns.contains(&Some(Field::Id)) {
        return Err(RowsReadError::Header(
            "line 1: there is no column id (or give --column id=COLUMN)".to_owned(),
        ));
    }
    Ok(columns)
}

fn table_row(
    options: &RowOptions,
    columns: &[Option<Field>],
    record: &csv::StringRecord,
    null_words: &mut NullWords,
) -> Result<ImportRow, RowError> {
    if record.len() != columns.len() {
        return Err(RowError::row(format!(
            "has {} columns in place of {}",
            record.len(),
            columns.len()
        )));
    }
    let mut values = Values::default();
    for (field, text) in columns.iter().zip(record) {
        let Some(field) = field else { continue };
        // Before unescaping: an escaped `\\N` of a TSV is a text.
        if null_words.is_null(*field, text) {
            continue;
        }
        let text = if options.format == RowFormat::Tsv {
            unescape(text)
        } else {
            text.to_owned()
        };
        if !text.trim().is_empty() {
            values.set(*field, text);
        }
    }
    values.into_row(options)
}

/// A value of `mysql --batch`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => plain.push(character),
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

/// One line without its end; `None` at the end of the file.
fn next_line(reader: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>, RowsReadError> {
    let mut text = Vec::new();
    let most = u64::try_from(MAX_ROW_LEN).unwrap_or(u64::MAX);
    if reader.by_ref().take(most).read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    if text.len() >= MAX_ROW_LEN && text.last() != Some(&b'\n') {
        return Err(RowsReadError::TooLong { line });
    }
    Ok(Some(text))
}

/// Limits the bytes of a row; `remaining` is reset for each.
struct RowLimit<R> {
    inner: R,
    remaining: Rc<Cell<usize>>,
}

impl<R: Read> Read for RowLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(remaining) = self.remaining.get().checked_sub(1) else {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        };
        let read = self.inner.read(buffer)?;
        self.remaining.set((remaining + 1).saturating_sub(read));
        Ok(read)
    }
}

fn read_error(error: csv::Error, line: u64) -> RowsReadError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            RowsReadError::TooLong { line }
        }
        csv::ErrorKind::Io(error) => {
            quote_error(&error).map_or(RowsReadError::Io(error), RowsReadError::Quotes)
        }
        csv::ErrorKind::Utf8 { .. } => {
            RowsReadError::Header("line 1: the names of the columns are not UTF-8".to_owned())
        }
        // Other errors may quote the file.
        _ => RowsReadError::Header(format!("line {line}: is not a table")),
    }
}

#[cfg(test)]
mod tests;
