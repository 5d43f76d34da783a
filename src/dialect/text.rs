//! Texts with placeholders: `微信登录失败: {wechat.errmsg}`.
//!
//! A slot in braces has one placeholder, or alternatives with `|` between them, of which the first
//! that is not `null` is taken; the last may be a text in single quotes. After `:` comes a format.
//! `{{` and `}}` are braces.

use serde_json::{Map, Value};

use super::placeholder::{Placeholder, PlaceholderSource, PlaceholderValue};
use crate::{config::nearest, types::Timestamp};

/// A text with placeholders.
#[derive(Debug, Clone)]
pub struct Text(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Plain(String),
    Slot(Slot),
}

/// The value of a slot.
pub(super) enum Substitution {
    Value(Value),
    /// Serialized JSON.
    RawJson(String),
}

/// The alternatives between two braces, and their format.
#[derive(Debug, Clone)]
struct Slot {
    alternatives: Vec<Alternative>,
    format: Format,
}

#[derive(Debug, Clone)]
enum Alternative {
    Placeholder(Placeholder),
    Plain(String),
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Unchanged; a time as RFC 3339 with whole seconds.
    Own,
    /// A number or a bool as a text.
    Text,
    /// A time as JavaScript's `toISOString` gives it: `2024-10-16T12:00:00.000Z`.
    Iso,
    /// A time as Django REST framework gives it, in UTC: with microseconds unless they are zero.
    IsoMicros,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
}

const FORMATS: [(&str, Format); 5] = [
    ("text", Format::Text),
    ("iso", Format::Iso),
    ("iso_micros", Format::IsoMicros),
    ("unix", Format::Unix),
    ("unix_ms", Format::UnixMs),
];

impl Text {
    /// Parses a text in which only these placeholders are allowed.
    pub(super) fn parse(text: &str, allowed: &[&[Placeholder]]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(&from[..1]);
                rest = after;
            } else if let Some(inside) = from.strip_prefix('{') {
                let (slot, after) = Slot::parse(inside, allowed)?;
                if !plain.is_empty() {
                    parts.push(Part::Plain(std::mem::take(&mut plain)));
                }
                parts.push(Part::Slot(slot));
                rest = after;
            } else {
                return Err("has a `}` without a `{` before it: write `}}` for a brace".to_owned());
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self(parts))
    }

    /// The slot, if the text is nothing else.
    fn lone_slot(&self) -> Option<&Slot> {
        match self.0.as_slice() {
            [Part::Slot(slot)] => Some(slot),
            _ => None,
        }
    }

    /// The text with the values in place of its slots. A `null` leaves nothing.
    pub fn render(&self, from: &impl PlaceholderSource) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Plain(plain) => out.push_str(plain),
                Part::Slot(slot) => match slot.substitute(from) {
                    Substitution::Value(Value::Null) => {}
                    Substitution::Value(Value::String(text)) | Substitution::RawJson(text) => {
                        out.push_str(&text);
                    }
                    Substitution::Value(other) => out.push_str(&other.to_string()),
                },
            }
        }
        out
    }

    /// The value of the slot if the text is one slot, whatever its type; otherwise the text, as
    /// [`Self::render`] gives it.
    pub(super) fn substitute(&self, from: &impl PlaceholderSource) -> Substitution {
        self.lone_slot().map_or_else(
            || Substitution::Value(Value::String(self.render(from))),
            |slot| slot.substitute(from),
        )
    }

    /// [`Self::substitute`] as a JSON value.
    pub(super) fn render_value(&self, from: &impl PlaceholderSource) -> Value {
        match self.substitute(from) {
            Substitution::Value(value) => value,
            Substitution::RawJson(json) => serde_json::from_str(&json).unwrap_or_default(),
        }
    }

    /// Whether it has this placeholder.
    pub(super) fn uses(&self, placeholder: Placeholder) -> bool {
        self.0.iter().any(|part| match part {
            Part::Plain(_) => false,
            Part::Slot(slot) => slot
                .alternatives
                .iter()
                .any(|alternative| matches!(alternative, Alternative::Placeholder(used) if *used == placeholder)),
        })
    }
}

/// The claims of a token. A `null` claim is left out.
pub(super) fn render_claims(
    claims: &[(String, Text)],
    values: &impl PlaceholderSource,
) -> Map<String, Value> {
    let rendered = claims
        .iter()
        .map(|(name, text)| (name.clone(), text.render_value(values)));
    rendered.filter(|(_, value)| !value.is_null()).collect()
}

