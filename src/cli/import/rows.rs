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
    format::Format,
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
pub(super) enum ReadError {
    /// The header does not name the fields.
    #[error("{0}")]
    Header(String),
    #[error("line {line}: a row of more than {MAX_ROW_LEN} bytes: is a quotation mark not closed?")]
    TooLong { line: u64 },
    #[error(transparent)]
    QuoteChecker(#[from] QuoteError),
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
    ) -> Result<Self, ReadError> {
        let null_words = NullWords::default();
        let (delimiter, escape, file): (_, _, Box<dyn Read + 'a>) = match options.format {
            Format::Csv => (b',', None, Box::new(QuoteChecker::new(file, false))),
            Format::MysqlCsv => (b',', Some(b'\\'), Box::new(QuoteChecker::new(file, true))),
            Format::Tsv => (b'\t', None, file),
            Format::Ndjson => {
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
            .quoting(options.format != Format::Tsv)
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
    pub(super) fn next(&mut self) -> Result<Option<Row>, ReadError> {
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
) -> Result<Vec<Option<Field>>, ReadError> {
    let mut columns = Vec::new();
    let mut unknown = Vec::new();
    for header in headers {
        let header = header.trim();
        let field = options.field_of(header);
        if field.is_none() && !options.ignore_others {
            unknown.push(header.escape_debug().to_string());
        }
        if field.is_some() && columns.contains(&field) {
            return Err(ReadError::Header(format!(
                "line 1: there are two columns for {}",
                header.escape_debug()
            )));
        }
        columns.push(field);
    }
    if !unknown.is_empty() {
        return Err(ReadError::Header(format!(
            "line 1: no field is named {} (fields: {}). Say --column FIELD=COLUMN for each that is meant, or \
             --ignore-other-columns",
            unknown.join(", "),
            Field::names()
        )));
    }
    if !columns.contains(&Some(Field::Id)) {
        return Err(ReadError::Header(
            "line 1: there is no column id (or say --column id=COLUMN)".to_owned(),
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
        let text = if options.format == Format::Tsv {
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
fn next_line(reader: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let mut text = Vec::new();
    let most = u64::try_from(MAX_ROW_LEN).unwrap_or(u64::MAX);
    if reader.by_ref().take(most).read_until(b'\n', &mut text)? == 0 {
        return Ok(None);
    }
    if text.len() >= MAX_ROW_LEN && text.last() != Some(&b'\n') {
        return Err(ReadError::TooLong { line });
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

fn read_error(error: csv::Error, line: u64) -> ReadError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            ReadError::TooLong { line }
        }
        csv::ErrorKind::Io(error) => {
            quote_error(&error).map_or(ReadError::Io(error), ReadError::QuoteChecker)
        }
        csv::ErrorKind::Utf8 { .. } => {
            ReadError::Header("line 1: the names of the columns are not UTF-8".to_owned())
        }
        // Other errors may quote the file.
        _ => ReadError::Header(format!("line {line}: is not a table")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(format: Format) -> RowOptions {
        RowOptions {
            format,
            app_id: Some("wx1".to_owned()),
            columns: Vec::new(),
            ignore_others: false,
            utc_offset: 0,
        }
    }

    fn read(text: &[u8], options: &RowOptions) -> Vec<Row> {
        let mut rows = Rows::open(Box::new(text), options).unwrap();
        std::iter::from_fn(|| rows.next().unwrap()).collect()
    }

    fn error(row: &Row) -> (u64, Option<&'static str>, &str) {
        let error = row.read.as_ref().unwrap_err();
        (row.line, error.field, &error.message)
    }

    #[test]
    fn a_table_is_read_with_its_lines() {
        let text = "\u{feff}id,openid,Phone,nickname,roles\r\n17,oA,13800138000,\"a, \"\"b\"\"\nc\",\"x, y\"\r\n18,,,,\r\n19,1\r\n";
        let rows = read(text.as_bytes(), &options(Format::Csv));
        let first = rows[0].read.as_ref().unwrap();
        assert_eq!((rows[0].line, first.id.as_str()), (2, "17"));
        assert_eq!(first.openids, [("wx1".to_owned(), "oA".to_owned())]);
        assert_eq!(first.nickname.as_deref(), Some("a, \"b\"\nc"));
        assert_eq!(first.roles, ["x", "y"]);
        let second = rows[1].read.as_ref().unwrap();
        assert_eq!(
            (rows[1].line, second.phone.as_deref(), second.openids.len()),
            (4, None, 0)
        );
        assert_eq!(error(&rows[2]), (5, None, "has 2 columns in place of 5"));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_row_in_another_encoding_is_one_wrong_row() {
        let rows = read(
            b"id,nickname\n1,\xd0\xa1\xc3\xf7\n2,ok\n",
            &options(Format::Csv),
        );
        assert_eq!(error(&rows[0]), (2, None, "is not UTF-8"));
        assert_eq!(rows[1].read.as_ref().unwrap().id, "2");
    }

    #[test]
    fn what_mysql_prints_is_read() {
        let rows = read(
            b"id\topenid\tnickname\n17\tNULL\ta\\tb\\\\\"\n",
            &options(Format::Tsv),
        );
        let row = rows[0].read.as_ref().unwrap();
        assert_eq!(
            (row.openids.len(), row.nickname.as_deref()),
            (0, Some("a\tb\\\""))
        );
    }

    /// Each way to write nothing in each format, and what is a text although it looks like one.
    #[test]
    fn nothing_is_nothing_in_every_format() {
        let header = "id,openid,unionid,phone,nickname,avatar_url,user_type,roles,created_at\n";
        for word in [
            "NULL", "null", "\\N", "", " ", "\"NULL\"", "\"\\N\"", "\"\"",
        ] {
            let text = format!("{header}17{}\n", format!(",{word}").repeat(8));
            for format in [Format::Csv, Format::MysqlCsv, Format::Tsv] {
                let (text, is_quoted) = (
                    text.replace(',', if format == Format::Tsv { "\t" } else { "," }),
                    word.contains('"'),
                );
                // A TSV has no quotation marks, and in MySQL's an escape between them is one.
                if is_quoted
                    && (format == Format::Tsv
                        || (format == Format::MysqlCsv && word.contains('\\')))
                {
                    continue;
                }
                let options = options(format);
                let mut rows = Rows::open(Box::new(text.as_bytes()), &options).unwrap();
                let row = rows.next().unwrap().unwrap().read.unwrap();
                let expected = ImportRow {
                    id: "17".to_owned(),
                    ..ImportRow::default()
                };
                let [row, expected] =
                    [&row, &expected].map(|row| serde_json::to_value(row).unwrap());
                assert_eq!(row, expected, "{format:?} {word:?}");
                let counted = rows.null_words().summary().unwrap_or_default();
                let word = word.trim_matches('"').trim();
                let expected = if word.is_empty() {
                    String::new()
                } else {
                    format!("openid 1 {word}; unionid 1 {word}")
                };
                assert!(
                    counted.starts_with(&expected) && counted.is_empty() == word.is_empty(),
                    "{format:?} {word:?}: {counted}"
                );
            }
        }
        let rows = read(b"id\nNULL\n\\N\nnull\n", &options(Format::Csv));
        assert!(
            rows.iter().all(|row| error(row).1 == Some("id")),
            "no user is called so"
        );
        let options = options(Format::Ndjson);
        let text = br#"{"id":"1","openid":"NULL","unionid":"\\N","phone":null,"nickname":"null","avatar_url":""}
{"id":"NULL"}"#;
        let mut rows = Rows::open(Box::new(&text[..]), &options).unwrap();
        let row = rows.next().unwrap().unwrap().read.unwrap();
        assert_eq!(
            (row.openids.len(), row.unionid, row.nickname.as_deref()),
            (0, None, Some("null"))
        );
        assert_eq!(error(&rows.next().unwrap().unwrap()).1, Some("id"));
        assert_eq!(
            rows.null_words().summary().as_deref(),
            Some("id 1 NULL; openid 1 NULL; unionid 1 \\N")
        );
        // An escaped backslash of a TSV.
        let rows = read(b"id\tnickname\n17\t\\\\N\n", &self::options(Format::Tsv));
        assert_eq!(
            rows[0].read.as_ref().unwrap().nickname.as_deref(),
            Some("\\N")
        );
    }

    #[test]
    fn what_mysql_writes_into_a_file_is_read_where_it_is_asked_for_and_else_refused() {
        let text =
            "id,nickname,unionid\n\"1\",\"say \\\"hi\\\", 小明\",\\N\n\"2\",\"C:\\\\\",\\N\n";
        let rows = read(text.as_bytes(), &options(Format::MysqlCsv));
        let names: Vec<_> = rows
            .iter()
            .map(|row| row.read.as_ref().unwrap().nickname.as_deref().unwrap())
            .collect();
        assert_eq!(names, ["say \"hi\", 小明", "C:\\"]);
        let options = options(Format::Csv);
        let text = format!(
            "id,nickname,unionid\n0,ok,\n{}",
            text.split_once('\n').unwrap().1
        );
        let mut rows = Rows::open(Box::new(text.as_bytes()), &options).unwrap();
        assert_eq!(
            rows.next().unwrap().unwrap().read.unwrap().id,
            "0",
            "what stands before it is read"
        );
        let error = rows.next().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: has \\\", as MySQL writes a quotation mark: say --format mysql-csv"
        );
    }

    #[test]
    fn what_mongoexport_writes_is_read() {
        let mut options = options(Format::Ndjson);
        options.columns = vec![
            (Field::Id, "_id".to_owned()),
            (Field::CreatedAt, "createdAt".to_owned()),
        ];
        options.ignore_others = true;
        let text = br#"{"_id":{"$oid":"65f0c0ffee00000000000017"},"phone":13800138000,"createdAt":{"$date":"2024-01-02T03:04:05.678Z"},"__v":0}

{"_id":"b","openids":[{"app_id":"wx2","openid":"oB"}],"roles":["a","b"],"openid":null}
["no"]"#;
        let rows = read(text, &options);
        let first = rows[0].read.as_ref().unwrap();
        assert_eq!(
            (first.id.as_str(), first.phone.as_deref()),
            ("65f0c0ffee00000000000017", Some("13800138000"))
        );
        assert_eq!(first.created_at, Some(1_704_164_645_678));
        let second = rows[1].read.as_ref().unwrap();
        assert_eq!(
            (rows[1].line, &second.openids, second.roles.len()),
            (3, &vec![("wx2".to_owned(), "oB".to_owned())], 2)
        );
        assert_eq!(error(&rows[2]).0, 4);
    }

    #[test]
    fn a_header_has_to_name_fields() {
        for (header, message) in [
            ("openid\n", "no column id"),
            ("id,opened\n", "opened"),
            ("id,id\n", "two columns"),
            ("", "no"),
        ] {
            let options = options(Format::Csv);
            let error = Rows::open(Box::new(header.as_bytes()), &options)
                .err()
                .unwrap();
            assert!(error.to_string().contains(message), "{header:?}: {error}");
        }
        let mut options = options(Format::Csv);
        options.columns = vec![(Field::Id, "uid".to_owned())];
        options.ignore_others = true;
        let rows = read(b"id,uid\nold,17\n", &options);
        assert_eq!(
            rows[0].read.as_ref().unwrap().id,
            "17",
            "the column that was named, not its namesake"
        );
    }

    #[test]
    fn a_row_without_end_takes_no_memory_without_end() {
        for (format, head) in [(Format::Csv, "id\n\""), (Format::Ndjson, "{\"id\":\"")] {
            let options = options(format);
            let file = head.as_bytes().chain(io::repeat(b'x').take(1 << 30));
            let mut rows = Rows::open(Box::new(file), &options).unwrap();
            assert!(
                matches!(rows.next(), Err(ReadError::TooLong { .. })),
                "{format:?}"
            );
        }
    }

    #[test]
    fn an_openid_needs_an_app() {
        let options = RowOptions {
            app_id: None,
            ..options(Format::Csv)
        };
        let rows = read(b"id,openid\n1,oA\n2,\n", &options);
        assert_eq!(error(&rows[0]).1, Some("app_id"));
        assert!(rows[1].read.is_ok());
    }
}
