//! Where a route finds its inputs, and what they have to look like.

use http::HeaderName;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{
    place::{Given, Place, Source},
    text::Text,
};
use crate::config::DialectCheck;

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// A field of the body, inside those before it.
    Body(Vec<String>),
    Header(HeaderName),
    Query(String),
}

impl Whereabouts {
    /// Reads `body.field`, `header.Name` or `query.name`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (place, name) = text.split_once('.').unwrap_or((text, ""));
        match place {
            "body" if name.split('.').all(|step| !step.is_empty()) => {
                Ok(Self::Body(name.split('.').map(str::to_owned).collect()))
            }
            "header" => HeaderName::try_from(name).map(Self::Header).map_err(|_| "names no header field"),
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err("is no place of an input: write body.field, header.Name or query.name"),
        }
    }

    /// The name that the client gives it.
    pub fn name(&self) -> &str {
        match self {
            Self::Body(steps) => steps.last().map_or("", String::as_str),
            Self::Header(name) => name.as_str(),
            Self::Query(name) => name,
        }
    }
}

/// One thing that an input has to be.
#[derive(Debug, Clone)]
pub struct Check {
    /// By the name that the auth API has for it.
    pub input: String,
    rule: Rule,
    pub message: String,
}

#[derive(Debug, Clone)]
enum Rule {
    Text,
    /// Characters, from and to.
    Length(usize, usize),
    Pattern(Regex),
}

/// A message has no places.
struct Nothing;

impl Source for Nothing {
    fn give(&self, _: Place) -> Given<'_> {
        Given::Nothing
    }
}

/// The pattern with the classes of JavaScript: `\d`, `\w`, `\s` and `\b` are about ASCII, all else about characters.
fn with_ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            out.push(sign);
            continue;
        }
        match signs.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\v\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\v\f\r ]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Most bytes of a compiled pattern.
const LARGEST_PATTERN: usize = 256 * 1024;

impl Check {
    /// What the config says, for inputs that the route has; else the key in it that is wrong, and how.
    pub(super) fn compile(config: &DialectCheck) -> Result<Self, (&'static str, String)> {
        let rule = match (config.length.as_slice(), &config.pattern) {
            ([], None) => Rule::Text,
            (&[fewest, most], None) if fewest <= most => Rule::Length(fewest as usize, most as usize),
            ([], Some(pattern)) => {
                let built = RegexBuilder::new(&with_ascii_classes(pattern)).size_limit(LARGEST_PATTERN).build();
                Rule::Pattern(built.map_err(|error| {
                    let lines: Vec<_> = error.to_string().lines().map(|line| line.trim().to_owned()).collect();
                    ("pattern", format!("is no regular expression: {}", lines.last().map_or("", String::as_str)))
                })?)
            }
            (_, Some(_)) => return Err(("pattern", "is given together with `length`: write two checks".to_owned())),
            (_, None) => return Err(("length", "must be [fewest, most]".to_owned())),
        };
        let message = Text::parse(&config.message, &[]).map_err(|says| ("message", says))?.fill(&Nothing);
        Ok(Self { input: config.input.clone(), rule, message })
    }

    /// Whether this is what it has to be. A number passes for its digits; what is missing passes for the empty text, but is none.
    pub fn passes(&self, value: Option<&Value>) -> bool {
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            None | Some(Value::Null) => String::new(),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return false,
        };
        match &self.rule {
            Rule::Text => matches!(value, Some(Value::String(_))),
            Rule::Length(fewest, most) => (*fewest..=*most).contains(&text.chars().count()),
            Rule::Pattern(pattern) => pattern.is_match(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_input_is_in_the_body_a_header_or_the_query() {
        let path = Whereabouts::Body(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Whereabouts::parse("body.a.b"), Ok(path));
        assert_eq!(Whereabouts::parse("header.X-Token").unwrap().name(), "x-token");
        for text in ["", "body", "body.", "body..a", "header.", "header.a b", "query.", "cookie.a", "code"] {
            assert!(Whereabouts::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_check_is_for_texts_and_takes_numbers_for_their_digits() {
        let check = |length: &[u32], pattern: Option<&str>| {
            Check::compile(&DialectCheck {
                input: "phone".to_owned(),
                length: length.to_vec(),
                pattern: pattern.map(str::to_owned),
                message: "no".to_owned(),
            })
        };
        let (eleven, digits) = (check(&[11, 11], None).unwrap(), check(&[], Some(r"^[1-9]\d{10}$")).unwrap());
        let text = check(&[], None).unwrap();
        for (value, passes) in [
            (Some(json!("13800138000")), [true, true, true]),
            (Some(json!(13_800_138_000_u64)), [true, true, false]),
            (Some(json!("一二三四五六七八九十一")), [true, false, true]),
            (Some(json!("1380013800٣")), [true, false, true]),
            (Some(json!("1")), [false, false, true]),
            (Some(json!("13800138000\n")), [false, false, true]),
            (Some(json!(["13800138000"])), [false, false, false]),
            (Some(json!(null)), [false, false, false]),
            (None, [false, false, false]),
        ] {
            let got = [&eleven, &digits, &text].map(|check| check.passes(value.as_ref()));
            assert_eq!(got, passes, "{value:?}");
        }
        assert_eq!(check(&[1], None).unwrap_err().0, "length");
        assert_eq!(check(&[2, 1], None).unwrap_err().0, "length");
        assert_eq!(check(&[1, 2], Some("a")).unwrap_err().0, "pattern");
        let (key, says) = check(&[], Some("(a")).unwrap_err();
        assert_eq!((key, says.as_str()), ("pattern", "is no regular expression: error: unclosed group"));
        assert_eq!(check(&[], Some("(a{1000}){1000}")).unwrap_err().0, "pattern", "too large");
        for (pattern, text, passes) in [
            ("^.{2,4}$", "小明", true),
            ("^[一-龥]+$", "小明", true),
            (r"^[\d-]+$", "1-2", true),
            (r"^\\d$", r"\d", true),
            (r"^\w+$", "é", false),
            (r"^\S\s\D\W\b?$", "é x ", true),
        ] {
            assert_eq!(check(&[], Some(pattern)).unwrap().passes(Some(&json!(text))), passes, "{pattern}");
        }
    }
}