impl Slot {
    const fn new(alternatives: Vec<Alternative>, format: Format) -> Self {
        Self {
            alternatives,
            format,
        }
    }

    /// Parses what follows a `{`, up to its `}`; returns the rest too.
    fn parse<'t>(text: &'t str, allowed: &[&[Placeholder]]) -> Result<(Self, &'t str), String> {
        const OPEN: &str = "has a `{` without a `}`: write `{{` for a brace";
        let mut alternatives = Vec::new();
        let mut rest = text;
        loop {
            let (alternative, after) = if let Some(quoted) = rest.strip_prefix('\'') {
                let (plain, after) = quoted
                    .split_once('\'')
                    .ok_or("has a `'` that does not end")?;
                (Alternative::Plain(plain.to_owned()), after)
            } else {
                let end = rest.find(['|', ':', '}']).ok_or(OPEN)?;
                (
                    Alternative::Placeholder(placeholder(&rest[..end], allowed)?),
                    &rest[end..],
                )
            };
            let is_last = matches!(alternative, Alternative::Plain(_));
            alternatives.push(alternative);
            match after.as_bytes().first() {
                Some(b'|') if is_last => {
                    return Err(
                        "has an alternative after a text in quotes, which is never reached"
                            .to_owned(),
                    );
                }
                Some(b'|') => rest = &after[1..],
                Some(b'}') => return Ok((Self::new(alternatives, Format::Own), &after[1..])),
                Some(b':') => {
                    let (name, after) = after[1..].split_once('}').ok_or(OPEN)?;
                    let format = format(name, &alternatives)?;
                    return Ok((Self::new(alternatives, format), after));
                }
                _ => return Err(OPEN.to_owned()),
            }
        }
    }

    /// The first alternative that is not `null`.
    fn substitute(&self, from: &impl PlaceholderSource) -> Substitution {
        let mut substitutions = self
            .alternatives
            .iter()
            .map(|alternative| match alternative {
                Alternative::Placeholder(placeholder) => self.format.write(from.get(*placeholder)),
                Alternative::Plain(text) => Substitution::Value(Value::String(text.clone())),
            });
        substitutions
            .find(|substitution| !substitution.is_null())
            .unwrap_or(Substitution::Value(Value::Null))
    }
}

impl Substitution {
    /// Whether it is `null`.
    pub(super) const fn is_null(&self) -> bool {
        matches!(self, Self::Value(Value::Null))
    }
}

impl Format {
    fn write(self, given: PlaceholderValue<'_>) -> Substitution {
        let value = match given {
            PlaceholderValue::RawJson(json) => return Substitution::RawJson(json),
            PlaceholderValue::Null => Value::Null,
            PlaceholderValue::Bool(truth) => truth.into(),
            PlaceholderValue::Number(number) => number.into(),
            PlaceholderValue::Text(text) => Value::String(text.into_owned()),
            PlaceholderValue::Json(value) => value,
            PlaceholderValue::Time(time) => self.instant(time),
        };
        Substitution::Value(match (self, value) {
            (Self::Text, Value::Number(number)) => Value::String(number.to_string()),
            (Self::Text, Value::Bool(truth)) => Value::String(truth.to_string()),
            (_, value) => value,
        })
    }

    fn instant(self, time: Timestamp) -> Value {
        // `2024-10-16T12:00:00Z`, into which fractions go before the last sign.
        let with = |fraction: String| {
            let whole = time.rfc3339();
            Value::String(format!("{}{fraction}Z", whole.trim_end_matches('Z')))
        };
        let millis = time.as_millis() % 1000;
        match self {
            Self::Own | Self::Text => Value::String(time.rfc3339()),
            Self::Iso => with(format!(".{millis:03}")),
            Self::IsoMicros if millis == 0 => with(String::new()),
            Self::IsoMicros => with(format!(".{millis:03}000")),
            Self::Unix => time.as_secs().into(),
            Self::UnixMs => time.as_millis().into(),
        }
    }
}

fn placeholder(name: &str, allowed: &[&[Placeholder]]) -> Result<Placeholder, String> {
    let possible = || allowed.iter().copied().flatten().copied();
    if let Some(placeholder) = possible().find(|placeholder| placeholder.as_str() == name) {
        return Ok(placeholder);
    }
    let elsewhere = Placeholder::ALL
        .iter()
        .any(|placeholder| placeholder.as_str() == name);
    let names: Vec<_> = possible()
        .map(|placeholder| placeholder.as_str().to_owned())
        .collect();
    let what = if elsewhere {
        "not to be had here"
    } else {
        "no placeholder"
    };
    Err(match nearest(name, &names) {
        Some(near) => format!("has `{{{name}}}`, which is {what}; did you mean `{{{near}}}`?"),
        None => format!(
            "has `{{{name}}}`, which is {what}; there are {}",
            names.join(", ")
        ),
    })
}

