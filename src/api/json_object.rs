//! A JSON object whose values are parsed only when a route reads them.
//!
//! Clients send more than a route reads, and JavaScript writes JSON that some readers reject:
//! `"小明🍧".slice(0, 3)` ends in half a surrogate pair, which JSON carries as `\ud83d` (RFC 8259
//! section 8.2). So members that no route reads are skipped: only their syntax is checked, not
//! their texts, numbers or depth.
//!
//! Must stay true: nothing here recurses into the input, except within `serde_json`'s limit on
//! depth; a name that is read and present twice is reported, because two readers could take
//! different values.

use std::ops::Range;

use axum::body::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

/// A byte order mark (RFC 8259 section 8.1: a reader may ignore one).
const BOM: &[u8] = b"\xef\xbb\xbf";

/// An object, as the client sent it.
#[derive(Debug)]
pub(super) struct JsonObject {
    bytes: Bytes,
    members: Vec<JsonMember>,
}

/// The value of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MemberValue {
    Absent,
    Value(Value),
    /// A value that cannot be represented: half a surrogate pair, invalid UTF-8, a number out of
    /// range, too deep.
    Unreadable,
    /// The name is there twice.
    Repeated,
}

#[derive(Debug)]
struct JsonMember {
    /// `None`: not a readable text, so no route reads it.
    name: Option<String>,
    value: Range<usize>,
}

impl JsonObject {
    /// Parses one object; `None`: the bytes are anything else.
    pub(super) fn parse(bytes: &Bytes) -> Option<Self> {
        let bytes = if bytes.starts_with(BOM) {
            bytes.slice(BOM.len()..)
        } else {
            bytes.clone()
        };
        let members = members(&bytes)?;
        Some(Self { bytes, members })
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> MemberValue {
        match only_member(&self.members, name) {
            Ok(range) => self.bytes.get(range).map_or(MemberValue::Absent, value),
            Err(value) => value,
        }
    }

    /// The value at a path through nested objects.
    pub(super) fn at(&self, path: &[String]) -> MemberValue {
        let Some((first, rest)) = path.split_first() else {
            return MemberValue::Absent;
        };
        let mut found = only_member(&self.members, first)
            .map(|range| self.bytes.get(range).unwrap_or_default());
        for step in rest {
            found = found.and_then(|object| {
                let range = only_member(&members(object).unwrap_or_default(), step)?;
                Ok(object.get(range).unwrap_or_default())
            });
        }
        found.map_or_else(std::convert::identity, value)
    }
}

fn value(bytes: &[u8]) -> MemberValue {
    serde_json::from_slice(bytes).map_or(MemberValue::Unreadable, MemberValue::Value)
}

/// The range of the only value of this name.
fn only_member(members: &[JsonMember], name: &str) -> Result<Range<usize>, MemberValue> {
    let mut named = members
        .iter()
        .filter(|member| member.name.as_deref() == Some(name));
    match (named.next(), named.next()) {
        (None, _) => Err(MemberValue::Absent),
        (Some(member), None) => Ok(member.value.clone()),
        (Some(_), Some(_)) => Err(MemberValue::Repeated),
    }
}

/// The members of an object; `None`: the bytes are anything else.
fn members(bytes: &[u8]) -> Option<Vec<JsonMember>> {
    let mut reader = JsonReader { bytes, at: 0 };
    let mut members = Vec::new();
    reader.expect(b'{')?;
    if reader.peek() == Some(b'}') {
        reader.at += 1;
        return reader.is_at_end().then_some(members);
    }
    loop {
        if reader.peek() != Some(b'"') {
            return None;
        }
        let name = reader.skip_value()?;
        reader.expect(b':')?;
        let value = reader.skip_value()?;
        let name = bytes
            .get(name)
            .and_then(|name| serde_json::from_slice(name).ok());
        members.push(JsonMember { name, value });
        if reader.peek() != Some(b',') {
            break;
        }
        reader.at += 1;
    }
    reader.expect(b'}')?;
    reader.is_at_end().then_some(members)
}

/// Reads from left to right, and skips white space (RFC 8259 section 2).
struct JsonReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonReader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn peek(&mut self) -> Option<u8> {
        self.at += self
            .rest()
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.rest().first().copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let is_next = self.peek()? == byte;
        self.at += 1;
        is_next.then_some(())
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Skips the next value and returns its range. `IgnoredAny` does not recurse, and accepts any
    /// text and number of valid syntax.
    fn skip_value(&mut self) -> Option<Range<usize>> {
        self.peek()?;
        let mut values = Deserializer::from_slice(self.rest()).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let start = self.at;
        self.at += values.byte_offset();
        Some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(text: impl Into<Vec<u8>>) -> Option<JsonObject> {
        JsonObject::parse(&Bytes::from(text.into()))
    }

    /// Values that no route asks for, and that `JSON.parse` or Python's `json` accepts.
    fn odd_values() -> Vec<Vec<u8>> {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(2000), "}".repeat(2000));
        vec![
            br#""\ud83d""#.to_vec(),
            br#""\udf67 \ud83d\ud83d""#.to_vec(),
            br#"{"\ud83d":"\ude00","x":1,"x":2}"#.to_vec(),
            b"1e400".to_vec(),
            b"-1E+99999".to_vec(),
            "9".repeat(400).into_bytes(),
            deep(5000).into_bytes(),
            objects.into_bytes(),
            b"\"\xff\xfe\xc0\x80\"".to_vec(),
            br#"[1 , {"b" : [true, null]} ]"#.to_vec(),
            br#""\u0000""#.to_vec(),
            "\"\u{feff}\"".into(),
        ]
    }

