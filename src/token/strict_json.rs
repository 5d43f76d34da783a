//! Strict JSON objects: a duplicate name is an error, whichever value a reader would take, and an
//! array is no object. All of it has to be UTF-8 (RFC 8259 section 8.1), also ignored values.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

/// Reads the members of an object.
pub(super) trait ObjectReader<'de> {
    /// Reads the value of this name from `map`, or leaves it where the name is unknown.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Member, A::Error>;
}

/// Whether a member was read.
pub(super) enum Member {
    Read,
    /// The name is unknown; the value is skipped.
    Ignored,
}

/// Text, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Parses the bytes as one object; `None` for anything else.
pub(super) fn object<'de, M: ObjectReader<'de> + Default>(bytes: &'de [u8]) -> Option<M> {
    object_into(bytes, M::default())
}

/// Parses the bytes with a reader that has state.
pub(super) fn object_into<'de, M: ObjectReader<'de>>(bytes: &'de [u8], reader: M) -> Option<M> {
    let mut json = serde_json::Deserializer::from_str(str::from_utf8(bytes).ok()?);
    let reader = json
        .deserialize_map(Object {
            reader,
            input: PhantomData,
        })
        .ok()?;
    json.end().ok()?;
    Some(reader)
}

/// Reads the next value into `place`, which has to be empty.
pub(super) fn read_once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Option<T>,
    map: &mut A,
) -> Result<Member, A::Error> {
    if place.is_some() {
        return Err(A::Error::custom("a name twice"));
    }
    *place = Some(map.next_value()?);
    Ok(Member::Read)
}

struct Object<'de, M> {
    reader: M,
    input: PhantomData<&'de ()>,
}

/// Most unknown names; more are rejected, since each is compared with all others.
const MAX_UNKNOWN_MEMBERS: usize = 64;

impl<'de, M: ObjectReader<'de>> Visitor<'de> for Object<'de, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<M, A::Error> {
        let Self { mut reader, .. } = self;
        let mut unknown: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            match reader.read(&name, &mut map)? {
                Member::Read => {}
                Member::Ignored if unknown.contains(&name) => {
                    return Err(A::Error::custom("a name twice"));
                }
                Member::Ignored if unknown.len() == MAX_UNKNOWN_MEMBERS => {
                    return Err(A::Error::custom("too many names"));
                }
                Member::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.push(name);
                }
            }
        }
        Ok(reader)
    }
}