fn format(name: &str, alternatives: &[Alternative]) -> Result<Format, String> {
    let Some((_, format)) = FORMATS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = FORMATS.iter().map(|(known, _)| *known).collect();
        return Err(format!(
            "has the format `{name}`, which is none of {}",
            known.join(", ")
        ));
    };
    let is_time = |alternative: &Alternative| matches!(alternative, Alternative::Placeholder(placeholder) if placeholder.is_time());
    if *format != Format::Text && !alternatives.iter().any(is_time) {
        return Err(format!("has the format `{name}`, which is for times only"));
    }
    Ok(*format)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::placeholder::{COMMON, USER};

    struct TestValues;

    impl PlaceholderSource for TestValues {
        fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
            match placeholder {
                Placeholder::Now => {
                    PlaceholderValue::Time(Timestamp::from_millis(1_729_080_000_007))
                }
                Placeholder::UserCreatedAt => {
                    PlaceholderValue::Time(Timestamp::from_secs(1_729_080_000))
                }
                Placeholder::UserId => PlaceholderValue::Number(7),
                Placeholder::UserNickname => PlaceholderValue::text(Some("小明")),
                Placeholder::UserIsStaff => PlaceholderValue::Bool(false),
                Placeholder::UserRoles => PlaceholderValue::Json(json!(["a", "b"])),
                _ => PlaceholderValue::Null,
            }
        }
    }

    fn parse(text: &str) -> Result<Text, String> {
        Text::parse(text, &[COMMON, USER])
    }

    #[test]
    fn slots_become_values() {
        for (text, expected) in [
            ("", json!("")),
            ("plain", json!("plain")),
            ("{user.id}", json!(7)),
            ("{user.id:text}", json!("7")),
            ("{user.is_staff}", json!(false)),
            ("{user.is_staff:text}", json!("false")),
            ("no. {user.id}, {user.nickname}", json!("no. 7, 小明")),
            ("{user.bio}", json!(null)),
            ("a{user.bio}b", json!("ab")),
            ("{user.bio|user.nickname}", json!("小明")),
            ("{user.bio|''}", json!("")),
            ("{user.bio|user.phone|'a|b:c}'}", json!("a|b:c}")),
            ("{user.roles}", json!(["a", "b"])),
            ("{{user.id}} {{", json!("{user.id} {")),
            ("{now}", json!("2024-10-16T12:00:00Z")),
            ("{now:iso}", json!("2024-10-16T12:00:00.007Z")),
            ("{now:iso_micros}", json!("2024-10-16T12:00:00.007000Z")),
            ("{now:unix}", json!(1_729_080_000)),
            ("{now:unix_ms}", json!(1_729_080_000_007_u64)),
            ("{user.created_at:iso}", json!("2024-10-16T12:00:00.000Z")),
            (
                "{user.created_at:iso_micros}",
                json!("2024-10-16T12:00:00Z"),
            ),
            ("at {now:unix}", json!("at 1729080000")),
        ] {
            assert_eq!(
                parse(text).unwrap().render_value(&TestValues),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            (
                "{user.nicknam}",
                "has `{user.nicknam}`, which is no placeholder; did you mean `{user.nickname}`?",
            ),
            (
                "{access_token}",
                "has `{access_token}`, which is not to be had here; there are now, request_id, ",
            ),
            ("{}", "has `{}`, which is no placeholder; there are "),
            ("{user.id", "has a `{` without a `}`"),
            ("{user.id|", "has a `{` without a `}`"),
            ("{user.id:text", "has a `{` without a `}`"),
            ("a}", "has a `}` without a `{`"),
            ("{'x}", "has a `'` that does not end"),
            ("{'x'|user.id}", "has an alternative after a text in quotes"),
            (
                "{user.id:ISO}",
                "has the format `ISO`, which is none of text, iso, iso_micros, unix, unix_ms",
            ),
            (
                "{user.id:iso}",
                "has the format `iso`, which is for times only",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(says), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            if let Ok(read) = parse(&text) {
                drop(read.render(&TestValues));
            }
        }

        #[test]
        fn text_without_braces_is_itself(text in "[^{}]*") {
            proptest::prop_assert_eq!(parse(&text).unwrap().render(&TestValues), text);
        }
    }
}
