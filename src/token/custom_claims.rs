//! Claims that have no meaning here and that a rule or a header asks for.

use std::sync::Arc;

use serde::de::{Error, MapAccess};
use serde_json::Value;

use super::strict_json::Member;

/// Further claims that a rule or a header asks for, by name; the others are not kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomClaims(pub(super) Vec<(Arc<str>, Vec<String>)>);

impl CustomClaims {
    /// Those that a test has.
    #[cfg(test)]
    pub(crate) fn of<'a>(claims: impl Iterator<Item = (&'a str, Value)>) -> Self {
        Self(
            claims
                .map(|(name, value)| (name.into(), texts(value)))
                .collect(),
        )
    }

    /// Keeps the next value if somebody asks for this name.
    pub(super) fn read_member<'de, A: MapAccess<'de>>(
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

    /// What the claim says: one value, or each of a list. Numbers and truth values are as JSON
    /// writes them. Empty: nothing.
    pub fn get(&self, name: &str) -> &[String] {
        self.0
            .iter()
            .find(|(known, _)| &**known == name)
            .map_or(&[], |(_, values)| values)
    }
}

/// The plain values in a claim: itself, or those of a list. A fraction is none, since not everybody
/// reads it alike.
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

/// They can be personal.
impl std::fmt::Debug for CustomClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}
