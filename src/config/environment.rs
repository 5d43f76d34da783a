//! The environment laid over the file: `MENSHEN_WECHAT__SECRET` sets `wechat.secret`.
//!
//! Two `_` go one table down; a number picks an entry of a list, and the number after the last one
//! adds an entry. A list of texts is also written whole, with commas; a table with free keys as
//! `name=value` with commas. A variable with our prefix that names no key is a problem: a misspelt
//! secret must not go unnoticed.

use std::{collections::BTreeMap, ffi::OsString};

use super::{
    problems::{Problems, ValueOrigin},
    schema::{Schema, ValueType},
    suggestion,
    toml_tree::{TomlNode, TomlValue},
};

const PREFIX: &str = "MENSHEN_";
/// Names the config file, so it is no key.
const FILE: &str = "MENSHEN_CONFIG";

/// Sets the keys of the tree that the variables name.
pub(super) fn overlay(
    root: &mut TomlNode,
    variables: &[(OsString, OsString)],
    problems: &mut Problems,
) {
    for (steps, name, value) in config_variables(variables, problems) {
        let origin = ValueOrigin::Variable(name.clone());
        match set(root, Schema::root(), &steps, &value, &origin) {
            Ok(()) => {}
            Err(OverlayError::Unknown) => problems.push_at(origin, suggestion::for_variable(&name)),
            Err(OverlayError::Because(message)) => problems.push_at(origin, message),
        }
    }
}

/// A step from a table or list into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum KeyStep {
    Index(usize),
    Name(String),
}

enum OverlayError {
    Unknown,
    Because(String),
}

/// The variables with our prefix, outer keys before inner ones and `2` before `10`, so that entries
/// are added in order.
fn config_variables(
    variables: &[(OsString, OsString)],
    problems: &mut Problems,
) -> Vec<(Vec<KeyStep>, String, String)> {
    let mut config_variables = Vec::new();
    for (name, value) in variables {
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX) && *name != FILE && !is_service_link(name))
        else {
            continue;
        };
        let Some(value) = value.to_str() else {
            problems.push_at(ValueOrigin::Variable(name.to_owned()), "is not UTF-8");
            continue;
        };
        let steps = name[PREFIX.len()..]
            .split("__")
            .map(|step| match step.parse() {
                Ok(index) if step.bytes().all(|b| b.is_ascii_digit()) => KeyStep::Index(index),
                _ => KeyStep::Name(step.to_lowercase()),
            });
        config_variables.push((steps.collect(), name.to_owned(), value.to_owned()));
    }
    config_variables.sort();
    config_variables
}

