//! `config.toml` as the structs describe it: every key with its meaning and its default.
//!
//! A line that starts with `#` and no space is a key without a default; `# ` starts a comment. Must
//! stay true: with those lines as they are, the text is the default config in development mode;
//! with all of them live, it still parses.

mod field_order;

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    Config,
    problems::within,
    schema::{Schema, ValueType},
};
use field_order::field_order;

/// Comments are wrapped to this many columns.
const WIDTH: usize = 100;

const HEADER: &str = "\
The configuration of menshen: every key, its meaning and its default.

Most installations set nine keys: upstream.urls, store.url, store.encryption_key_file, admin.token_file, wechat.app_id, \
wechat.secret_file, and name, path and access of each [[rule]]. The defaults of the others are for production.

menshen reads this file (`menshen run --config FILE`; `config.toml` in the working directory if there is one). A line that \
starts with `#` and no space is a key that has no default; remove the `#` to set it.

Each key can also be given in the environment, which wins over the file: MENSHEN_WECHAT__SECRET is `secret` in [wechat], \
MENSHEN_RULE__0__PATH is `path` in the first [[rule]], and a list is written with commas: MENSHEN_SERVER__LISTEN=0.0.0.0:80,[::]:80.

Each secret can be read from a file, which `<key>_file` names; a relative path starts at the directory of this file, or at the \
working directory when there is no file.

A time is a whole number and ms, s, m, h or d; a size is a whole number, alone or with KiB or MiB.

`menshen check` reports every problem of a config with its line. `menshen config` prints this text.";

/// The one value that differs from its default, so that the file runs as it is.
const MODE: &str = "mode = \"development\"   # the only value here that is not the default: that is \"production\"";

/// The whole text, with a line end at its end.
pub fn reference() -> String {
    let mut page = ReferencePage::default();
    page.comment(HEADER);
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    page.table("", Schema::root(), &defaults);
    page.0
}

#[derive(Default)]
struct ReferencePage(String);

impl ReferencePage {
    /// The keys of a table, then the tables in it.
    fn table(&mut self, path: &str, schema: Schema, defaults: &Value) {
        let (tables, keys): (Vec<_>, Vec<_>) =
            in_order(path, schema).partition(|(_, schema)| is_table(*schema));
        for (name, schema) in keys {
            self.key(path, name, schema, defaults.get(name));
        }
        for (name, schema) in tables {
            if path.is_empty() {
                self.blank();
            }
            self.blank();
            let path = within(path, name);
            let default = defaults.get(name).unwrap_or(&Value::Null);
            self.comment(schema.description());
            match schema.value_type() {
                ValueType::List(item) => self.list_of_tables(&path, item),
                ValueType::Map(_) => self.map(&path, default),
                ValueType::Table
                | ValueType::Enum(_)
                | ValueType::Text(_)
                | ValueType::Integer(_)
                | ValueType::Boolean => {
                    self.line(&format!("[{path}]"));
                    self.table(&path, schema, default);
                }
            }
        }
    }

    fn key(&mut self, path: &str, name: &str, schema: Schema, default: Option<&Value>) {
        self.blank();
        self.comment(schema.description());
        match default {
            _ if within(path, name) == "mode" => self.line(MODE),
            Some(value) if schema.example().is_none() => {
                self.line(&format!("{name} = {}", toml(value)));
            }
            // A key with an example has no default.
            Some(_) | None => {
                let example = schema.example().map_or_else(String::new, toml);
                self.line(&format!("#{name} = {example}"));
            }
        }
    }

    /// One entry with every key explained, all of it switched off, then an example.
    fn list_of_tables(&mut self, path: &str, item: Schema) {
        self.comment(&format!("\n\n{}", item.type_description()));
        self.line(&format!("#[[{path}]]"));
        self.table(path, item, &Value::Null);
        if let Some(Value::Object(example)) = item.example() {
            self.blank();
            self.line(&format!("#[[{path}]]"));
            for (name, _) in in_order(path, item) {
                let value = example.get(name).unwrap_or(&Value::Null);
                if item.requires(name) || !is_unset(value) {
                    self.line(&format!("#{name} = {}", toml(value)));
                }
            }
        }
    }

