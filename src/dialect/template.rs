//! JSON with placeholders, whose members keep their order.
//!
//! A text that is one placeholder and nothing else becomes its value, whatever its type; a member
//! whose name ends with `?` is left out if its value is `null`.
//!
//! Must stay true: a placeholder becomes a value and nothing else. A JSON serializer writes it, so
//! nothing from a client can become a member or a bracket.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Number, Value};

use super::{
    placeholder::{Placeholder, PlaceholderSource},
    text::{Substitution, Text},
};

/// A JSON document with placeholders.
#[derive(Debug, Clone)]
pub(super) struct Template(TemplateNode);

#[derive(Debug, Clone)]
enum TemplateNode {
    /// `null`, a bool or a number.
    Fixed(Value),
    Text(Text),
    List(Vec<TemplateNode>),
    Object(Vec<TemplateMember>),
}

#[derive(Debug, Clone)]
struct TemplateMember {
    name: String,
    /// Left out if the value is `null`.
    is_optional: bool,
    value: TemplateNode,
}

impl Template {
    /// Parses JSON in which only these placeholders are allowed.
    pub(super) fn parse(json: &str, allowed: &[&[Placeholder]]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            format!(
                "is not JSON: {reason} in line {}, column {} of the template",
                error.line(),
                error.column()
            )
        })?;
        Ok(Self(TemplateNode::from_raw(raw, allowed)?))
    }

    /// The document with the values in place of its placeholders, without spaces between its parts.
    pub(super) fn render(&self, from: &impl PlaceholderSource) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.0.write(&mut out, from);
        out
    }

    /// Whether it has this placeholder.
    pub(super) fn uses(&self, placeholder: Placeholder) -> bool {
        self.0.uses(placeholder)
    }
}

impl TemplateNode {
    fn from_raw(raw: Raw, allowed: &[&[Placeholder]]) -> Result<Self, String> {
        Ok(match raw {
            Raw::Null => Self::Fixed(Value::Null),
            Raw::Bool(truth) => Self::Fixed(truth.into()),
            Raw::Number(number) => Self::Fixed(Value::Number(number)),
            Raw::Text(text) => Self::Text(Text::parse(&text, allowed)?),
            Raw::List(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Self::from_raw(item, allowed))
                    .collect::<Result<_, _>>()?,
            ),
            Raw::Object(members) => {
                let members = members.into_iter().map(|(name, value)| {
                    if name.contains(['{', '}']) {
                        return Err(format!("has a placeholder in the name of the member `{name}`: only values have placeholders"));
                    }
                    let value = Self::from_raw(value, allowed)?;
                    let (name, is_optional) = match name.strip_suffix('?') {
                        Some(name) => (name.to_owned(), true),
                        None => (name, false),
                    };
                    Ok(TemplateMember { name, is_optional, value })
                });
                let members = members.collect::<Result<Vec<_>, String>>()?;
                let twice = members
                    .iter()
                    .enumerate()
                    .find(|(n, one)| members[..*n].iter().any(|other| other.name == one.name));
                match twice {
                    Some((_, twice)) => {
                        return Err(format!("has the member `{}` twice", twice.name));
                    }
                    None => Self::Object(members),
                }
            }
        })
    }

    fn write(&self, out: &mut Vec<u8>, from: &impl PlaceholderSource) {
        match self {
            Self::Fixed(value) => write_json(out, value),
            Self::Text(text) => match text.substitute(from) {
                Substitution::Value(value) => write_json(out, &value),
                Substitution::RawJson(json) => out.extend_from_slice(json.as_bytes()),
            },
            Self::List(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write(out, from);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                let mut is_first = true;
                for member in members {
                    if member.is_optional && member.value.is_null(from) {
                        continue;
                    }
                    if !std::mem::take(&mut is_first) {
                        out.push(b',');
                    }
                    write_json(out, &Value::String(member.name.clone()));
                    out.push(b':');
                    member.value.write(out, from);
                }
                out.push(b'}');
            }
        }
    }

    fn is_null(&self, from: &impl PlaceholderSource) -> bool {
        match self {
            Self::Fixed(value) => value.is_null(),
            Self::Text(text) => text.substitute(from).is_null(),
            Self::List(_) | Self::Object(_) => false,
        }
    }

    fn uses(&self, placeholder: Placeholder) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(text) => text.uses(placeholder),
            Self::List(items) => items.iter().any(|item| item.uses(placeholder)),
            Self::Object(members) => members.iter().any(|member| member.value.uses(placeholder)),
        }
    }
}

