//! Texts of message parameters, with places for the code and for how long it is good.
//!
//! Values go into texts that have been parsed, never into JSON itself, so no value can change its
//! structure.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::types::{Malformed, SmsCode};

const CODE: &str = "{code}";
const MINUTES: &str = "{minutes}";

/// A text in which `{code}` and `{minutes}` are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// A JSON object of such texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTemplate(Vec<(String, Template)>);

/// What a template is filled with.
#[derive(Debug, Clone, Copy)]
pub struct CodeValues<'a> {
    pub code: &'a SmsCode,
    /// For how many minutes it is good.
    pub minutes: u64,
}

impl Template {
    /// Whether the code goes in here.
    pub fn has_code(&self) -> bool {
        self.0.contains(CODE)
    }

    /// The text with its values.
    pub fn fill(&self, with: CodeValues<'_>) -> String {
        self.0
            .replace(CODE, with.code.expose())
            .replace(MINUTES, &with.minutes.to_string())
    }
}

impl FromStr for Template {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = text.replace(CODE, "").replace(MINUTES, "");
        if rest.contains(['{', '}']) {
            return Err(Malformed(
                "has braces around something else than {code} or {minutes}",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl JsonTemplate {
    /// The object with its values, as one line of JSON.
    pub fn fill(&self, with: CodeValues<'_>) -> String {
        let filled = self
            .0
            .iter()
            .map(|(name, text)| (name.clone(), Value::from(text.fill(with))));
        Value::Object(filled.collect::<Map<_, _>>()).to_string()
    }
}

impl FromStr for JsonTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "is not a JSON object of texts, such as {\"code\":\"{code}\",\"min\":\"{minutes}\"}",
        );
        let entries: Map<String, Value> = serde_json::from_str(text).map_err(|_| WRONG)?;
        let read = |(name, value): (String, Value)| match value {
            Value::String(text) => Ok((name, text.parse()?)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(WRONG),
        };
        let entries = entries
            .into_iter()
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        if entries
            .iter()
            .any(|(_, text): &(String, Template)| text.has_code())
        {
            Ok(Self(entries))
        } else {
            Err(Malformed(
                "has no {code}: the message would not contain the code",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_are_filled_and_nothing_else_is_one() {
        let code = SmsCode::parse("012345").unwrap();
        let with = CodeValues {
            code: &code,
            minutes: 5,
        };
        let fill = |text: &str| text.parse::<Template>().map(|template| template.fill(with));
        assert_eq!(fill("{code}"), Ok("012345".to_owned()));
        assert_eq!(
            fill("good for {minutes} min"),
            Ok("good for 5 min".to_owned())
        );
        assert_eq!(fill(""), Ok(String::new()));
        for text in ["{Code}", "{minute}", "{", "}", "{{code}}", "${x}"] {
            assert!(fill(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_stays_the_object_that_it_is() {
        let code = SmsCode::parse("012345").unwrap();
        let with = CodeValues {
            code: &code,
            minutes: 5,
        };
        let fill = |text: &str| {
            text.parse::<JsonTemplate>()
                .map(|template| template.fill(with))
        };
        assert_eq!(
            fill(r#"{ "min": "{minutes}", "code": "{code}" }"#).unwrap(),
            r#"{"code":"012345","min":"5"}"#
        );
        assert_eq!(
            fill(r#"{"a\"b":"\"{code}\\"}"#).unwrap(),
            r#"{"a\"b":"\"012345\\"}"#
        );
        for text in [
            "",
            "{code}",
            "[\"{code}\"]",
            r#"{"code":123456}"#,
            r#"{"code":{"a":"{code}"}}"#,
            r#"{"min":"{minutes}"}"#,
            r#"{"{code}":"x"}"#,
            r#"{"code":"{code}","x":"{y}"}"#,
            "{}",
        ] {
            assert!(fill(text).is_err(), "{text}");
        }
    }
}