    fn map(&mut self, path: &str, default: &Value) {
        self.line(&format!("[{path}]"));
        for (name, value) in default.as_object().into_iter().flatten() {
            self.line(&format!("{name} = {}", toml(value)));
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn blank(&mut self) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
    }

    /// Paragraphs, wrapped at spaces.
    fn comment(&mut self, text: &str) {
        for (n, paragraph) in text.split("\n\n").enumerate() {
            if n > 0 {
                self.line("#");
            }
            let mut line = String::from("#");
            for word in paragraph.split_whitespace() {
                if line.chars().count() + 1 + word.chars().count() > WIDTH {
                    self.line(&line);
                    "#".clone_into(&mut line);
                }
                line.push(' ');
                line.push_str(word);
            }
            if line != "#" {
                self.line(&line);
            }
        }
    }
}

/// The keys of the table `path` with their schemas, in the order of its struct.
fn in_order(path: &str, table: Schema) -> impl Iterator<Item = (&'static str, Schema)> {
    let with_schema = move |name: &&'static str| Some((*name, table.property(name)?));
    field_order(path).iter().filter_map(with_schema)
}

fn is_table(schema: Schema) -> bool {
    match schema.value_type() {
        ValueType::Table => true,
        // One with an example is short enough for a line.
        ValueType::Map(_) => schema.example().is_none(),
        ValueType::List(item) => matches!(item.value_type(), ValueType::Table),
        ValueType::Enum(_) | ValueType::Text(_) | ValueType::Integer(_) | ValueType::Boolean => {
            false
        }
    }
}

/// Whether a key with this value may as well be left out.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// A value on one line, as TOML writes it.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Number(number) => grouped(&number.to_string()),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(toml).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| format!("{name} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

/// Digits in threes, where there are many: `20_000`.
fn grouped(digits: &str) -> String {
    let from_end = |at: usize| digits.len() - at;
    let group = |(at, digit): (usize, char)| {
        let starts_group = digits.len() > 4 && at > 0 && from_end(at).is_multiple_of(3);
        [starts_group.then_some('_'), Some(digit)]
            .into_iter()
            .flatten()
    };
    digits.char_indices().flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ffi::OsString};

    use super::*;
    use crate::config::{
        Mode, Source,
        problems::Problems,
        toml_tree::{self, TomlNode, TomlValue},
        validator::Validator,
    };

    fn load(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&Source {
            file: Some(file),
            environment: Vec::<(OsString, OsString)>::new(),
        })
        .unwrap()
        .config
    }

    /// The text with every switched-off key live.
    fn all_live() -> String {
        let live = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
            Some(_) | None => line.to_owned(),
        };
        reference().lines().map(live).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_file_in_the_repository_is_fresh() {
        let file = include_str!("../../config.toml");
        assert!(
            file == reference(),
            "config.toml is stale: run `cargo run -- config > config.toml`"
        );
    }

    #[test]
    fn it_runs_as_it_is_and_differs_from_the_defaults_in_the_mode_alone() {
        assert_eq!(
            load(&reference()),
            Config {
                mode: Mode::Development,
                ..Config::default()
            }
        );
    }

    #[test]
    fn every_key_is_there_and_every_example_has_its_type() {
        let text = all_live();
        let tree = toml_tree::parse(&text)
            .map_err(|wrong| wrong.message)
            .unwrap();
        let mut problems = Problems::default();
        let directory = tempfile::tempdir().unwrap();
        for file in ["tokens.secret", "wechat.secret"] {
            std::fs::write(directory.path().join(file), "x").unwrap();
        }
        let valid = Validator {
            problems: &mut problems,
            directory: directory.path(),
            files: BTreeSet::new(),
        }
        .validate(Schema::root(), &tree, "");
        assert!(valid.is_some());
        // A secret and its file exclude each other; that is all that may be wrong when everything
        // is live.
        let rest: Vec<_> = problems
            .iter()
            .filter(|problem| !problem.key().ends_with("_file"))
            .map(ToString::to_string)
            .collect();
        assert_eq!(rest, Vec::<String>::new());
        let all = Schema::root().walk("");
        assert!(all.len() > 60, "only {} keys", all.len());
        for (key, _) in all {
            assert!(holds(&tree, &key), "{key} is not in the reference");
        }
    }

    fn holds(tree: &TomlNode, key: &str) -> bool {
        let mut at = tree;
        for step in key.replace("[0]", ".0").split('.') {
            let next = match &at.value {
                TomlValue::Table(entries) => entries.get(step),
                TomlValue::List(items) => step.parse::<usize>().ok().and_then(|n| items.get(n)),
                TomlValue::Text(_)
                | TomlValue::Integer(_)
                | TomlValue::Boolean(_)
                | TomlValue::Float
                | TomlValue::Datetime => None,
            };
            let Some(next) = next else { return false };
            at = next;
        }
        true
    }

    #[test]
    fn lines_are_short_enough_to_read() {
        for line in reference().lines() {
            assert!(line.chars().count() <= WIDTH + 20, "{line}");
            assert!(
                !line.starts_with("# ") || line.chars().count() <= WIDTH,
                "{line}"
            );
            assert_eq!(line, line.trim_end());
        }
    }
}
