//! The values of a config in use, each with its origin, as people read them.
//!
//! Must stay true: no secret is among them, and no password of a URL.

use serde_json::Value;

use super::{
    Config,
    problems::{ValueOrigins, within},
    schema::{Schema, TextFormat, ValueType},
};
use crate::types::Phone;

/// A value in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInForce {
    /// As in `rule[2].path`.
    pub key: String,
    /// As in the file; a secret is `***`, and a phone is masked.
    pub value: String,
    /// `config.toml:12` or `MENSHEN_ADMIN__LISTEN`; `None`: the default.
    pub origin: Option<String>,
}

/// Every value of the config, in the order of the keys; without keys that have no value.
pub fn values_in_force(config: &Config, origins: &ValueOrigins) -> Vec<ValueInForce> {
    let values = serde_json::to_value(config).unwrap_or_default();
    let mut listed = Listed {
        origins,
        values: Vec::new(),
    };
    listed.add(Schema::root(), &values, "");
    listed.values
}

struct Listed<'a> {
    origins: &'a ValueOrigins,
    values: Vec<ValueInForce>,
}

impl Listed<'_> {
    fn add(&mut self, schema: Schema, value: &Value, key: &str) {
        match (schema.value_type(), value) {
            (_, Value::Null) => {}
            (ValueType::Table, Value::Object(entries)) => {
                for (name, property) in schema.properties() {
                    if let Some(value) = entries.get(name) {
                        self.add(property, value, &within(key, name));
                    }
                }
            }
            (ValueType::List(item), Value::Array(items))
                if matches!(item.value_type(), ValueType::Table) =>
            {
                for (n, value) in items.iter().enumerate() {
                    self.add(item, value, &format!("{key}[{n}]"));
                }
            }
            (ValueType::List(item), Value::Array(items)) => {
                let texts: Vec<_> = items.iter().map(|value| text(item, value, key)).collect();
                self.push(key, format!("[{}]", texts.join(", ")));
            }
            (ValueType::Map(item), Value::Object(entries)) => {
                for (name, value) in entries {
                    self.add(item, value, &within(key, name));
                }
            }
            (_, value) => self.push(key, text(schema, value, key)),
        }
    }

    fn push(&mut self, key: &str, value: String) {
        self.values.push(ValueInForce {
            key: key.to_owned(),
            value,
            origin: self.origins.describe(key),
        });
    }
}

fn text(schema: Schema, value: &Value, key: &str) -> String {
    let Value::String(text) = value else {
        return value.to_string();
    };
    if matches!(schema.value_type(), ValueType::Text(TextFormat::Secret)) {
        return "***".to_owned();
    }
    if key.rsplit('.').next() == Some("phone") {
        return Phone::parse_any(text).map_or_else(|_| "***".to_owned(), |phone| phone.masked());
    }
    format!("{:?}", without_credentials(text))
}

/// A URL without user and password before its host, and without its query; other texts as they are.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn values(text: &str) -> Vec<ValueInForce> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let source = Source {
            file: Some(file),
            environment: vec![("MENSHEN_TOKENS__LEEWAY".into(), "7s".into())],
        };
        let loaded = Config::load(&source).unwrap();
        let path = format!("{}/", directory.path().display());
        let mut values = values_in_force(&loaded.config, &loaded.origins);
        for value in &mut values {
            value.origin = value.origin.take().map(|origin| origin.replace(&path, ""));
        }
        values
    }

    #[test]
    fn each_value_says_where_it_comes_from_and_no_secret_is_shown() {
        let values = values(
            "mode = 'development'\n[admin]\ntoken = '0123456789abcdef0123456789abcdef'\n[server]\nlisten = ['127.0.0.1:8080']\n\
             [[rule]]\nname = 'health'\npath = '/health'\naccess = 'public'\n[upstream]\nurls = ['http://127.0.0.1:1']\n\
             [[sms.test_phone]]\nphone = '13800000000'\ncode = '123456'\nuntil = '2099-01-01'\n",
        );
        let of = |key: &str| {
            let value = values.iter().find(|value| value.key == key);
            let value = value.unwrap_or_else(|| panic!("{key} is not among them"));
            (value.value.as_str(), value.origin.as_deref())
        };
        assert_eq!(of("admin.token"), ("***", Some("config.toml:3")));
        assert_eq!(
            of("server.listen"),
            ("[\"127.0.0.1:8080\"]", Some("config.toml:5"))
        );
        assert_eq!(of("rule[0].path"), ("\"/health\"", Some("config.toml:8")));
        assert_eq!(
            of("tokens.leeway"),
            ("\"7s\"", Some("MENSHEN_TOKENS__LEEWAY"))
        );
        assert_eq!(of("gate.report_only"), ("false", None));
        assert_eq!(of("sms.test_phone[0].phone").0, "138****0000");
        assert_eq!(of("sms.test_phone[0].code").0, "***");
        assert!(!format!("{values:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_url_is_shown_without_its_credentials() {
        for (url, shown) in [
            (
                "postgres://menshen:p@ss@db/menshen",
                "postgres://***@db/menshen",
            ),
            (
                "https://example.com/hook?key=1",
                "https://example.com/hook?***",
            ),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("sled:./data", "sled:./data"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
