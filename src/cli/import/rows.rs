//! Rows of users in a file, read one at a time.
//!
//! Must stay true: memory is bounded whatever the file holds; what is wrong with a row is told by
//! line and field, never by value, because the values are personal.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use serde_json::Value;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

use super::{
    Format,
    field::Field,
    null_words::NullWords,
    quotes::{QuoteChecker, QuoteError, quote_error},
};
use crate::admin::import::ImportRow;

/// Longest row, in bytes.
const MAX_ROW_LEN: usize = 256 * 1024;

/// How to read a file.
#[derive(Debug)]
pub(super) struct RowOptions {
    pub(super) format: Format,
    /// The app id of openids that come without.
    pub(super) app_id: Option<String>,
    pub(super) columns: Vec<(Field, String)>,
    pub(super) ignore_others: bool,
    /// Seconds east of UTC, of times that say no zone.
    pub(super) utc_offset: i32,
}

/// A row, or why it is none.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it begins, from 1.
    pub(super) line: u64,
    pub(super) read: Result<ImportRow, RowError>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowError {
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
}

/// Why a file cannot be read (on).
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The names of the columns are not those of fields.
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
    /// Begins to read; the header has to be right.
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
            // A carriage return before it is trimmed with the last value; as part of the end it
            // would put lines out by one.
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

    /// What was taken for nothing so far.
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
        let field = field_of(header, options);
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

/// The field that a column stands for.
fn field_of(column: &str, options: &RowOptions) -> Option<Field> {
    let renamed = options
        .columns
        .iter()
        .find(|(_, name)| name == column)
        .map(|(field, _)| *field);
    let is_elsewhere = |field: &Field| options.columns.iter().any(|(renamed, _)| renamed == field);
    renamed
        .or_else(|| Field::named(&column.to_ascii_lowercase()).filter(|field| !is_elsewhere(field)))
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
        // As it stands in the file: an escaped `\\N` of a TSV is a text.
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
    values.row(options)
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

fn json_row(
    options: &RowOptions,
    text: &[u8],
    null_words: &mut NullWords,
) -> Result<ImportRow, RowError> {
    let Ok(Value::Object(members)) = serde_json::from_slice(text) else {
        return Err(RowError::row("is not a JSON object in UTF-8"));
    };
    let mut values = Values::default();
    for (name, value) in &members {
        if name == "openids"
            && !options
                .columns
                .iter()
                .any(|(_, column)| column == "openids")
        {
            values.openids = openids(value).ok_or_else(|| {
                RowError::field(
                    "openids",
                    "must be a list of objects with app_id and openid",
                )
            })?;
            continue;
        }
        let Some(field) = field_of(name, options) else {
            if options.ignore_others {
                continue;
            }
            return Err(RowError::row(
                "has a field of another name: say --column FIELD=NAME, or --ignore-other-columns",
            ));
        };
        match scalar(value, field) {
            // JSON has a `null` of its own, so a name may be that word; an identity is none.
            Ok(Some(text)) if field == Field::Nickname && text.trim().is_empty() => {}
            Ok(Some(text)) if field != Field::Nickname && null_words.is_null(field, &text) => {}
            Ok(Some(text)) => {
                if values.texts.contains_key(&field) {
                    return Err(RowError::field(field.name(), "is there twice"));
                }
                values.set(field, text);
            }
            Ok(None) => {}
            Err(message) => return Err(RowError::field(field.name(), message)),
        }
    }
    values.row(options)
}

fn openids(value: &Value) -> Option<Vec<(String, String)>> {
    let one = |value: &Value| {
        Some((
            value.get("app_id")?.as_str()?.to_owned(),
            value.get("openid")?.as_str()?.to_owned(),
        ))
    };
    value.as_array()?.iter().map(one).collect()
}

/// A value as text; also as `mongoexport` writes ids, times and numbers.
fn scalar(value: &Value, field: Field) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Array(items) if field == Field::Roles => {
            let roles: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            Ok(Some(roles.ok_or("must be texts")?.join(",")))
        }
        Value::Object(inner) if inner.len() == 1 => {
            let known = ["$oid", "$date", "$numberLong", "$numberInt"]
                .iter()
                .find_map(|name| inner.get(*name));
            known.map_or(Err("must be a text or a number"), |inner| {
                scalar(inner, field)
            })
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err("must be a text or a number"),
    }
}

/// The values of one row.
#[derive(Default)]
struct Values {
    texts: BTreeMap<Field, String>,
    openids: Vec<(String, String)>,
}

impl Values {
    fn set(&mut self, field: Field, text: String) {
        self.texts.insert(field, text);
    }

    fn take(&mut self, field: Field) -> Option<String> {
        self.texts.remove(&field).map(|text| text.trim().to_owned())
    }

