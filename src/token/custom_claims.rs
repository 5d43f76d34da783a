//! Claims without a meaning of their own that rules and headers of the config use.

use std::sync::Arc;

use serde::de::{Error, MapAccess};
use serde_json::Value;

use super::strict_json::Member;

/// The claims that rules and headers use, by name; others are dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomClaims(pub(super) Vec<(Arc<str>, Vec<String>)>);

impl CustomClaims {
    /// For tests.
    #[cfg(test)]
    pub(crate) fn of<'a>(claims: impl Iterator<Item = (&'a str, Value)>) -> Self {
        Self(
            claims
                .map(|(name, value)| (name.into(), texts(value)))
                .collect(),
        )
    }

    /// Reads the next value if this claim is wanted.
    pub(super) fn read<'de, A: MapAccess<'de>>(
        &mut self,
        wanted: &[Arc<str>],
        name: &str,
        map: &mut A,
    ) -> Result<Member, A::Error> {
        let Some(name) = wanted.iter().find(|wanted| &***wanted == name) else {
            return Ok(Member::Ignored);
        };
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(A::Error::custom("a name twice"));
        }
        self.0.push((Arc::clone(name), texts(map.next_value()?)));
        Ok(Member::Read)
    }

    /// The value of the claim, or each of a list; numbers and booleans as JSON writes them. Empty:
    /// absent.
    pub fn get(&self, name: &str) -> &[String] {
        self.0
            .iter()
            .find(|(known, _)| &**known == name)
            .map_or(&[], |(_, values)| values)
    }
}

/// The scalar values of a claim: itself, or those of a list. A fraction is none, since readers
/// differ about it.
pub(super) fn texts(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Number(number) if !number.is_f64() => vec![number.to_string()],
        Value::Array(values) => values
            .into_iter()
            .filter(|value| !value.is_array())
            .flat_map(texts)
            .collect(),
        Value::Number(_) | Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// Prints names only: values can be personal.
impl std::fmt::Debug for CustomClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}
