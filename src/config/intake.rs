//! What was written, held against what the structs accept.
//!
//! One walk over the tree finds every unknown key, every wrong type and every text that does not
//! parse, and keeps the rest, so that the rules between keys can still be checked on it. Must stay
//! true: a value of a secret reaches no message.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    ByteSize, HumanDuration, Rate, ReplayWindow,
    document::{Node, Raw},
    problems::{Origin, Problems, within},
    shape::{Format, Schema, Shape},
    suggestion,
};
use crate::types::Malformed;

/// Longest secret file that is read. A key or password is far shorter; a wrong path may name
/// anything.
const LONGEST_SECRET: u64 = 64 * 1024;

/// One look at a config.
pub(super) struct Intake<'a> {
    pub(super) problems: &'a mut Problems,
    /// What relative paths are relative to.
    pub(super) directory: &'a Path,
    /// Every path that was written.
    pub(super) files: BTreeSet<PathBuf>,
}

impl Intake<'_> {
    /// The part of `node` that can be used; what cannot is reported. `None`: nothing of it.
    pub(super) fn accept(&mut self, schema: Schema, node: &Node, key: &str) -> Option<Value> {
        if !key.is_empty() {
            self.problems.locate(key, node.origin.clone());
        }
        let from_environment = matches!(node.origin, Origin::Variable(_));
        match (schema.shape(), &node.raw) {
            (Shape::Table, Raw::Table(_)) => self.table(schema, node, key),
            (Shape::Table, Raw::List(_)) => {
                self.refuse(key, format!("is one table: write [{key}]"))
            }

            (Shape::Map(value), Raw::Table(entries)) => {
                let accepted = entries
                    .iter()
                    .map(|(name, entry)| (name, self.accept(value, entry, &within(key, name))));
                let accepted: Vec<_> = accepted.collect();
                let accepted: Option<_> = accepted
                    .into_iter()
                    .map(|(name, value)| Some((name.clone(), value?)))
                    .collect();
                if accepted.is_none() {
                    self.problems.skip(key);
                }
                accepted.map(Value::Object)
            }
            (Shape::Table | Shape::Map(_), other) => {
                self.refuse(key, format!("must be a table, not {}", other.kind()))
            }

            (Shape::List(item), Raw::List(nodes)) => self.list(item, nodes, key),
            (Shape::List(item), Raw::Table(_)) if matches!(item.shape(), Shape::Table) => {
                self.refuse(key, format!("is a list of tables: write [[{key}]]"))
            }
            (Shape::List(_), other) => {
                self.refuse(key, format!("must be a list in [ ], not {}", other.kind()))
            }

            (Shape::Choice(names), Raw::Text(text)) => {
                if names.contains(&text.as_str()) {
                    return Some(Value::from(text.as_str()));
                }
                let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                self.refuse(
                    key,
                    format!("{} is none of {}", shown(text), names.join(", ")),
                )
            }
            (Shape::Text(format), Raw::Text(text)) => match self.text(format, text) {
                Ok(text) => Some(Value::from(text)),
                Err(Malformed(what)) => self.refuse(key, format!("{} {what}", shown(text))),
            },
            (Shape::Text(Format::ByteSize), Raw::Integer(bytes)) if *bytes >= 0 => {
                Some(Value::from(bytes.to_string()))
            }
            (Shape::Text(Format::Duration), Raw::Integer(number)) => self.refuse(
                key,
                format!("{number} has no unit: write \"{number}s\" with quotes, or ms, m, h or d"),
            ),
            (Shape::Choice(_) | Shape::Text(_), other) => self.refuse(
                key,
                format!("must be a text in quotes, not {}", other.kind()),
            ),

            (Shape::Integer(most), Raw::Integer(number)) => {
                self.integer(most, *number, &number.to_string(), key)
            }
            (Shape::Integer(most), Raw::Text(text)) if from_environment => {
                // A number too long for TOML, or none at all, is as wrong as a negative one.
                self.integer(most, text.parse().unwrap_or(-1), &shown(text), key)
            }
            (Shape::Integer(_), other) => {
                self.refuse(key, format!("must be a whole number, not {}", other.kind()))
            }

            (Shape::Boolean, Raw::Boolean(choice)) => Some(Value::from(*choice)),
            (Shape::Boolean, Raw::Text(text)) if from_environment => match text.as_str() {
                "true" => Some(Value::from(true)),
                "false" => Some(Value::from(false)),
                _ => self.refuse(key, format!("{} is neither true nor false", shown(text))),
            },
            (Shape::Boolean, other) => {
                self.refuse(key, format!("must be true or false, not {}", other.kind()))
            }
        }
    }

    fn table(&mut self, schema: Schema, node: &Node, key: &str) -> Option<Value> {
        let Raw::Table(entries) = &node.raw else {
            return None;
        };
        let mut accepted = Map::new();
        for (name, entry) in entries {
            let inner = within(key, name);
            if let Some(property) = schema.property(name) {
                if let Some(value) = self.accept(property, entry, &inner) {
                    accepted.insert(name.clone(), value);
                }
            } else {
                self.problems.locate(&inner, entry.origin.clone());
                self.problems
                    .report(&inner, suggestion::for_key(schema, key, name));
            }
        }
        for (name, _) in schema
            .properties()
            .filter(|(_, property)| property.is_secret())
        {
            self.secret_file(schema, name, &mut accepted, entries.contains_key(name), key);
        }
        for (name, property) in schema
            .properties()
            .filter(|(name, _)| schema.requires(name))
        {
            if accepted.contains_key(name) {
                continue;
            }
            if !entries.contains_key(name) {
                self.problems.unreadable(&within(key, name), "is missing");
            }
            // An empty text keeps the other keys of the table in the checks; nothing more is said
            // about this one.
            match property.shape() {
                Shape::Text(Format::Plain) => accepted.insert(name.to_owned(), Value::from("")),
                _ => return None,
            };
        }
        Some(Value::Object(accepted))
    }

    fn list(&mut self, item: Schema, nodes: &[Node], key: &str) -> Option<Value> {
        let mut accepted = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            accepted.push(self.accept(item, node, &format!("{key}[{n}]")));
        }
        // A list without its wrong entries would be another list; nothing is said about it as a
        // whole.
        let accepted: Option<Vec<_>> = accepted.into_iter().collect();
        if accepted.is_none() {
            self.problems.skip(key);
        }
        accepted.map(Value::Array)
    }

    fn integer(&mut self, most: u64, number: i64, as_written: &str, key: &str) -> Option<Value> {
        match u64::try_from(number) {
            Ok(number) if number <= most => Some(Value::from(number)),
            Ok(_) | Err(_) if most == i64::MAX.unsigned_abs() => self.refuse(
                key,
                format!("{as_written} is not a whole number of 0 or above"),
            ),
            Ok(_) | Err(_) => self.refuse(
                key,
                format!("{as_written} is not a whole number from 0 to {most}"),
            ),
        }
    }

    /// The text as the struct takes it.
    fn text(&mut self, format: Format, text: &str) -> Result<String, Malformed> {
        match format {
            Format::Plain | Format::Secret => {}
            Format::Duration => drop(text.parse::<HumanDuration>()?),
            Format::ByteSize => drop(text.parse::<ByteSize>()?),
            Format::Rate => drop(text.parse::<Rate>()?),
            Format::ReplayWindow => drop(text.parse::<ReplayWindow>()?),
            Format::Network => {
                text.parse::<IpNet>().map_err(|_| {
                    Malformed("is not a network: write ADDRESS/BITS, such as 10.0.0.0/8")
                })?;
            }
            Format::Path => {
                let path = if text.is_empty() {
                    None
                } else {
                    Some(self.directory.join(text))
                };
                let path = path.ok_or(Malformed("is not a path"))?;
                self.files.insert(path.clone());
                return path
                    .into_os_string()
                    .into_string()
                    .map_err(|_| Malformed("is not a path in UTF-8"));
            }
        }
        Ok(text.to_owned())
    }

    /// Fills a secret from the file that `<name>_file` names.
    fn secret_file(
        &mut self,
        table: Schema,
        name: &str,
        accepted: &mut Map<String, Value>,
        given: bool,
        key: &str,
    ) {
        let file_name = format!("{name}_file");
        let (Some(file), Some(path)) = (
            table.property(&file_name),
            accepted.get(&file_name).and_then(Value::as_str),
        ) else {
            return;
        };
        let (secret_key, file_key) = (within(key, name), within(key, &file_name));
        if given {
            self.problems.unreadable(
                &file_key,
                format!("is given together with `{name}`: keep one of them"),
            );
            self.problems.skip(&secret_key);
            return;
        }
        match read_secret(&PathBuf::from(path)) {
            Ok(text) => {
                self.problems.locate_like(&secret_key, &file_key);
                accepted.insert(name.to_owned(), Value::from(text));
            }
            Err(Unusable::Missing) if file.is_made_on_first_start() => {}
            Err(why) => {
                let message = format!("{path}: {}", why.in_words());
                self.problems.unreadable(&file_key, message);
                self.problems.skip(&secret_key);
            }
        }
    }

    fn refuse(&mut self, key: &str, message: String) -> Option<Value> {
        self.problems.unreadable(key, message);
        None
    }
}

/// Why a secret file cannot be used.
enum Unusable {
    Missing,
    Unreadable(ErrorKind),
    Empty,
    TooLong,
    NotText,
}

impl Unusable {
    fn in_words(&self) -> String {
        match self {
            Self::Missing => "there is no such file".to_owned(),
            Self::Unreadable(kind) => format!("cannot be read ({kind})"),
            Self::Empty => "is empty".to_owned(),
            Self::TooLong => format!("is longer than {LONGEST_SECRET} bytes: not a secret"),
            Self::NotText => "is not UTF-8 text".to_owned(),
        }
    }
}

/// The text of a secret file without its last line end, which editors and `echo` add.
fn read_secret(path: &Path) -> Result<String, Unusable> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Unusable::Missing,
        kind => Unusable::Unreadable(kind),
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LONGEST_SECRET + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(Unusable::TooLong);
    }
    let mut text = String::from_utf8(bytes).map_err(|_| Unusable::NotText)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        Err(Unusable::Empty)
    } else {
        Ok(text)
    }
}

/// A value in a message: in quotes, escaped, and not longer than a line can bear.
fn shown(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}
