//! The locations of inputs, and the checks on them.

use http::HeaderName;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{
    placeholder::{Placeholder, PlaceholderSource, PlaceholderValue},
    text::Text,
};
use crate::config::{CheckRule, DialectCheck};

/// The location of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputLocation {
    /// A path of nested fields of the body.
    Body(Vec<String>),
    Header(HeaderName),
    Query(String),
}

impl InputLocation {
    /// Parses `body.field`, `header.Name` or `query.name`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (location, name) = text.split_once('.').unwrap_or((text, ""));
        match location {
            "body" if name.split('.').all(|step| !step.is_empty()) => {
                Ok(Self::Body(name.split('.').map(str::to_owned).collect()))
            }
            "header" => HeaderName::try_from(name)
                .map(Self::Header)
                .map_err(|_| "names no header field"),
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err("is not a location of an input: write body.field, header.Name or query.name"),
        }
    }

    /// Whether it is in the body.
    pub const fn is_in_body(&self) -> bool {
        matches!(self, Self::Body(_))
    }

    /// The client's name of the input.
    pub fn name(&self) -> &str {
        match self {
            Self::Body(steps) => steps.last().map_or("", String::as_str),
            Self::Header(name) => name.as_str(),
            Self::Query(name) => name,
        }
    }
}

/// The locations of one input, at least one. The first that has a value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLocations(Vec<InputLocation>);

impl InputLocations {
    /// Parses `body.field|query.name`, like the alternatives of a slot.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        text.split('|')
            .map(|part| InputLocation::parse(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// In the order in which they are read.
    pub fn iter(&self) -> impl Iterator<Item = &InputLocation> {
        self.0.iter()
    }

    /// The client's name of the input at its first location.
    pub fn name(&self) -> &str {
        self.0.first().map_or("", InputLocation::name)
    }
}

/// One check on an input.
#[derive(Debug, Clone)]
pub struct Check {
    /// The auth API's name.
    pub input: String,
    rule: CompiledRule,
    pub message: String,
}

#[derive(Debug, Clone)]
enum CompiledRule {
    /// A string of JSON. [`CheckRule::String`] accepts numbers too.
    JsonString,
    /// Minimum and maximum, in characters.
    Length(usize, usize),
    Pattern(Regex),
    Named(CheckRule),
}

/// A message has no placeholders.
struct NoPlaceholders;

impl PlaceholderSource for NoPlaceholders {
    fn get(&self, _: Placeholder) -> PlaceholderValue<'_> {
        PlaceholderValue::Null
    }
}

/// The pattern with JavaScript's classes: `\d`, `\w`, `\s` and `\b` are ASCII only, everything
/// else is about characters.
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

/// Limit on a compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 256 * 1024;

impl Check {
    /// Compiles a check of the config, or returns the invalid key and a message.
    pub(super) fn compile(config: &DialectCheck) -> Result<Self, (&'static str, String)> {
        let rule = match (config.length.as_slice(), &config.pattern) {
            ([], None) => config
                .rule
                .map_or(CompiledRule::JsonString, CompiledRule::Named),
            _ if config.rule.is_some() => {
                let message = "is given together with `length` or `pattern`: write two checks";
                return Err(("rule", message.to_owned()));
            }
            (&[fewest, most], None) if fewest <= most => {
                CompiledRule::Length(fewest as usize, most as usize)
            }
            ([], Some(pattern)) => {
                let built = RegexBuilder::new(&with_ascii_classes(pattern))
                    .size_limit(MAX_PATTERN_SIZE)
                    .build();
                CompiledRule::Pattern(built.map_err(|error| {
                    let error = error.to_string();
                    let reason = error.lines().last().unwrap_or_default().trim();
                    ("pattern", format!("is not a regular expression: {reason}"))
                })?)
            }
            (_, Some(_)) => {
                let message = "is given together with `length`: write two checks";
                return Err(("pattern", message.to_owned()));
            }
            (_, None) => return Err(("length", "must be [fewest, most]".to_owned())),
        };
        let message = Text::parse(&config.message, &[])
            .map_err(|says| ("message", says))?
            .render(&NoPlaceholders);
        Ok(Self {
            input: config.input.clone(),
            rule,
            message,
        })
    }

    /// Whether a value passes. For `Length` and `Pattern` a number is its digits, and a missing
    /// value the empty text.
    pub fn passes(&self, value: Option<&Value>) -> bool {
        let text = match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            None | Some(Value::Null) => Some(String::new()),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        };
        match &self.rule {
            CompiledRule::JsonString => matches!(value, Some(Value::String(_))),
            CompiledRule::Length(fewest, most) => {
                text.is_some_and(|text| (*fewest..=*most).contains(&text.chars().count()))
            }
            CompiledRule::Pattern(pattern) => text.is_some_and(|text| pattern.is_match(&text)),
            CompiledRule::Named(rule) => passes_rule(*rule, value),
        }
    }
}

