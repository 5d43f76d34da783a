//! The backend's response to `user.created`.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::error::HookError;
use crate::types::{ExtraClaims, UserId};

/// The rules of a response.
#[derive(Debug, Clone, Copy)]
pub struct CreatedResponseRules {
    /// `None`: any id. Otherwise an integer below this one, from which menshen generates ids
    /// itself.
    pub integers_below: Option<u64>,
    /// Names of menshen's own claims.
    pub reserved: &'static [&'static str],
}

/// The id of the new user, and further claims of their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreatedResponse {
    /// `None`: menshen generates one.
    pub id: Option<UserId>,
    pub claims: ExtraClaims,
}

impl CreatedResponse {
    /// Parses `{"id": "..." or a number, "claims": {...}}`; both may be missing or null, and the
    /// body may be empty.
    pub(super) fn read(body: &[u8], rules: CreatedResponseRules) -> Result<Self, HookError> {
        let response = Self::parse(body, rules).ok_or(HookError::Unusable)?;
        let (Some(id), Some(below)) = (&response.id, rules.integers_below) else {
            return Ok(response);
        };
        match integer(id) {
            None => Err(HookError::Unusable),
            // Menshen would sooner or later generate it for another user.
            Some(number) if number >= below => Err(HookError::IdsOverlap),
            Some(_) => Ok(response),
        }
    }

    fn parse(body: &[u8], rules: CreatedResponseRules) -> Option<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Some(Self::default());
        }
        // A backend may respond with a whole row: other members are not parsed.
        let response: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
        let value = |name: &str| {
            response.get(name).map_or(Some(Value::Null), |raw| {
                serde_json::from_str(raw.get()).ok()
            })
        };
        let id = match value("id")? {
            Value::Null => None,
            Value::String(text) => Some(UserId::parse(&text).ok()?),
            Value::Number(number) => Some(UserId::parse(&number.as_u64()?.to_string()).ok()?),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        let claims = match value("claims")? {
            Value::Null => ExtraClaims::default(),
            Value::Object(claims) => ExtraClaims::parse(claims, rules.reserved).ok()?,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return None,
        };
        Some(Self { id, claims })
    }
}

/// The number in canonical form: `007` would be another id than 7, and the same database key.
fn integer(id: &UserId) -> Option<u64> {
    id.as_str()
        .parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::RESERVED_CLAIMS;

    const fn rules(integers_below: Option<u64>) -> CreatedResponseRules {
        CreatedResponseRules {
            integers_below,
            reserved: &RESERVED_CLAIMS,
        }
    }

    /// The id as text, `-` for none; `None` where the answer cannot be used.
    fn id(body: &str) -> Option<String> {
        let answer = CreatedResponse::read(body.as_bytes(), rules(None)).ok()?;
        Some(
            answer
                .id
                .map_or_else(|| "-".to_owned(), |id| id.as_str().to_owned()),
        )
    }

    #[test]
    fn an_id_may_be_a_text_a_number_or_nothing() {
        let some = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            (r#"{"id":"u-1"}"#, some("u-1")),
            (r#"{"id":42}"#, some("42")),
            (r#"{"id":null}"#, some("-")),
            (r#"{"more":[1]}"#, some("-")),
            (
                r#"{"id":"u-1","nickname":"\ud83d","balance":1e400}"#,
                some("u-1"),
            ),
            (r#"{"id":"\ud83d"}"#, None),
            ("", some("-")),
            (" \n", some("-")),
            (r#"{"id":"a b"}"#, None),
            (r#"{"id":""}"#, None),
            (r#"{"id":"a\r\nX-User-Id: 1"}"#, None),
            (r#"{"id":-1}"#, None),
            (r#"{"id":1.5}"#, None),
            (r#"{"id":true}"#, None),
            (r#"{"id":["1"]}"#, None),
            ("[]", None),
            ("<html>", None),
            ("{", None),
        ] {
            assert_eq!(id(body), expected, "{body}");
        }
    }

    #[test]
    fn where_ids_are_integers_it_is_one_in_its_one_spelling_and_below_menshen_s_own() {
        for (body, fits) in [
            (r#"{"id":"42"}"#, Ok(())),
            (r#"{"id":42}"#, Ok(())),
            (r#"{"id":999}"#, Ok(())),
            (r#"{"id":1000}"#, Err(HookError::IdsOverlap)),
            (r#"{"id":"1001"}"#, Err(HookError::IdsOverlap)),
            (r#"{"id":"007"}"#, Err(HookError::Unusable)),
            (r#"{"id":"+7"}"#, Err(HookError::Unusable)),
            (r#"{"id":"u-1"}"#, Err(HookError::Unusable)),
            (r#"{"id":"99999999999999999999"}"#, Err(HookError::Unusable)),
            ("{}", Ok(())),
        ] {
            assert_eq!(
                CreatedResponse::read(body.as_bytes(), rules(Some(1000))).map(drop),
                fits,
                "{body}"
            );
        }
    }

    #[test]
    fn claims_of_menshen_s_own_are_refused() {
        let read = |body: &str| CreatedResponse::read(body.as_bytes(), rules(None));
        assert_eq!(
            read(r#"{"claims":{"tenant":"north"}}"#)
                .unwrap()
                .claims
                .get()["tenant"],
            "north"
        );
        for name in RESERVED_CLAIMS {
            let answer = read(&format!(r#"{{"claims":{{"{name}":"x"}}}}"#));
            assert_eq!(answer, Err(HookError::Unusable), "{name}");
        }
        assert_eq!(read(r#"{"claims":["x"]}"#), Err(HookError::Unusable));
    }
}
