//! Further claims that a backend adds to the tokens of a user.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Malformed, identity::is_plain};

/// Most claims of one user.
const MAX_CLAIMS: usize = 16;
/// Longest name, in bytes.
const MAX_NAME_LEN: usize = 64;
/// Longest text, in bytes.
const MAX_TEXT_LEN: usize = 256;
/// Most texts of one list.
const MAX_LIST_LEN: usize = 16;
/// Most bytes of all claims as JSON: they are part of every request, in a token of at most 8 KiB.
const MAX_JSON_LEN: usize = 1024;

/// Further claims of one user: flat, few and short. Personal: they do not print.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtraClaims(Map<String, Value>);

impl ExtraClaims {
    /// Accepts texts, numbers, booleans and lists of texts, under names that are not reserved.
    pub fn parse(claims: Map<String, Value>, reserved: &[&str]) -> Result<Self, Malformed> {
        if claims.len() > MAX_CLAIMS {
            return Err(Malformed("has more than 16 claims"));
        }
        for (name, value) in &claims {
            if !is_plain(name, MAX_NAME_LEN, b"-_.:/") {
                return Err(Malformed(
                    "has a name that is not 1 to 64 letters, digits or '-_.:/'",
                ));
            }
            if reserved.contains(&name.as_str()) {
                return Err(Malformed("has a name that is menshen's own"));
            }
            if !is_flat(value) {
                return Err(Malformed(
                    "has a value that is not a text, number, boolean or list of texts, or too long",
                ));
            }
        }
        if serde_json::to_vec(&claims).map_or(true, |json| json.len() > MAX_JSON_LEN) {
            return Err(Malformed("is longer than 1024 bytes"));
        }
        Ok(Self(claims))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims by name.
    pub const fn get(&self) -> &Map<String, Value> {
        &self.0
    }
}

fn is_flat(value: &Value) -> bool {
    let is_text = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.len() <= MAX_TEXT_LEN)
    };
    match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(_) => is_text(value),
        Value::Array(texts) => texts.len() <= MAX_LIST_LEN && texts.iter().all(is_text),
        Value::Null | Value::Object(_) => false,
    }
}

impl fmt::Debug for ExtraClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtraClaims({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(claims: &Value) -> Result<ExtraClaims, Malformed> {
        ExtraClaims::parse(claims.as_object().unwrap().clone(), &["sub", "exp"])
    }

    #[test]
    fn flat_claims_are_taken_and_do_not_print() {
        let claims =
            parse(&json!({ "tenant": "north", "level": 3, "vip": true, "groups": ["a", "b"] }))
                .unwrap();
        assert_eq!(claims.get()["groups"], json!(["a", "b"]));
        assert_eq!(format!("{claims:?}"), "ExtraClaims(4)");
    }

    #[test]
    fn what_is_reserved_nested_or_too_long_is_not() {
        let many: Map<String, Value> = (0..17).map(|n| (format!("c{n}"), json!(n))).collect();
        let long: Map<String, Value> = (0..5)
            .map(|n| (format!("c{n}"), json!("x".repeat(250))))
            .collect();
        for claims in [
            json!({ "sub": "1" }),
            json!({ "exp": 1 }),
            json!({ "": 1 }),
            json!({ "a b": 1 }),
            json!({ "x".repeat(65): 1 }),
            json!({ "a": null }),
            json!({ "a": { "b": 1 } }),
            json!({ "a": [1] }),
            json!({ "a": [["b"]] }),
            json!({ "a": "x".repeat(257) }),
            json!({ "a": vec!["b"; 17] }),
            Value::Object(many),
            Value::Object(long),
        ] {
            assert!(parse(&claims).is_err(), "{claims}");
        }
    }
}
