//! Checks quotation marks in CSV (RFC 4180) before the CSV reader sees them.
//!
//! That reader accepts anything and guesses: with the `\"` of MySQL in place of `""` values end
//! early and rows are merged. Ambiguous quotation marks are refused here, with their line.

use std::io::{self, Read};

/// A quotation mark that RFC 4180 does not allow there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub(super) struct QuoteError {
    line: u64,
    kind: QuoteErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum QuoteErrorKind {
    #[error("has \\\", as MySQL writes a quotation mark: say --format mysql-csv")]
    Backslash,
    #[error("has a quotation mark between quotation marks that is not doubled")]
    NotDoubled,
    #[error("begins a value with a quotation mark that is not closed")]
    NotClosed,
}

/// Passes on the bytes of a table, up to the first invalid quotation mark.
pub(super) struct QuoteChecker<R> {
    inner: R,
    /// Within quotation marks a backslash escapes the next character.
    has_escapes: bool,
    state: QuoteState,
    /// Bytes of the byte order mark that have been read; its length: the table follows.
    mark: usize,
    line: u64,
    /// The line where the quoted value begins, and whether it has `\"`.
    opened: u64,
    has_backslash_quote: bool,
    before: u8,
    error: Option<QuoteError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QuoteState {
    Start,
    Plain,
    Quoted,
    /// After a backslash between quotation marks.
    Escaped,
    /// After a quotation mark that ends the value, or is the first of two.
    Mark,
    /// After the carriage return behind that.
    Return,
}

const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";

impl<R> QuoteChecker<R> {
    pub(super) const fn new(inner: R, has_escapes: bool) -> Self {
        Self {
            inner,
            has_escapes,
            state: QuoteState::Start,
            mark: 0,
            line: 1,
            opened: 1,
            has_backslash_quote: false,
            before: 0,
            error: None,
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), QuoteError> {
        if BYTE_ORDER_MARK.get(self.mark) == Some(&byte) {
            self.mark += 1;
            return Ok(());
        }
        self.mark = BYTE_ORDER_MARK.len();
        let after_backslash = self.before == b'\\';
        self.state = match (self.state, byte) {
            (QuoteState::Start, b'"') => {
                (self.opened, self.has_backslash_quote) = (self.line, false);
                QuoteState::Quoted
            }
            (QuoteState::Plain, b'"') if after_backslash => {
                return Err(self.error_at(self.line, QuoteErrorKind::Backslash));
            }
            (QuoteState::Start | QuoteState::Plain | QuoteState::Mark, b',' | b'\n')
            | (QuoteState::Return, b'\n') => QuoteState::Start,
            (QuoteState::Start | QuoteState::Plain, _) => QuoteState::Plain,
            (QuoteState::Quoted, b'\\') if self.has_escapes => QuoteState::Escaped,
            (QuoteState::Quoted, b'"') => {
                self.has_backslash_quote |= after_backslash;
                QuoteState::Mark
            }
            (QuoteState::Quoted | QuoteState::Escaped, _) | (QuoteState::Mark, b'"') => {
                QuoteState::Quoted
            }
            (QuoteState::Mark, b'\r') => QuoteState::Return,
            (QuoteState::Mark | QuoteState::Return, _) => {
                return Err(self.error_at(self.line, QuoteErrorKind::NotDoubled));
            }
        };
        // An escaped backslash is no escape.
        self.before = if self.has_escapes { 0 } else { byte };
        self.line += u64::from(byte == b'\n');
        Ok(())
    }

    /// At the end of the file.
    fn end(&self) -> Result<(), QuoteError> {
        match self.state {
            QuoteState::Quoted | QuoteState::Escaped => {
                Err(self.error_at(self.opened, QuoteErrorKind::NotClosed))
            }
            QuoteState::Start | QuoteState::Plain | QuoteState::Mark | QuoteState::Return => Ok(()),
        }
    }

    const fn error_at(&self, line: u64, kind: QuoteErrorKind) -> QuoteError {
        let kind = if self.has_backslash_quote {
            QuoteErrorKind::Backslash
        } else {
            kind
        };
        QuoteError { line, kind }
    }
}

impl<R: Read> Read for QuoteChecker<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.error {
            return Err(io::Error::other(error));
        }
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            return self.end().map(|()| 0).map_err(io::Error::other);
        }
        for (n, byte) in buffer[..read].iter().enumerate() {
            if let Err(error) = self.step(*byte) {
                self.error = Some(error);
                // The rows before it are read first.
                return if n == 0 {
                    Err(io::Error::other(error))
                } else {
                    Ok(n)
                };
            }
        }
        Ok(read)
    }
}

