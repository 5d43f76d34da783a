//! The keys of a table in the order in which its struct declares them.
//!
//! A JSON Schema has no order, but serde passes the names of a struct's fields, in order, to the
//! deserializer. This one goes down a path of keys and notes the names that it finds there.

use std::iter;

use serde::{
    Deserialize, Deserializer,
    de::{
        self, IntoDeserializer, Visitor,
        value::{Error, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::config::Config;

/// The keys of the table `path`, as in `wechat.app`; the root is empty.
pub(super) fn field_order(path: &str) -> &'static [&'static str] {
    let path: Vec<&str> = path.split_terminator('.').collect();
    let mut fields = &[][..];
    // It always ends with an error: there is no value to build.
    let _ = Config::deserialize(FieldNames {
        path: &path,
        fields: &mut fields,
    });
    fields
}

struct FieldNames<'a> {
    path: &'a [&'a str],
    fields: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some((key, path)) = self.path.split_first() else {
            *self.fields = fields;
            return Err(de::Error::custom("the names are noted"));
        };
        let inner = FieldNames { path, ..self };
        visitor.visit_map(MapDeserializer::new(iter::once((*key, inner))))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(iter::once(self)))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("not a table"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for FieldNames<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{Schema, ValueType};

    #[test]
    fn every_table_has_an_order_of_all_its_keys() {
        let mut tables = vec![(String::new(), Schema::root())];
        for (key, schema) in Schema::root().walk("") {
            match schema.value_type() {
                ValueType::Table => tables.push((key, schema)),
                ValueType::List(item) if matches!(item.value_type(), ValueType::Table) => {
                    tables.push((key, item));
                }
                _ => {}
            }
        }
        assert!(tables.len() > 30, "only {} tables", tables.len());
        for (key, table) in tables {
            let mut ordered = field_order(&key.replace("[0]", "")).to_vec();
            ordered.sort_unstable();
            let all: Vec<_> = table.properties().map(|(name, _)| name).collect();
            assert_eq!(ordered, all, "{key}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_struct() {
        assert_eq!(
            field_order("admin"),
            ["listen", "token", "token_file", "hosts"]
        );
        assert_eq!(field_order("").first(), Some(&"mode"));
    }
}