    #[test]
    fn what_is_not_asked_for_is_passed_over_wherever_it_stands() {
        for odd in odd_values() {
            let shown = String::from_utf8_lossy(&odd[..odd.len().min(40)]).into_owned();
            let around =
                |before: &[u8], after: &[u8]| object([before, &odd, after].concat()).expect(&shown);
            for sent in [
                around(br#"{"x":"#, br#","code":"a"}"#),
                around(br#"{"code":"a","x":"#, b"}"),
                around(br#"{"w":1,"x":"#, br#" , "code" : "a" }"#),
                around(br#"{"\ud83d":"#, br#","code":"a"}"#),
                around(b"{\"\xff\":", br#","code":"a"}"#),
            ] {
                assert_eq!(sent.get("code"), MemberValue::Value(json!("a")), "{shown}");
                assert_eq!(sent.get("y"), MemberValue::Absent, "{shown}");
            }
            let inside = around(br#"{"a":{"x":"#, br#","b":{"code":"a"}},"z":[]}"#);
            let at = |path: [&str; 3]| inside.at(&path.map(str::to_owned));
            assert_eq!(
                at(["a", "b", "code"]),
                MemberValue::Value(json!("a")),
                "{shown}"
            );
            assert_eq!(
                (
                    at(["a", "b", "c"]),
                    at(["a", "c", "code"]),
                    at(["z", "b", "code"])
                ),
                {
                    (
                        MemberValue::Absent,
                        MemberValue::Absent,
                        MemberValue::Absent,
                    )
                }
            );
        }
    }

    #[test]
    fn what_is_asked_for_is_read_as_always() {
        for (value, found) in [
            (r#""\ud83d""#, MemberValue::Unreadable),
            ("1e400", MemberValue::Unreadable),
            (
                "\"a\\u0062\\ud83c\\udf67\"",
                MemberValue::Value(json!("ab🍧")),
            ),
            ("1", MemberValue::Value(json!(1))),
            (" null ", MemberValue::Value(Value::Null)),
        ] {
            assert_eq!(
                object(format!(r#"{{"x":{value}}}"#)).unwrap().get("x"),
                found,
                "{value}"
            );
        }
        let deep = |n: usize| {
            object(format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n)))
                .unwrap()
                .get("x")
        };
        assert_eq!(deep(1000), MemberValue::Unreadable);
        assert!(matches!(deep(100), MemberValue::Value(_)));
        assert_eq!(
            object(b"{\"x\":\"\xff\"}".to_vec()).unwrap().get("x"),
            MemberValue::Unreadable
        );
    }

    #[test]
    fn a_name_twice_is_told_to_who_asks_for_it() {
        let sent = object(
            r#"{"code":"a","c\u006fde":"b","x":1,"x":2,"o":{"y":1,"y":1},"o2":{},"o2":{"y":1}}"#,
        )
        .unwrap();
        let at = |a: &str, b: &str| sent.at(&[a.to_owned(), b.to_owned()]);
        assert_eq!(
            [sent.get("code"), sent.get("x")],
            [MemberValue::Repeated, MemberValue::Repeated]
        );
        assert_eq!(
            (at("o", "y"), at("o2", "y"), at("x", "y")),
            (
                MemberValue::Repeated,
                MemberValue::Repeated,
                MemberValue::Repeated
            )
        );
        assert_eq!(
            (sent.get("o"), at("o", "z")),
            (MemberValue::Value(json!({ "y": 1 })), MemberValue::Absent)
        );
    }

    #[test]
    fn only_one_whole_object_is_one() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "null",
            "[]",
            "\"code\"",
            "1",
            "{}{}",
            "{},",
            "{} x",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{'a':1}",
            "{1:1}",
            "{\"a\":1]",
            "{\"a\":[1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":+1}",
            "{\"a\":nul}",
            "{\"a\":NaN}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":[1,]}",
            "{\"a\":tru e}",
            "\u{feff}",
            "\u{feff}\u{feff}{}",
            "{\u{feff}}",
            "{\"a\":1/**/}",
        ] {
            assert!(object(text).is_none(), "{text:?}");
        }
        for text in [
            "{}",
            " { } ",
            "\u{feff}{}",
            "\u{feff} {\"a\":1}\r\n",
            "{\"\":0}",
        ] {
            assert!(object(text).is_some(), "{text:?}");
        }
        assert!(object(b"\xff\xfe{\0}\0".to_vec()).is_none(), "no UTF-16");
    }

    proptest! {
        /// What serde_json takes for an object, this takes too, with the same values; what it does
        /// not take is refused, but for the oddities above.
        #[test]
        fn it_reads_what_serde_json_reads(text in "[{}\\[\\]:,\"a-c0-2. \\\\eu+-]{0,24}") {
            let whole: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(&text);
            let own = object(text.as_str());
            if let Ok(whole) = &whole {
                let own = own.as_ref().expect("an object");
                for (name, value) in whole {
                    let found = own.get(name);
                    prop_assert!(found == MemberValue::Repeated || found == MemberValue::Value(value.clone()), "{name}: {found:?}");
                }
            }
            if let Some(own) = own {
                let is_read = own.members.iter().all(|member| member.name.is_some() && value(&own.bytes[member.value.clone()]) != MemberValue::Unreadable);
                prop_assert_eq!(is_read, whole.is_ok());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = object(bytes);
        }
    }
}