    fn row(mut self, options: &RowOptions) -> Result<ImportRow, RowError> {
        let id = self
            .take(Field::Id)
            .ok_or_else(|| RowError::field("id", "is missing"))?;
        let app_id = self.take(Field::AppId).or_else(|| options.app_id.clone());
        let mut openids = std::mem::take(&mut self.openids);
        if let Some(openid) = self.take(Field::OpenId) {
            let message =
                "is missing, and the config has not just one mini program (or say --app-id)";
            openids.push((
                app_id.ok_or_else(|| RowError::field("app_id", message))?,
                openid,
            ));
        }
        let created_at = self
            .take(Field::CreatedAt)
            .map(|text| parse_time(&text, options.utc_offset))
            .transpose();
        let roles = self.take(Field::Roles).unwrap_or_default();
        Ok(ImportRow {
            id,
            openids,
            unionid: self.take(Field::UnionId),
            phone: self.take(Field::Phone),
            nickname: self.take(Field::Nickname),
            avatar_url: self.take(Field::AvatarUrl),
            user_type: self.take(Field::UserType),
            roles: roles
                .split(',')
                .map(str::trim)
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            created_at: created_at.map_err(|message| RowError::field("created_at", message))?,
        })
    }
}

impl RowError {
    fn row(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }

    fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            message: message.into(),
        }
    }
}

/// A time in milliseconds: RFC 3339, what databases print (`2024-01-02 03:04:05.6+08`), a date, or
/// Unix seconds or milliseconds.
fn parse_time(text: &str, utc_offset: i32) -> Result<u64, &'static str> {
    const MESSAGE: &str = "must be a time such as 2024-01-02T03:04:05Z, 2024-01-02 03:04:05, or Unix seconds or milliseconds";
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number: u64 = text.parse().map_err(|_| MESSAGE)?;
        // Seconds have ten digits until the year 2286, milliseconds twelve or more since 1973.
        return if text.len() <= 11 {
            number.checked_mul(1000).ok_or(MESSAGE)
        } else {
            Ok(number)
        };
    }
    parse_date_time(text, utc_offset).ok_or(MESSAGE)
}

fn parse_date_time(text: &str, utc_offset: i32) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u16>().ok())?
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(u8::try_from(number(month)?).ok()?).ok()?;
    let date = Date::from_calendar_date(
        i32::from(number(year)?),
        month,
        u8::try_from(number(day)?).ok()?,
    )
    .ok()?;
    let (time, parse_offset) = match rest.strip_prefix(['T', ' ']) {
        None if rest.is_empty() => (Time::MIDNIGHT, utc_offset),
        None => return None,
        Some(rest) => {
            let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
            let (clock, zone) = rest.split_at(end);
            (parse_clock(clock)?, parse_zone(zone.trim(), utc_offset)?)
        }
    };
    let parse_offset = UtcOffset::from_whole_seconds(parse_offset).ok()?;
    let millis = PrimitiveDateTime::new(date, time)
        .assume_offset(parse_offset)
        .unix_timestamp_nanos()
        / 1_000_000;
    u64::try_from(millis).ok()
}

fn parse_clock(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole
        .split(':')
        .map(|part| part.parse::<u8>().ok().filter(|_| part.len() == 2));
    let (hour, minute, second) = (
        parts.next()??,
        parts.next()??,
        parts.next().unwrap_or(Some(0))?,
    );
    if parts.next().is_some()
        || fraction.is_empty()
        || !fraction.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let millis: u16 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Time::from_hms_milli(hour, minute, second, millis).ok()
}

fn parse_zone(text: &str, default: i32) -> Option<i32> {
    match text {
        "" => Some(default),
        "Z" | "z" | "UTC" => Some(0),
        text => parse_offset(text).ok(),
    }
}

/// Seconds east of UTC: `+08:00`, `+08`, `-0330`.
pub(super) fn parse_offset(text: &str) -> Result<i32, String> {
    let read = || {
        let (character, digits) = match text.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        };
        let digits = digits.replace(':', "");
        let number = |part: Option<&str>| part?.parse::<i32>().ok();
        let (hours, minutes) = match digits.len() {
            2 => (number(digits.get(..2))?, 0),
            4 => (number(digits.get(..2))?, number(digits.get(2..))?),
            _ => return None,
        };
        (digits.bytes().all(|b| b.is_ascii_digit()) && hours <= 14 && minutes < 60)
            .then_some(character * (hours * 3600 + minutes * 60))
    };
    read().ok_or_else(|| "must be an offset from UTC such as +08:00".to_owned())
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

/// Reads no more than there is room for, which is made anew for each row.
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
        // The text of the others may quote the file.
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
    fn times_are_read_as_databases_print_them() {
        for (text, millis) in [
            ("2024-01-02T03:04:05Z", 1_704_164_645_000),
            ("2024-01-02 03:04:05", 1_704_135_845_000),
            ("2024-01-02 03:04", 1_704_135_840_000),
            ("2024-01-02 03:04:05.6", 1_704_135_845_600),
            ("2024-01-02 03:04:05.678901+00", 1_704_164_645_678),
            ("2024-01-02T03:04:05.678+0000", 1_704_164_645_678),
            ("2024-01-02 03:04:05 UTC", 1_704_164_645_000),
            ("2024-01-02", 1_704_124_800_000),
            ("1704164645", 1_704_164_645_000),
            ("1704164645678", 1_704_164_645_678),
        ] {
            assert_eq!(parse_time(text, 8 * 3600), Ok(millis), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2024-13-01",
            "2024-01-02 25:00:00",
            "2024-01-02T",
            "2024-01-02 03:04:05.",
            "0000-00-00 00:00:00",
            "1969-01-01",
            "字字字字",
        ] {
            assert!(parse_time(text, 0).is_err(), "{text}");
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
