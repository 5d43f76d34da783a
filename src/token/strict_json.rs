//! JSON objects read strictly: a name twice is an error, whichever reader would win, and an array
//! is no object. All of it has to be UTF-8 (RFC 8259 section 8.1), also what is passed over.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

/// The members of an object that somebody wants to know.
pub(super) trait Members<'de> {
    /// Takes the value of this name out of `map`, or says that the name means nothing here and
    /// leaves the value.
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Known, A::Error>;
}

/// Whether a name means something.
pub(super) enum Known {
    Yes,
    /// Its value is passed over.
    No,
}

/// Text that needs no copy where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The bytes as one object; `None` when they are anything else.
pub(super) fn object<'de, M: Members<'de> + Default>(bytes: &'de [u8]) -> Option<M> {
    object_into(bytes, M::default())
}

/// The same for members that have to be told first what they are after.
pub(super) fn object_into<'de, M: Members<'de>>(bytes: &'de [u8], members: M) -> Option<M> {
    let mut json = serde_json::Deserializer::from_str(str::from_utf8(bytes).ok()?);
    let members = json
        .deserialize_map(Object {
            members,
            input: PhantomData,
        })
        .ok()?;
    json.end().ok()?;
    Some(members)
}

/// Puts the next value in its place, unless there is one.
pub(super) fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Option<T>,
    map: &mut A,
) -> Result<Known, A::Error> {
    if place.is_some() {
        return Err(A::Error::custom("a name twice"));
    }
    *place = Some(map.next_value()?);
    Ok(Known::Yes)
}

struct Object<'de, M> {
    members: M,
    input: PhantomData<&'de ()>,
}

/// Names that mean nothing to us; more are refused, since each is compared with all others.
const MOST_UNKNOWN: usize = 64;

impl<'de, M: Members<'de>> Visitor<'de> for Object<'de, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<M, A::Error> {
        let Self { mut members, .. } = self;
        let mut unknown: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            match members.take(&name, &mut map)? {
                Known::Yes => {}
                Known::No if unknown.contains(&name) => {
                    return Err(A::Error::custom("a name twice"));
                }
                Known::No if unknown.len() == MOST_UNKNOWN => {
                    return Err(A::Error::custom("too many names"));
                }
                Known::No => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.push(name);
                }
            }
        }
        Ok(members)
    }
}