/// The quotation mark error behind an I/O error, if it is one.
pub(super) fn quote_error(error: &io::Error) -> Option<QuoteError> {
    error.get_ref()?.downcast_ref().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes pass, and what is wrong with the next.
    fn read(text: &str, has_escapes: bool) -> (usize, Option<String>) {
        let mut passed = Vec::new();
        let mut quotes = QuoteChecker::new(text.as_bytes(), has_escapes);
        let end = quotes.read_to_end(&mut passed);
        assert_eq!(text.as_bytes()[..passed.len()], passed);
        (
            passed.len(),
            end.err()
                .map(|error| quote_error(&error).unwrap().to_string()),
        )
    }

    #[test]
    fn what_rfc_4180_has_passes() {
        for text in [
            "",
            "a,b\n1,2\n",
            "\u{feff}\"a\",\"b\"\r\n\"1\",\"2\"\r\n",
            "\"a \"\"b\"\" c\",\"\"\"\",\"\"\n",
            "\"two\nlines, and a comma\",x",
            // A backslash at the end of a value is a backslash.
            "\"C:\\\",x\n\"C:\\\"\n",
            // Not of the RFC, but read in one way: the marks are part of a value without marks.
            "5\" pipe, \"x\"\n",
        ] {
            assert_eq!(read(text, false), (text.len(), None), "{text:?}");
        }
    }

    #[test]
    fn a_quotation_mark_that_would_have_to_be_guessed_is_refused_with_its_line() {
        let backslash = "has \\\", as MySQL writes a quotation mark: say --format mysql-csv";
        let not_doubled = "has a quotation mark between quotation marks that is not doubled";
        let not_closed = "begins a value with a quotation mark that is not closed";
        for (text, line, says) in [
            ("id,n\n1,\"a \\\"b\\\" c\"\n", 2, backslash),
            // Where the mark ends a value by the RFC the next one tells.
            ("id,n\n1,\"a \\\"\"\n2,\"b\"\n", 3, backslash),
            ("id,n\n1,\"a \\\"\"\n2,b\n", 2, backslash),
            ("id,n\n1,\"a\\\",b\\\"c\"\n", 2, backslash),
            ("id,n\n1,a\\\"b\n", 2, backslash),
            ("id,n\n1,\"a\"b\n", 2, not_doubled),
            ("id,n\n1,\"a\" ,x\n", 2, not_doubled),
            ("id,n\n1,\"a\"\rb\n", 2, not_doubled),
            ("id,n\n1,\"a\n2,b\n", 2, not_closed),
            ("\"", 1, not_closed),
        ] {
            let (passed, error) = read(text, false);
            assert_eq!(error, Some(format!("line {line}: {says}")), "{text:?}");
            assert!(
                passed >= text.find('\n').map_or(1, |end| end + 1),
                "{text:?}: what stands before it passes"
            );
        }
    }

    #[test]
    fn what_mysql_writes_passes_where_it_is_asked_for() {
        let text = "1,\"a \\\"b\\\" c\",\\N\n2,\"C:\\\\\",\"\"\"\"\n3,\"\\\"\",\"two\nlines\"\n";
        assert_eq!(read(text, true), (text.len(), None));
        let (_, error) = read("1,\"a\\\"\n", true);
        assert_eq!(
            error.unwrap(),
            "line 1: begins a value with a quotation mark that is not closed"
        );
    }
}
