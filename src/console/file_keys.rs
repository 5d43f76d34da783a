//! Which files a pasted config names that the config in use does not. They are not read: what a check
//! says of a file would tell of files that an operator may not see, and some files never end.

use std::collections::BTreeSet;

use toml_edit::{DocumentMut, Item, Value};

use crate::config::ValueInForce;

/// The keys of a config in TOML that name a file or directory which none of these values names.
/// Empty for a text that is no TOML: then nothing of it is used.
pub(super) fn unknown_files(text: &str, in_use: &[ValueInForce]) -> Vec<String> {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    let known: BTreeSet<&str> = in_use
        .iter()
        .filter(|value| names_files(&value.key))
        .map(|value| value.value.trim_matches('"'))
        .collect();
    let mut unknown = Vec::new();
    of_item(document.as_item(), "", &known, &mut unknown);
    unknown
}

/// As all keys of the config that name files: `token_file`, `key_dir`.
fn names_files(key: &str) -> bool {
    let key = key.split('[').next().unwrap_or(key);
    key.ends_with("_file") || key.ends_with("_files") || key.ends_with("_dir")
}

fn of_item(item: &Item, key: &str, known: &BTreeSet<&str>, unknown: &mut Vec<String>) {
    match item {
        Item::None => {}
        Item::Value(value) => of_value(value, key, known, unknown),
        Item::Table(table) => {
            for (name, item) in table {
                of_item(item, &within(key, name), known, unknown);
            }
        }
        Item::ArrayOfTables(tables) => {
            for (name, item) in tables.iter().flatten() {
                of_item(item, &within(key, name), known, unknown);
            }
        }
    }
}

fn of_value(value: &Value, key: &str, known: &BTreeSet<&str>, unknown: &mut Vec<String>) {
    match value {
        Value::InlineTable(table) => {
            for (name, value) in table {
                of_value(value, &within(key, name), known, unknown);
            }
        }
        Value::Array(values) => {
            for value in values {
                of_value(value, key, known, unknown);
            }
        }
        Value::String(path) if names_files(key) && !known.contains(path.value().as_str()) => {
            unknown.push(key.to_owned());
        }
        _ => {}
    }
}

fn within(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_config_in_use_are_read() {
        let in_use = [ValueInForce {
            key: "admin.token_file".to_owned(),
            value: "\"token\"".to_owned(),
            origin: None,
        }];
        let unknown = |text| unknown_files(text, &in_use);
        assert!(unknown("admin.token_file = 'token'\nupstream.urls = ['http://a']").is_empty());
        for (text, key) in [
            ("admin.token_file = '/etc/shadow'", "admin.token_file"),
            ("admin = { token_file = '/etc/shadow' }", "admin.token_file"),
            (
                "[server.tls]\ncert_file = '/dev/zero'",
                "server.tls.cert_file",
            ),
            (
                "[[issuer]]\njwks_file = '/proc/self/fd/1'",
                "issuer.jwks_file",
            ),
            ("tokens.key_dir = '/root'", "tokens.key_dir"),
            ("a = [{ b_file = '/root' }]", "a.b_file"),
        ] {
            assert_eq!(unknown(text), [key], "{text}");
        }
        assert!(unknown("= no TOML").is_empty());
    }
}
