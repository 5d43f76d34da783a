//! What a newer version of menshen wrote into a record that this one reads and writes back.

use std::{collections::BTreeMap, fmt};

use rmpv::Value;
use serde::{Deserialize, Serialize};

/// Fields that this version does not know, by name. A struct of a record that may be written back has
/// one of these, flattened, so that two versions can run side by side: neither loses what the other
/// wrote. Personal, as the rest of a record may be: it does not print.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnknownFields(BTreeMap<String, Value>);

impl UnknownFields {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Numbers that are not equal to themselves are equal here.
impl Eq for UnknownFields {}

impl fmt::Debug for UnknownFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnknownFields(***)")
    }
}