/// The rules reject disjoint sets of values, so at most one of them fails.
fn passes_rule(rule: CheckRule, value: Option<&Value>) -> bool {
    match (rule, value) {
        (CheckRule::Required, value) => value.is_some(),
        (CheckRule::NotNull, value) => !matches!(value, Some(Value::Null)),
        (CheckRule::String, value) => !matches!(
            value,
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_))
        ),
        (CheckRule::NotBlank, Some(Value::String(text))) => !text.trim_matches(is_blank).is_empty(),
        (CheckRule::NotBlank, _) => true,
    }
}

/// What Python's `str.strip` removes: Unicode white space and the four separators.
const fn is_blank(sign: char) -> bool {
    sign.is_whitespace() || matches!(sign, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_input_is_in_the_body_a_header_or_the_query() {
        let path = InputLocation::Body(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(InputLocation::parse("body.a.b"), Ok(path));
        assert_eq!(
            InputLocation::parse("header.X-Token").unwrap().name(),
            "x-token"
        );
        for text in [
            "",
            "body",
            "body.",
            "body..a",
            "header.",
            "header.a b",
            "query.",
            "cookie.a",
            "code",
        ] {
            assert!(InputLocation::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_check_is_for_texts_and_takes_numbers_for_their_digits() {
        let check = |length: &[u32], pattern: Option<&str>| {
            Check::compile(&DialectCheck {
                input: "phone".to_owned(),
                rule: None,
                length: length.to_vec(),
                pattern: pattern.map(str::to_owned),
                message: "no".to_owned(),
            })
        };
        let (eleven, digits) = (
            check(&[11, 11], None).unwrap(),
            check(&[], Some(r"^[1-9]\d{10}$")).unwrap(),
        );
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
        assert_eq!(
            (key, says.as_str()),
            (
                "pattern",
                "is not a regular expression: error: unclosed group"
            )
        );
        assert_eq!(
            check(&[], Some("(a{1000}){1000}")).unwrap_err().0,
            "pattern",
            "too large"
        );
        for (pattern, text, passes) in [
            ("^.{2,4}$", "小明", true),
            ("^[一-龥]+$", "小明", true),
            (r"^[\d-]+$", "1-2", true),
            (r"^\\d$", r"\d", true),
            (r"^\w+$", "é", false),
            (r"^\S\s\D\W\b?$", "é x ", true),
        ] {
            assert_eq!(
                check(&[], Some(pattern))
                    .unwrap()
                    .passes(Some(&json!(text))),
                passes,
                "{pattern}"
            );
        }
    }

    #[test]
    fn an_input_may_have_several_places() {
        let both = InputLocations::parse("body.nickName | query.nick").unwrap();
        assert_eq!(
            both.iter().map(InputLocation::name).collect::<Vec<_>>(),
            ["nickName", "nick"]
        );
        assert_eq!(both.name(), "nickName");
        for text in [
            "",
            "|",
            "body.a|",
            "|body.a",
            "body.a||body.b",
            "body.a|cookie.b",
        ] {
            assert!(InputLocations::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_named_rule_refuses_what_the_others_pass() {
        let check = |rule| {
            let config = DialectCheck {
                input: "refresh".to_owned(),
                rule: Some(rule),
                length: Vec::new(),
                pattern: None,
                message: "no".to_owned(),
            };
            Check::compile(&config).unwrap()
        };
        let all = [
            CheckRule::Required,
            CheckRule::NotNull,
            CheckRule::String,
            CheckRule::NotBlank,
        ]
        .map(check);
        for (value, failing) in [
            (None, Some(0)),
            (Some(json!(null)), Some(1)),
            (Some(json!(true)), Some(2)),
            (Some(json!(["a"])), Some(2)),
            (Some(json!({})), Some(2)),
            (Some(json!("")), Some(3)),
            (Some(json!(" \t\n\u{3000}\u{1f}")), Some(3)),
            (Some(json!("\u{200b}")), None),
            (Some(json!("a")), None),
            (Some(json!(7)), None),
            (Some(json!(-1.5)), None),
        ] {
            let failed: Vec<_> = (0..all.len())
                .filter(|n| !all[*n].passes(value.as_ref()))
                .collect();
            assert_eq!(failed, failing.into_iter().collect::<Vec<_>>(), "{value:?}");
        }
        let config = DialectCheck {
            input: "refresh".to_owned(),
            rule: Some(CheckRule::Required),
            length: vec![1, 2],
            pattern: None,
            message: "no".to_owned(),
        };
        assert_eq!(Check::compile(&config).unwrap_err().0, "rule");
    }
}
