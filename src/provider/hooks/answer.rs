//! What the backend may answer to `user.created`.

use serde_json::{Map, Value};

use crate::{
    config::UserIds,
    types::{ExtraClaims, UserId},
};

/// What an answer has to keep to.
#[derive(Debug, Clone, Copy)]
pub struct AnswerRules {
    pub ids: UserIds,
    /// Names of claims that are menshen's own.
    pub reserved: &'static [&'static str],
}

/// Under which id the user is to be known, and what tokens are to say besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreatedAnswer {
    /// `None`: menshen gives one.
    pub id: Option<UserId>,
    pub claims: ExtraClaims,
}

impl CreatedAnswer {
    /// Reads `{"id": "..." or a number, "claims": {...}}`; both may be missing or null, and an empty body says nothing. `None`:
    /// it cannot be used.
    pub(super) fn read(body: &[u8], rules: AnswerRules) -> Option<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Some(Self::default());
        }
        let said: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let id = match said.get("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(UserId::parse(text).ok()?),
            Some(Value::Number(number)) => Some(UserId::parse(&number.as_u64()?.to_string()).ok()?),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return None,
        };
        if rules.ids == UserIds::Integer && !id.as_ref().is_none_or(is_integer) {
            return None;
        }
        let claims = match said.get("claims") {
            None | Some(Value::Null) => ExtraClaims::default(),
            Some(Value::Object(claims)) => ExtraClaims::parse(claims.clone(), rules.reserved).ok()?,
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => return None,
        };
        Some(Self { id, claims })
    }
}

/// The one spelling of a number: `007` would be another id than 7, and the same column.
fn is_integer(id: &UserId) -> bool {
    id.as_str().parse::<u64>().is_ok_and(|number| number.to_string() == id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::RESERVED;

    const fn rules(ids: UserIds) -> AnswerRules {
        AnswerRules { ids, reserved: &RESERVED }
    }

    /// The id as text, `-` for none; `None` where the answer cannot be used.
    fn id(body: &str, ids: UserIds) -> Option<String> {
        let answer = CreatedAnswer::read(body.as_bytes(), rules(ids))?;
        Some(answer.id.map_or_else(|| "-".to_owned(), |id| id.as_str().to_owned()))
    }

    #[test]
    fn an_id_may_be_a_text_a_number_or_nothing() {
        let some = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            (r#"{"id":"u-1"}"#, some("u-1")),
            (r#"{"id":42}"#, some("42")),
            (r#"{"id":null}"#, some("-")),
            (r#"{"more":[1]}"#, some("-")),
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
            assert_eq!(id(body, UserIds::Uuid), expected, "{body}");
        }
    }

    #[test]
    fn where_ids_are_integers_it_is_one_in_its_one_spelling() {
        for (body, is_taken) in [
            (r#"{"id":"42"}"#, true),
            (r#"{"id":42}"#, true),
            (r#"{"id":"007"}"#, false),
            (r#"{"id":"+7"}"#, false),
            (r#"{"id":"u-1"}"#, false),
            (r#"{"id":"99999999999999999999"}"#, false),
            ("{}", true),
        ] {
            assert_eq!(id(body, UserIds::Integer).is_some(), is_taken, "{body}");
        }
    }

    #[test]
    fn claims_of_menshen_s_own_are_refused() {
        let read = |body: &str| CreatedAnswer::read(body.as_bytes(), rules(UserIds::Uuid));
        assert_eq!(read(r#"{"claims":{"tenant":"north"}}"#).unwrap().claims.get()["tenant"], "north");
        for name in RESERVED {
            assert_eq!(read(&format!(r#"{{"claims":{{"{name}":"x"}}}}"#)), None, "{name}");
        }
        assert_eq!(read(r#"{"claims":["x"]}"#), None);
    }
}
