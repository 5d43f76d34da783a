//! 128 random bits in a record.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// An id or a salt as 16 bytes. serde does not read a `u128` in a struct that also keeps fields which it
/// does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Bits(pub(in crate::store) u128);

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_be_bytes())
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SixteenBytes;
        impl Visitor<'_> for SixteenBytes {
            type Value = Bits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bits, E> {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Bits(u128::from_be_bytes(bytes)))
            }
        }
        deserializer.deserialize_bytes(SixteenBytes)
    }
}