/// Serializing into memory does not fail.
fn write_json(out: &mut Vec<u8>, value: &Value) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

/// JSON with the members of objects in their order.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    #[serde(deserialize_with = "ordered_members")]
    Object(Vec<(String, Self)>),
}

fn ordered_members<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Raw)>, D::Error> {
    struct MembersVisitor;
    impl<'de> Visitor<'de> for MembersVisitor {
        type Value = Vec<(String, Raw)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = from.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    from.deserialize_map(MembersVisitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::placeholder::{COMMON, FIELD, PlaceholderValue};

    struct Sent<'a>(&'a str);

    impl PlaceholderSource for Sent<'_> {
        fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
            match placeholder {
                Placeholder::FieldValue => PlaceholderValue::text(Some(self.0)),
                Placeholder::Status => PlaceholderValue::Number(200),
                _ => PlaceholderValue::Null,
            }
        }
    }

    fn render(json: &str, sent: &str) -> String {
        String::from_utf8(
            Template::parse(json, &[COMMON, FIELD])
                .unwrap()
                .render(&Sent(sent)),
        )
        .unwrap()
    }

    #[test]
    fn members_stay_in_their_order_and_go_when_they_are_optional() {
        assert_eq!(
            render(
                r#" { "z": 1, "a": [ true, null, 1.5, "x" ], "s": "{status}", "b?": "{request_id}", "c": "{request_id}",
                      "d": {}, "e?": "{status}" } "#,
                ""
            ),
            r#"{"z":1,"a":[true,null,1.5,"x"],"s":200,"c":null,"d":{},"e":200}"#
        );
        assert_eq!(
            render(r#""{status}""#, ""),
            "200",
            "a document may be one value"
        );
    }

    #[test]
    fn what_a_client_sent_is_a_value_and_nothing_else() {
        let sent = "\",\"admin\":true,\"x\":\"\n\u{2028}{status}</script>";
        let whole: Value = serde_json::from_str(&render(
            r#"{"v":"{field.value}","w":"a{field.value}"}"#,
            sent,
        ))
        .unwrap();
        assert_eq!(
            whole,
            serde_json::json!({ "v": sent, "w": format!("a{sent}") })
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (json, says) in [
            (
                "{\n  \"a\": }",
                "is not JSON: expected value in line 2, column 8 of the template",
            ),
            (
                "{\"a\": 1,}",
                "is not JSON: trailing comma in line 1, column 9 of the template",
            ),
            (
                "",
                "is not JSON: EOF while parsing a value in line 1, column 0 of the template",
            ),
            ("{\"a\": \"{now\"}", "has a `{` without a `}`"),
            ("{\"a\":1,\"a\":2}", "has the member `a` twice"),
            ("{\"a\":1,\"a?\":2}", "has the member `a` twice"),
        ] {
            let error = Template::parse(json, &[COMMON]).unwrap_err();
            assert!(error.starts_with(says), "{json:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_written_as_json(text in "[\\[\\]{}\":,a?1 ]{0,24}", sent in "\\PC*") {
            if let Ok(read) = Template::parse(&text, &[COMMON, FIELD]) {
                let written: Result<Value, _> = serde_json::from_slice(&read.render(&Sent(&sent)));
                proptest::prop_assert!(written.is_ok());
            }
        }
    }
}
