//! The keys of a table in the order in which its struct declares them.
//!
//! A JSON Schema has no order, but serde tells a deserialiser the names of a struct's fields before
//! anything is read: this one listens and gives up.

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
    forward_to_deserialize_any,
};

use crate::config::{
    AdminConfig, AliyunConfig, AuthConfig, Config, CorsConfig, DialectCheck, DialectConfig,
    DialectError, DialectRoute, DypnsConfig, ForwardAuthConfig, GateConfig, HealthConfig,
    HooksConfig, IdentityConfig, IssuerConfig, LimitsConfig, MintConfig, PushConfig, ReloadConfig,
    RuleConfig, ServerConfig, SmsConfig, StoreConfig, TelemetryConfig, TencentConfig, TestPhone,
    TlsConfig, TokenConfig, UpstreamConfig, UpstreamTlsConfig, UsersConfig, WebhookConfig,
    WechatApp, WechatConfig, schema::Schema,
};

/// The keys of a table with their schemas.
pub(super) fn in_order(table: Schema) -> impl Iterator<Item = (&'static str, Schema)> {
    let fields = ORDERS
        .iter()
        .map(|fields| fields())
        .find(|(name, _)| *name == table.type_name());
    let fields = fields.map_or(&[][..], |(_, fields)| fields);
    fields
        .iter()
        .filter_map(move |name| Some((*name, table.property(name)?)))
}

type Fields = (&'static str, &'static [&'static str]);

const ORDERS: &[fn() -> Fields] = &[
    fields::<Config>,
    fields::<ServerConfig>,
    fields::<TlsConfig>,
    fields::<AdminConfig>,
    fields::<UpstreamConfig>,
    fields::<UpstreamTlsConfig>,
    fields::<HealthConfig>,
    fields::<MintConfig>,
    fields::<RuleConfig>,
    fields::<IdentityConfig>,
    fields::<AuthConfig>,
    fields::<GateConfig>,
    fields::<ForwardAuthConfig>,
    fields::<CorsConfig>,
    fields::<TokenConfig>,
    fields::<IssuerConfig>,
    fields::<StoreConfig>,
    fields::<UsersConfig>,
    fields::<WechatConfig>,
    fields::<WechatApp>,
    fields::<PushConfig>,
    fields::<SmsConfig>,
    fields::<AliyunConfig>,
    fields::<DypnsConfig>,
    fields::<TencentConfig>,
    fields::<WebhookConfig>,
    fields::<TestPhone>,
    fields::<HooksConfig>,
    fields::<LimitsConfig>,
    fields::<DialectConfig>,
    fields::<DialectRoute>,
    fields::<DialectCheck>,
    fields::<DialectError>,
    fields::<TelemetryConfig>,
    fields::<ReloadConfig>,
];

/// A struct's name and its fields.
fn fields<T: for<'de> Deserialize<'de>>() -> Fields {
    let mut fields_seen = ("", &[][..]);
    let _ = T::deserialize(Listener(&mut fields_seen));
    fields_seen
}

struct Listener<'a>(&'a mut Fields);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = (name, fields);
        Err(de::Error::custom("the names are all that was wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::ValueType;

    #[test]
    fn every_table_has_an_order_of_all_its_keys() {
        let mut tables = vec![Schema::root()];
        for (_, schema) in Schema::root().walk("") {
            match schema.value_type() {
                ValueType::Table => tables.push(schema),
                ValueType::List(item) if matches!(item.value_type(), ValueType::Table) => {
                    tables.push(item)
                }
                _ => {}
            }
        }
        // One struct may be a table in several places.
        tables.sort_by_key(|table| table.type_name());
        tables.dedup_by_key(|table| table.type_name());
        assert_eq!(tables.len(), ORDERS.len());
        for table in tables {
            let mut ordered: Vec<_> = in_order(table).map(|(name, _)| name).collect();
            ordered.sort_unstable();
            assert!(
                ordered.iter().eq(table
                    .properties()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
                    .iter()),
                "{}",
                table.type_name()
            );
        }
    }

    #[test]
    fn the_order_is_that_of_the_struct() {
        assert_eq!(
            fields::<AdminConfig>(),
            ("AdminConfig", &["listen", "token", "token_file"][..])
        );
        assert_eq!(
            in_order(Schema::root()).next().map(|(name, _)| name),
            Some("mode")
        );
    }
}
