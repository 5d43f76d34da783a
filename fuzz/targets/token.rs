//! A token passes only when it is, byte for byte, one that was signed here, and everything in it is
//! what it has to be.
//!
//! Input: a kind, then what it says. `r`: a token as it stands, `{T}` in it for a good one. `m`:
//! changes to a good one, three bytes each. `s`: a header and a payload, parted by a line feed,
//! signed as they are.

use std::{fmt, sync::LazyLock};

use menshen::token::Verifier;
use serde_json::{Value, value::RawValue};

use super::world::{self, NOW, TOKEN};

static VERIFIER: LazyLock<Verifier> = LazyLock::new(world::verifier);

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind {
        b'r' => as_it_stands(rest),
        b'm' => changed(rest),
        b's' => signed(rest),
        _ => {}
    }
}

fn as_it_stands(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let text = text.replacen("{T}", &TOKEN, 2);
    let passes = VERIFIER.verify(&text, NOW).is_ok();
    assert_eq!(passes, text == *TOKEN, "{text}");
    // What may be traded for a new one is no wider.
    assert!(VERIFIER.verify_for_renewal(&text, NOW).is_err(), "{text}");
}

fn changed(data: &[u8]) {
    let mut bytes = TOKEN.as_bytes().to_vec();
    for change in data.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_be_bytes([change[0] & 0x01, change[1]])) % (bytes.len() + 1);
        match change[0] >> 6 {
            0 if at < bytes.len() => bytes[at] = change[2],
            1 => bytes.insert(at, change[2]),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at.max(1)),
            _ => {}
        }
        if bytes.is_empty() {
            return;
        }
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return;
    };
    assert_eq!(VERIFIER.verify(text, NOW).is_ok(), text == *TOKEN, "{text}");
}

/// With the right signature, so that the checks on header and claims are all there is.
fn signed(data: &[u8]) {
    let at = data
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(data.len());
    let (header, payload) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let kid = world::KEYRINGS.current().signing_kid().to_owned();
    let header = String::from_utf8_lossy(header)
        .replacen("{K}", &kid, 2)
        .into_bytes();
    let Ok(claims) = VERIFIER.verify(&world::signed(&header, payload), NOW) else {
        return;
    };

    let header = members(&header);
    assert_eq!(header.len(), 3, "a header has three members");
    let of = |name: &str| {
        header
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(
        (of("alg"), of("typ"), of("kid")),
        (
            Some("HS256".into()),
            Some("at+jwt".into()),
            Some(kid.into())
        )
    );
    let payload = members(payload);
    let of = |name: &str| {
        payload
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    assert_eq!(
        (of("iss"), of("aud"), of("token_use")),
        ("menshen".into(), "backend".into(), "access".into())
    );
    assert_eq!(of("sub"), Value::from(claims.sub.as_str()));
    assert!(
        !claims.sub.as_str().is_empty()
            && claims
                .sub
                .as_str()
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
    );
    assert_eq!(of("sid"), Value::from(claims.sid.to_string()));
    let (issued, expires) = (
        of("iat").as_u64().expect("whole seconds"),
        of("exp").as_u64().expect("whole seconds"),
    );
    let now = NOW.as_secs();
    assert!(
        issued <= now + 60 && expires + 60 > now && expires <= issued + 30 * 86_400,
        "{issued} to {expires}"
    );
    assert!(of("nbf").is_null() || of("nbf").as_u64().is_some_and(|start| start <= now + 60));
    assert!(of("jti").as_str().is_some_and(|id| !id.is_empty()));
}

/// The members in their order; two of one name would be two readings. Of values that mean nothing
/// only the bounds are looked for.
fn members(json: &[u8]) -> Vec<(String, Value)> {
    struct Members(Vec<(String, Box<RawValue>)>);
    struct InOrder;
    impl<'de> serde::de::Visitor<'de> for InOrder {
        type Value = Members;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut all = Vec::new();
            while let Some(member) = map.next_entry()? {
                all.push(member);
            }
            Ok(Members(all))
        }
    }
    impl<'de> serde::Deserialize<'de> for Members {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(InOrder)
        }
    }
    let Members(all) = serde_json::from_slice(json).expect("an object of JSON");
    for (n, (name, _)) in all.iter().enumerate() {
        assert!(
            all[..n].iter().all(|(other, _)| other != name),
            "{name} twice"
        );
    }
    all.into_iter()
        .map(|(name, value)| (name, serde_json::from_str(value.get()).unwrap_or_default()))
        .collect()
}