/// Kubernetes gives every container the addresses of the services around it: a service called
/// `menshen` or `menshen-x` makes `MENSHEN_SERVICE_HOST`, `MENSHEN_X_PORT_80_TCP_ADDR` and the
/// like. They are no config.
fn is_service_link(name: &str) -> bool {
    let name = name.trim_start_matches(PREFIX);
    let has_port = |at: usize| {
        let rest = &name[at + "PORT".len()..];
        rest.is_empty()
            || rest
                .strip_prefix('_')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    !name.contains("__")
        && (name.ends_with("SERVICE_HOST")
            || name.contains("SERVICE_PORT")
            || name
                .match_indices("PORT")
                .any(|(at, _)| (at == 0 || name[..at].ends_with('_')) && has_port(at)))
}

fn set(
    node: &mut TomlNode,
    schema: Schema,
    steps: &[KeyStep],
    value: &str,
    origin: &ValueOrigin,
) -> Result<(), OverlayError> {
    let value_type = schema.value_type();
    let Some((step, rest)) = steps.split_first() else {
        node.value = whole_value(&value_type, value, origin)?;
        node.origin = origin.clone();
        return Ok(());
    };
    match (value_type, step) {
        (ValueType::Table, KeyStep::Name(name)) => {
            let property = schema.property(name).ok_or(OverlayError::Unknown)?;
            // The validator reports a value in the file that is not a table.
            let TomlValue::Table(entries) = &mut node.value else {
                return Ok(());
            };
            if let Some(entry) = entries.get_mut(name) {
                return set(entry, property, rest, value, origin);
            }
            entries.insert(name.clone(), new_node(property, rest, value, origin)?);
            Ok(())
        }
        (ValueType::List(item), KeyStep::Index(index)) => {
            let TomlValue::List(items) = &mut node.value else {
                return Ok(());
            };
            let written = items.len();
            match items.get_mut(*index) {
                Some(entry) => set(entry, item, rest, value, origin),
                None if *index == written => {
                    items.push(new_node(item, rest, value, origin)?);
                    Ok(())
                }
                None => Err(OverlayError::Because(format!(
                    "is entry {index}, and only {written} are written: they count from 0 without a gap"
                ))),
            }
        }
        (ValueType::Map(_), _) => Err(OverlayError::Because(
            "goes too deep: write all pairs in one variable, as name=value,name=value".to_owned(),
        )),
        (
            ValueType::Table
            | ValueType::List(_)
            | ValueType::Enum(_)
            | ValueType::Text(_)
            | ValueType::Integer(_)
            | ValueType::Boolean,
            _,
        ) => Err(OverlayError::Unknown),
    }
}

/// The value of a variable that sets a whole key.
fn whole_value(
    value_type: &ValueType,
    value: &str,
    origin: &ValueOrigin,
) -> Result<TomlValue, OverlayError> {
    let text = |text: &str| TomlNode {
        origin: origin.clone(),
        value: TomlValue::Text(text.trim().to_owned()),
    };
    let parts = || value.split(',').filter(|part| !part.trim().is_empty());
    match value_type {
        ValueType::Table => Err(OverlayError::Because(
            "names a section: add `__` and a key of it".to_owned(),
        )),
        ValueType::List(item) => match item.value_type() {
            ValueType::Table => Err(OverlayError::Because(
                "names a list of tables: add `__0__` and a key".to_owned(),
            )),
            _ => Ok(TomlValue::List(parts().map(text).collect())),
        },
        ValueType::Map(_) => {
            let pairs = parts().map(|part| {
                part.split_once('=')
                    .map(|(name, value)| (name.trim().to_owned(), text(value)))
            });
            let pairs: Option<BTreeMap<_, _>> = pairs.collect();
            pairs.map(TomlValue::Table).ok_or_else(|| {
                OverlayError::Because(
                    "must be name=value pairs with commas between them".to_owned(),
                )
            })
        }
        ValueType::Enum(_) | ValueType::Text(_) | ValueType::Integer(_) | ValueType::Boolean => {
            Ok(TomlValue::Text(value.to_owned()))
        }
    }
}

/// A new node with this value in it; none for a variable that is refused.
fn new_node(
    schema: Schema,
    rest: &[KeyStep],
    value: &str,
    origin: &ValueOrigin,
) -> Result<TomlNode, OverlayError> {
    let mut node = empty_node(schema, origin);
    set(&mut node, schema, rest, value, origin)?;
    Ok(node)
}

fn empty_node(schema: Schema, origin: &ValueOrigin) -> TomlNode {
    let value = match schema.value_type() {
        ValueType::Table | ValueType::Map(_) => TomlValue::Table(BTreeMap::new()),
        ValueType::List(_) => TomlValue::List(Vec::new()),
        ValueType::Enum(_) | ValueType::Text(_) | ValueType::Integer(_) | ValueType::Boolean => {
            TomlValue::Text(String::new())
        }
    };
    TomlNode {
        origin: origin.clone(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_that_kubernetes_adds_are_not_ours() {
        for name in [
            "MENSHEN_SERVICE_HOST",
            "MENSHEN_SERVICE_PORT",
            "MENSHEN_SERVICE_PORT_HTTP",
            "MENSHEN_PORT",
            "MENSHEN_PORT_8080_TCP",
            "MENSHEN_PORT_8080_TCP_PROTO",
            "MENSHEN_ADMIN_SERVICE_HOST",
            "MENSHEN_ADMIN_PORT",
            "MENSHEN_ADMIN_PORT_9090_TCP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in [
            "MENSHEN_MODE",
            "MENSHEN_SERVER__LISTEN",
            "MENSHEN_SERVER__PORT",
            "MENSHEN_IMPORT",
            "MENSHEN_PORTS",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
