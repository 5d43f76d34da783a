//! The JSON Schema that the config structs derive.
//!
//! The loader, the environment and the printed reference all walk the same schema, so a new field
//! of a struct is known to each of them at once.

use std::{fmt::Display, str::FromStr, sync::LazyLock};

use serde_json::Value;

use super::{ByteSize, Config, HumanDuration};

/// A node of the schema.
#[derive(Clone, Copy)]
pub(super) struct Schema(&'static Value);

/// The type of a value.
pub(super) enum ValueType {
    /// A table with known keys.
    Table,
    /// A table whose keys are free.
    Map(Schema),
    List(Schema),
    /// One of these texts.
    Enum(Vec<&'static str>),
    Text(TextFormat),
    /// A whole number from 0 to this.
    Integer(u64),
    Boolean,
}

/// The format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    Plain,
    Secret,
    Duration,
    ByteSize,
    Rate,
    ReplayWindow,
    Network,
    /// Relative to the directory of the config file.
    Path,
}

static ROOT: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Config).to_value());

impl Schema {
    /// The whole config.
    pub(super) fn root() -> Self {
        Self(&ROOT)
    }

    /// The type of a value here.
    ///
    /// # Panics
    /// When a config struct has a field of a kind that this list does not know; a test walks them
    /// all.
    pub(super) fn value_type(self) -> ValueType {
        let at = self.resolved();
        if at.get("properties").is_some() {
            return ValueType::Table;
        }
        if let Some(choices) = choices(at) {
            return ValueType::Enum(choices);
        }
        match type_name(at) {
            Some("object") => ValueType::Map(Self(&at["additionalProperties"])),
            Some("array") => ValueType::List(Self(&at["items"])),
            Some("string") => ValueType::Text(format(at)),
            Some("integer") => ValueType::Integer(if at["format"] == "uint32" {
                u64::from(u32::MAX)
            } else {
                i64::MAX.unsigned_abs()
            }),
            Some("boolean") => ValueType::Boolean,
            other => unreachable!("a config field of type {other:?}"),
        }
    }

    /// The message for a value outside the range of its key: a number, a duration or a size between
    /// `minimum` and `maximum`, which are written like the value itself. With `x-zero-is-never`
    /// zero is allowed too.
    pub(super) fn range_error(self, value: &Value) -> Option<String> {
        let bounds = (self.0.get("minimum")?, self.0.get("maximum")?);
        let is_zero = text(value) == Some(HumanDuration::millis(0));
        if is_zero && self.0["x-zero-is-never"] == true {
            return None;
        }
        match self.value_type() {
            ValueType::Text(TextFormat::Duration) => outside(value, bounds, text::<HumanDuration>),
            ValueType::Text(TextFormat::ByteSize) => outside(value, bounds, text::<ByteSize>),
            _ => outside(value, bounds, Value::as_u64),
        }
    }

    /// The keys of a table with their schemas, in the order of the alphabet; empty for anything
    /// else.
    pub(super) fn properties(self) -> impl Iterator<Item = (&'static str, Self)> {
        let properties = self.resolved().get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), Self(schema)))
    }

    /// The schema of one key of a table.
    pub(super) fn property(self, name: &str) -> Option<Self> {
        self.resolved().get("properties")?.get(name).map(Self)
    }

    /// Whether a table must have this key.
    pub(super) fn requires(self, name: &str) -> bool {
        self.resolved()
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(|n| n == name))
    }

    /// The doc comment: the field's, or that of its type.
    pub(super) fn description(self) -> &'static str {
        [self.0, self.resolved()]
            .into_iter()
            .find_map(|at| at.get("description")?.as_str())
            .unwrap_or_default()
    }

    /// The doc comment of the type alone.
    pub(super) fn type_description(self) -> &'static str {
        self.resolved()
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// An example of a value.
    pub(super) fn example(self) -> Option<&'static Value> {
        self.0
            .get("examples")
            .or_else(|| self.resolved().get("examples"))?
            .get(0)
    }

    /// Whether the file may be missing, because the program generates it.
    pub(super) fn is_generated_on_first_start(self) -> bool {
        self.0["x-made-on-first-start"] == true
    }

    /// Whether this is a secret.
    pub(super) fn is_secret(self) -> bool {
        matches!(self.value_type(), ValueType::Text(TextFormat::Secret))
    }

    /// Every node below this one, with its key; the items of a list have the key `[0]`.
    pub(super) fn walk(self, key: &str) -> Vec<(String, Self)> {
        let mut found = Vec::new();
        for (name, schema) in self.properties() {
            let key = super::problems::within(key, name);
            found.push((key.clone(), schema));
            found.extend(schema.walk(&key));
        }
        if let ValueType::List(item) = self.value_type()
            && let ValueType::Table = item.value_type()
        {
            found.extend(item.walk(&format!("{key}[0]")));
        }
        found
    }

    /// Follows `$ref`, and takes the other half of "or null".
    fn resolved(self) -> &'static Value {
        let mut at = self.0;
        loop {
            if let Some(target) = at.get("$ref").and_then(Value::as_str) {
                at = ROOT
                    .pointer(target.trim_start_matches('#'))
                    .unwrap_or(&Value::Null);
            } else if let Some(halves) = at.get("anyOf").and_then(Value::as_array) {
                at = halves
                    .iter()
                    .find(|half| half["type"] != "null")
                    .unwrap_or(&Value::Null);
            } else {
                return at;
            }
        }
    }
}

