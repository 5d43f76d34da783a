//! Values as people write them: `15m`, `16KiB`, `30/1m`, and secrets that do not print.
//!
//! Each is a text in the file and in the environment, parsed once. Its JSON Schema names its
//! format, so that a wrong value is reported with its line and with what would be right.

mod byte_size;
mod day;
mod duration;
mod rate;
mod secret_text;

pub use byte_size::ByteSize;
pub use day::end_of_day;
pub use duration::HumanDuration;
pub use rate::Rate;
pub use secret_text::SecretText;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Gives a type that is written as one text its serde conversions and its schema.
macro_rules! text_value {
    ($name:ident, $format:literal) => {
        impl TryFrom<String> for $name {
            type Error = $crate::types::Malformed;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}
pub(super) use text_value;

/// Stands for an [`ipnet::IpNet`] in the schema.
#[derive(Debug)]
pub(super) struct Network;

impl JsonSchema for Network {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "network" })
    }
}

/// A table with free keys, for an example.
pub(super) fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// A whole number without sign and what follows it.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}
