//! Validates a TOML tree against the schema of the config structs.
//!
//! One walk over the tree finds every unknown key, every wrong type and every text that does not
//! parse, and returns the rest, so that the checks between keys can still run. Must stay true: a
//! value of a secret reaches no message.

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
    problems::{Problems, ValueOrigin, within},
    schema::{Schema, TextFormat, ValueType},
    suggestion,
    toml_tree::{TomlNode, TomlValue},
};
use crate::types::Malformed;

/// Most bytes of a secret file. A key or password is far shorter; a wrong path may name anything.
const MAX_SECRET_FILE_LEN: u64 = 64 * 1024;

/// One validation of a config.
pub(super) struct Validator<'a> {
    pub(super) problems: &'a mut Problems,
    /// The base of relative paths.
    pub(super) directory: &'a Path,
    /// Every path in the config.
    pub(super) files: BTreeSet<PathBuf>,
}

impl Validator<'_> {
    /// The valid part of `node`; problems are reported. `None`: nothing is valid. A value outside
    /// of its range is kept, so that the checks between keys still run.
    pub(super) fn validate(&mut self, schema: Schema, node: &TomlNode, key: &str) -> Option<Value> {
        let value = self.validate_type(schema, node, key)?;
        if let Some(message) = schema.range_error(&value) {
            self.problems.add(key, message);
        }
        Some(value)
    }

    fn validate_type(&mut self, schema: Schema, node: &TomlNode, key: &str) -> Option<Value> {
        if !key.is_empty() {
            self.problems.set_origin(key, node.origin.clone());
        }
        let from_environment = matches!(node.origin, ValueOrigin::Variable(_));
        match (schema.value_type(), &node.value) {
            (ValueType::Table, TomlValue::Table(_)) => self.table(schema, node, key),
            (ValueType::Table, TomlValue::List(_)) => {
                self.reject(key, format!("is one table: write [{key}]"))
            }

            (ValueType::Map(value), TomlValue::Table(entries)) => {
                let valid = entries
                    .iter()
                    .map(|(name, entry)| (name, self.validate(value, entry, &within(key, name))));
                let valid: Vec<_> = valid.collect();
                let valid: Option<_> = valid
                    .into_iter()
                    .map(|(name, value)| Some((name.clone(), value?)))
                    .collect();
                if valid.is_none() {
                    self.problems.suppress(key);
                }
                valid.map(Value::Object)
            }
            (ValueType::Table | ValueType::Map(_), other) => {
                self.reject(key, format!("must be a table, not {}", other.kind()))
            }

            (ValueType::List(item), TomlValue::List(nodes)) => self.list(item, nodes, key),
            (ValueType::List(item), TomlValue::Table(_))
                if matches!(item.value_type(), ValueType::Table) =>
            {
                self.reject(key, format!("is a list of tables: write [[{key}]]"))
            }
            (ValueType::List(_), other) => {
                self.reject(key, format!("must be a list in [ ], not {}", other.kind()))
            }

            (ValueType::Enum(names), TomlValue::Text(text)) => {
                if names.contains(&text.as_str()) {
                    return Some(Value::from(text.as_str()));
                }
                let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                self.reject(
                    key,
                    format!("{} is none of {}", quoted(text), names.join(", ")),
                )
            }
            (ValueType::Text(format), TomlValue::Text(text)) => match self.text(format, text) {
                Ok(text) => Some(Value::from(text)),
                Err(Malformed(what)) => self.reject(key, format!("{} {what}", quoted(text))),
            },
            (ValueType::Text(TextFormat::ByteSize), TomlValue::Integer(bytes)) if *bytes >= 0 => {
                Some(Value::from(bytes.to_string()))
            }
            (ValueType::Text(TextFormat::Duration), TomlValue::Integer(number)) => self.reject(
                key,
                format!("{number} has no unit: write \"{number}s\" with quotes, or ms, m, h or d"),
            ),
            (ValueType::Enum(_) | ValueType::Text(_), other) => self.reject(
                key,
                format!("must be a text in quotes, not {}", other.kind()),
            ),

            (ValueType::Integer(max), TomlValue::Integer(number)) => {
                self.integer(max, *number, &number.to_string(), key)
            }
            (ValueType::Integer(max), TomlValue::Text(text)) if from_environment => {
                // A number out of range, or no number, is reported like a negative one.
                self.integer(max, text.parse().unwrap_or(-1), &quoted(text), key)
            }
            (ValueType::Integer(_), other) => {
                self.reject(key, format!("must be a whole number, not {}", other.kind()))
            }

            (ValueType::Boolean, TomlValue::Boolean(choice)) => Some(Value::from(*choice)),
            (ValueType::Boolean, TomlValue::Text(text)) if from_environment => {
                match text.as_str() {
                    "true" => Some(Value::from(true)),
                    "false" => Some(Value::from(false)),
                    _ => self.reject(key, format!("{} is neither true nor false", quoted(text))),
                }
            }
            (ValueType::Boolean, other) => {
                self.reject(key, format!("must be true or false, not {}", other.kind()))
            }
        }
    }

    fn table(&mut self, schema: Schema, node: &TomlNode, key: &str) -> Option<Value> {
        let TomlValue::Table(entries) = &node.value else {
            return None;
        };
        let mut valid = Map::new();
        for (name, entry) in entries {
            let inner = within(key, name);
            if let Some(property) = schema.property(name) {
                if let Some(value) = self.validate(property, entry, &inner) {
                    valid.insert(name.clone(), value);
                }
            } else {
                self.problems.set_origin(&inner, entry.origin.clone());
                self.problems
                    .push(&inner, suggestion::for_key(schema, key, name));
            }
        }
        for (name, _) in schema
            .properties()
            .filter(|(_, property)| property.is_secret())
        {
            self.secret_file(schema, name, &mut valid, entries.contains_key(name), key);
        }
        for (name, property) in schema
            .properties()
            .filter(|(name, _)| schema.requires(name))
        {
            if valid.contains_key(name) {
                continue;
            }
            if !entries.contains_key(name) {
                self.problems.add_unusable(&within(key, name), "is missing");
            }
            // With an empty text the other keys of the table are still checked; this one has no
            // further problems.
            match property.value_type() {
                ValueType::Text(TextFormat::Plain) => {
                    valid.insert(name.to_owned(), Value::from(""))
                }
                _ => return None,
            };
        }
        Some(Value::Object(valid))
    }

    fn list(&mut self, item: Schema, nodes: &[TomlNode], key: &str) -> Option<Value> {
        let mut valid = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            valid.push(self.validate(item, node, &format!("{key}[{n}]")));
        }
        // A list without its invalid entries would be another list, so checks of the whole list are
        // skipped.
        let valid: Option<Vec<_>> = valid.into_iter().collect();
        if valid.is_none() {
            self.problems.suppress(key);
        }
        valid.map(Value::Array)
    }

    fn integer(&mut self, max: u64, number: i64, as_written: &str, key: &str) -> Option<Value> {
        match u64::try_from(number) {
            Ok(number) if number <= max => Some(Value::from(number)),
            Ok(_) | Err(_) if max == i64::MAX.unsigned_abs() => self.reject(
                key,
                format!("{as_written} is not a whole number of 0 or above"),
            ),
            Ok(_) | Err(_) => self.reject(
                key,
                format!("{as_written} is not a whole number from 0 to {max}"),
            ),
        }
    }

    /// Checks a text, and resolves a path.
    fn text(&mut self, format: TextFormat, text: &str) -> Result<String, Malformed> {
        match format {
            TextFormat::Plain | TextFormat::Secret => {}
            TextFormat::Duration => drop(text.parse::<HumanDuration>()?),
            TextFormat::ByteSize => drop(text.parse::<ByteSize>()?),
            TextFormat::Rate => drop(text.parse::<Rate>()?),
            TextFormat::ReplayWindow => drop(text.parse::<ReplayWindow>()?),
            TextFormat::Network => {
                text.parse::<IpNet>().map_err(|_| {
                    Malformed("is not a network: write ADDRESS/BITS, such as 10.0.0.0/8")
                })?;
            }
            TextFormat::Path => {
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

    /// Reads a secret from the file that `<name>_file` names.
    fn secret_file(
        &mut self,
        table: Schema,
        name: &str,
        valid: &mut Map<String, Value>,
        given: bool,
        key: &str,
    ) {
        let file_name = format!("{name}_file");
        let (Some(file), Some(path)) = (
            table.property(&file_name),
            valid.get(&file_name).and_then(Value::as_str),
        ) else {
            return;
        };
        let (secret_key, file_key) = (within(key, name), within(key, &file_name));
        if given {
            self.problems.add_unusable(
                &file_key,
                format!("is given together with `{name}`: keep one of them"),
            );
            self.problems.suppress(&secret_key);
            return;
        }
        match read_secret(&PathBuf::from(path)) {
            Ok(text) => {
                self.problems.copy_origin(&secret_key, &file_key);
                valid.insert(name.to_owned(), Value::from(text));
            }
            Err(SecretFileError::Missing) if file.is_generated_on_first_start() => {}
            Err(why) => {
                let message = format!("{path}: {}", why.describe());
                self.problems.add_unusable(&file_key, message);
                self.problems.suppress(&secret_key);
            }
        }
    }

    fn reject(&mut self, key: &str, message: String) -> Option<Value> {
        self.problems.add_unusable(key, message);
        None
    }
}

/// Why a secret file cannot be used.
enum SecretFileError {
    Missing,
    Unreadable(ErrorKind),
    Empty,
    TooLong,
    NotText,
}

impl SecretFileError {
    fn describe(&self) -> String {
        match self {
            Self::Missing => "there is no such file".to_owned(),
            Self::Unreadable(kind) => format!("cannot be read ({kind})"),
            Self::Empty => "is empty".to_owned(),
            Self::TooLong => format!("is longer than {MAX_SECRET_FILE_LEN} bytes: not a secret"),
            Self::NotText => "is not UTF-8 text".to_owned(),
        }
    }
}

/// The text of a secret file without its last line end, which editors and `echo` add.
fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => SecretFileError::Missing,
        kind => SecretFileError::Unreadable(kind),
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_FILE_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_FILE_LEN {
        return Err(SecretFileError::TooLong);
    }
    let mut text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotText)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        Err(SecretFileError::Empty)
    } else {
        Ok(text)
    }
}

/// A value for a message: in quotes, escaped and truncated.
fn quoted(text: &str) -> String {
    format!("{:?}", truncate(text))
}

fn truncate(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        text.to_owned()
    } else {
        text.chars().take(MAX_CHARS).chain(['…']).collect()
    }
}
