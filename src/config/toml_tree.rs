//! TOML text as a tree of values that know their line. The only place that reads TOML.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, TableLike, Value};

use super::problems::ValueOrigin;

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TomlNode {
    pub(super) origin: ValueOrigin,
    pub(super) value: TomlValue,
}

/// A value of the file, before it is validated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TomlValue {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Float,
    Datetime,
    List(Vec<TomlNode>),
    Table(BTreeMap<String, TomlNode>),
}

impl TomlValue {
    /// The type for a message.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Boolean(_) => "true or false",
            Self::Float => "a number with a fraction",
            Self::Datetime => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Why a text is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TomlError {
    pub(super) line: usize,
    /// In characters, counted from 1.
    pub(super) column: usize,
    pub(super) message: String,
}

/// Parses a document up to its first syntax error.
pub(super) fn parse(text: &str) -> Result<TomlNode, TomlError> {
    let lines = LineIndex::new(text);
    let document = Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        TomlError {
            line: lines.at(at),
            column: column(text, at),
            message: error.message().replace('\n', ", "),
        }
    })?;
    Ok(TomlNode {
        origin: ValueOrigin::Nowhere,
        value: table(document.as_table(), &lines),
    })
}

fn table(table: &dyn TableLike, lines: &LineIndex) -> TomlValue {
    let entries = table
        .iter()
        .filter(|(_, item)| !item.is_none())
        .map(|(name, item)| {
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            let at = match item {
                // `[a.b]` has the header's line; a table that only others imply has its first
                // key's.
                Item::Table(_) | Item::ArrayOfTables(_) => item.span().or(key),
                Item::None | Item::Value(_) => key.or_else(|| item.span()),
            };
            (
                name.to_owned(),
                TomlNode {
                    origin: lines.origin(at),
                    value: item_raw(item, lines),
                },
            )
        });
    TomlValue::Table(entries.collect())
}

fn item_raw(item: &Item, lines: &LineIndex) -> TomlValue {
    match item {
        Item::None => TomlValue::Table(BTreeMap::new()),
        Item::Value(value) => value_raw(value, lines),
        Item::Table(inner) => table(inner, lines),
        Item::ArrayOfTables(list) => TomlValue::List(
            list.iter()
                .map(|inner| TomlNode {
                    origin: lines.origin(inner.span()),
                    value: table(inner, lines),
                })
                .collect(),
        ),
    }
}

fn value_raw(value: &Value, lines: &LineIndex) -> TomlValue {
    match value {
        Value::String(text) => TomlValue::Text(text.value().clone()),
        Value::Integer(number) => TomlValue::Integer(*number.value()),
        Value::Boolean(choice) => TomlValue::Boolean(*choice.value()),
        Value::Float(_) => TomlValue::Float,
        Value::Datetime(_) => TomlValue::Datetime,
        Value::Array(list) => TomlValue::List(
            list.iter()
                .map(|item| TomlNode {
                    origin: lines.origin(item.span()),
                    value: value_raw(item, lines),
                })
                .collect(),
        ),
        Value::InlineTable(inner) => table(inner, lines),
    }
}

/// The offset of each line.
struct LineIndex(Vec<usize>);

impl LineIndex {
    fn new(text: &str) -> Self {
        Self(
            std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
        )
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    fn origin(&self, span: Option<std::ops::Range<usize>>) -> ValueOrigin {
        span.map_or(ValueOrigin::Nowhere, |span| {
            ValueOrigin::Line(self.at(span.start))
        })
    }
}

fn column(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(node: &TomlNode, path: &[&str]) -> ValueOrigin {
        let mut at = node;
        for step in path {
            at = match &at.value {
                TomlValue::Table(entries) => &entries[*step],
                TomlValue::List(items) => &items[step.parse::<usize>().unwrap()],
                other => panic!("{step} of {}", other.kind()),
            };
        }
        at.origin.clone()
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "mode = 'x'\n\n[server]\nlisten = [\n  'a',\n  'b',\n]\n[[rule]]\nname = 'r'\n[[rule]]\nname = 's'\n\
                    [identity.headers]\nX = 'sub'\n[upstream]\nhost.name = 1\nurls = { a = 1 }\n";
        let tree = parse(text).unwrap();
        for (path, expected) in [
            (&["mode"][..], 1),
            (&["server"], 3),
            (&["server", "listen"], 4),
            (&["server", "listen", "1"], 6),
            (&["rule", "0"], 8),
            (&["rule", "1"], 10),
            (&["rule", "1", "name"], 11),
            (&["identity", "headers"], 12),
            (&["identity", "headers", "X"], 13),
            (&["upstream", "host"], 15),
            (&["upstream", "host", "name"], 15),
            (&["upstream", "urls", "a"], 16),
        ] {
            assert_eq!(line(&tree, path), ValueOrigin::Line(expected), "{path:?}");
        }
    }

    #[test]
    fn a_mistake_has_a_line_and_a_column() {
        for (text, line, column) in [
            ("a = 1\nb = \n", 2, 5),
            ("[server\n", 1, 8),
            ("é = 1", 1, 1),
            ("a = 1\na = 2\n", 2, 1),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text:?}: {}",
                error.message
            );
            assert!(
                !error.message.is_empty() && !error.message.contains('\n'),
                "{text:?}"
            );
        }
    }
}
