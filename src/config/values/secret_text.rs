//! Secrets as the config holds them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{crypto, types::Secret};

/// A secret given in the config or its environment; prints as `***` everywhere, also when the
/// config is serialised.
#[derive(Clone)]
pub struct SecretText(Secret<String>);

impl SecretText {
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }
    /// The text itself.
    pub const fn expose(&self) -> &String {
        self.0.expose()
    }
}

impl PartialEq for SecretText {
    /// In a time that tells nothing about where they differ.
    fn eq(&self, other: &Self) -> bool {
        crypto::constant_time_eq(self.expose().as_bytes(), other.expose().as_bytes())
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("***")
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret", "writeOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_written() {
        let secret: SecretText = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret, SecretText::new("hunter2".to_owned()));
        assert_ne!(secret, SecretText::new("hunter".to_owned()));
    }
}