fn text<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn outside<T: PartialOrd + Display>(
    value: &Value,
    (min, max): (&Value, &Value),
    read: impl Fn(&Value) -> Option<T>,
) -> Option<String> {
    let (value, min, max) = (read(value)?, read(min)?, read(max)?);
    (value < min || value > max).then(|| format!("{value} is not between {min} and {max}"))
}

fn type_name(at: &'static Value) -> Option<&'static str> {
    match &at["type"] {
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        name => name.as_str(),
    }
}

/// The texts of an enum: plain, or one `const` for each variant that has a doc comment.
fn choices(at: &'static Value) -> Option<Vec<&'static str>> {
    if let Some(names) = at.get("enum").and_then(Value::as_array) {
        return names.iter().map(Value::as_str).collect();
    }
    at.get("oneOf")?
        .as_array()?
        .iter()
        .map(|variant| variant.get("const")?.as_str())
        .collect()
}

fn format(at: &Value) -> TextFormat {
    match at.get("format").and_then(Value::as_str) {
        None => TextFormat::Plain,
        Some("secret") => TextFormat::Secret,
        Some("duration") => TextFormat::Duration,
        Some("byte-size") => TextFormat::ByteSize,
        Some("rate") => TextFormat::Rate,
        Some("replay-window") => TextFormat::ReplayWindow,
        Some("network") => TextFormat::Network,
        Some("path") => TextFormat::Path,
        Some(other) => unreachable!("a config text of format {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_shape_and_a_description() {
        let all = Schema::root().walk("");
        assert!(all.len() > 60, "only {} keys", all.len());
        for (key, schema) in all {
            let _ = schema.value_type();
            assert!(!schema.description().is_empty(), "{key} has no doc comment");
        }
    }

    #[test]
    fn every_range_is_of_the_type_of_its_key() {
        let mut ranges = 0;
        for (key, schema) in Schema::root().walk("") {
            let Some(max) = schema.0.get("maximum") else {
                continue;
            };
            let above: Value = match schema.value_type() {
                ValueType::Text(TextFormat::Duration) => "36500d".into(),
                ValueType::Text(TextFormat::ByteSize) => "1000000MiB".into(),
                _ => u64::MAX.into(),
            };
            assert!(schema.range_error(&above).is_some(), "{key}");
            assert_eq!(schema.range_error(max), None, "{key}");
            ranges += 1;
        }
        assert!(ranges > 40, "only {ranges} ranges");
    }

    #[test]
    fn formats_are_told_apart() {
        let format = |path: &[&str]| {
            let mut at = Schema::root();
            for name in path {
                at = at.property(name).unwrap();
                if let ValueType::List(item) = at.value_type() {
                    at = item;
                }
            }
            match at.value_type() {
                ValueType::Text(format) => Some(format),
                _ => None,
            }
        };
        for (path, expected) in [
            (&["wechat", "secret"][..], TextFormat::Secret),
            (&["wechat", "app", "secret"], TextFormat::Secret),
            (&["tokens", "previous_secrets"], TextFormat::Secret),
            (&["wechat", "secret_file"], TextFormat::Path),
            (&["store", "encryption_key_file"], TextFormat::Path),
            (&["tokens", "key_dir"], TextFormat::Path),
            (&["server", "trusted_proxies"], TextFormat::Network),
            (&["server", "header_timeout"], TextFormat::Duration),
            (&["server", "max_header_bytes"], TextFormat::ByteSize),
            (&["limits", "login_per_ip"], TextFormat::Rate),
            (&["tokens", "replay_window"], TextFormat::ReplayWindow),
            (&["upstream", "host"], TextFormat::Plain),
        ] {
            assert_eq!(format(path), Some(expected), "{path:?}");
        }
    }
}
