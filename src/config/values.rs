//! Values as people write them: `15m`, `16KiB`, `30/1m`, and secrets that do not print.

use std::{fmt, num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Malformed, Secret};

/// A length of time: a whole number and a unit, `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HumanDuration(Duration);

impl HumanDuration {
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
    pub const fn minutes(n: u64) -> Self {
        Self::secs(n * 60)
    }
    pub const fn days(n: u64) -> Self {
        Self::secs(n * 86_400)
    }
    /// The span itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// A number of bytes: a whole number, alone or with `KiB` or `MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ByteSize(usize);

impl ByteSize {
    pub const fn kib(n: usize) -> Self {
        Self(n * 1024)
    }
    pub const fn mib(n: usize) -> Self {
        Self::kib(n * 1024)
    }
    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// So many in such a time, as a burst that refills evenly: `30/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Rate {
    pub count: NonZeroU32,
    pub per: HumanDuration,
}

impl Rate {
    /// For defaults, which are written in the code.
    ///
    /// # Panics
    /// When `count` is zero; only constants are passed.
    pub const fn per_minute(count: u32) -> Self {
        Self { count: NonZeroU32::new(count).expect("a default rate is not zero"), per: HumanDuration::minutes(1) }
    }
}

/// A secret given in the config or its environment; prints as `***` everywhere, also when the config is serialised.
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

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// stand-in
impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("***")
    }
}
impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}
impl JsonSchema for SecretText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretText".into()
    }
    fn json_schema(g: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(g)
    }
}
macro_rules! standin {
    ($($t:ty),*) => {$(
        impl TryFrom<String> for $t { type Error = Malformed; fn try_from(_: String) -> Result<Self, Malformed> { Err(Malformed("stand-in")) } }
        impl From<$t> for String { fn from(_: $t) -> Self { String::new() } }
    )*};
}
standin!(HumanDuration, ByteSize, Rate, super::ReplayWindow);
