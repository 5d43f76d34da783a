//! What a dialect answers is JSON of the shape that its template has, whatever a client sends.
//!
//! Input, parted by NUL bytes: the template of a success, that of a refusal, that of its items,
//! what a client sent.

use http::StatusCode;
use menshen::{
    config::Config,
    dialect::{
        DialectRejection, Dialects, InvalidField, Placeholder, PlaceholderSource, PlaceholderValue,
    },
    error::ErrorCode,
};
use serde_json::{Value, json};

use super::world::NOW;

/// Every place that a client has a say in is filled with what it sent.
struct Sent<'a>(&'a str);

impl PlaceholderSource for Sent<'_> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::IsNewUser | Placeholder::UserIsStaff => PlaceholderValue::Bool(true),
            Placeholder::ExpiresIn | Placeholder::RefreshExpiresIn | Placeholder::ResendAfter => {
                PlaceholderValue::Number(900)
            }
            Placeholder::UserCreatedAt | Placeholder::UserLastLoginAt | Placeholder::Now => {
                PlaceholderValue::Time(NOW)
            }
            Placeholder::UserBio | Placeholder::UserIsSuperuser | Placeholder::RefreshJwt => {
                PlaceholderValue::Null
            }
            Placeholder::UserRoles => PlaceholderValue::Json(json!([self.0])),
            _ => PlaceholderValue::text(Some(self.0)),
        }
    }
}

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let success = parts.next().unwrap_or_default();
    let refusal = parts.next().unwrap_or("{}");
    let item = parts.next().unwrap_or("{}");
    let sent = parts.next().unwrap_or_default();
    let config = json!({
        "dialect": [{
            "kind": "custom",
            "prefix": "/d",
            "messages": { "code_invalid": "{code}: {retry_after|'now'}" },
            "route": [{
                "method": "POST",
                "path": "/login",
                "action": "wechat_login",
                "inputs": { "code": "body.code" },
                "headers": { "X-Session": "{session_id}" },
                "body": success,
            }],
            "error": [{ "body": refusal, "item": item, "headers": { "X-Reason": "{code}" } }],
        }],
    });
    let config: Config = serde_json::from_value(config).expect("a config");
    let dialects = match Dialects::compile(&config) {
        Ok(dialects) => dialects,
        Err(problems) => {
            assert!(
                problems
                    .iter()
                    .all(|(key, says)| key.starts_with("dialect[0]") && !says.is_empty()),
                "{problems:?}"
            );
            return;
        }
    };
    let dialect = dialects.iter().next().expect("a dialect");
    let answers = |sent: &str| {
        let answer = dialect.routes[0].render(&Sent(sent));
        assert!(answer.headers.len() <= 1);
        assert!(
            answer
                .headers
                .iter()
                .all(|(_, value)| value.as_bytes() == sent.as_bytes()),
            "a header of its own"
        );
        let refused = dialect.render_error(Some(0), &refusal_about(sent));
        (parsed(&answer.body), parsed(&refused.body))
    };
    let (plain, hostile) = (answers("a"), answers(sent));
    assert_eq!(
        shape(&plain.0),
        shape(&hostile.0),
        "a success changes its shape"
    );
    assert_eq!(
        shape(&plain.1),
        shape(&hostile.1),
        "a refusal changes its shape"
    );
}

fn refusal_about(sent: &str) -> DialectRejection<'_> {
    let field = |value| InvalidField {
        name: sent.to_owned(),
        message: "not valid".to_owned(),
        value,
    };
    DialectRejection {
        code: ErrorCode::CodeInvalid,
        subcode: None,
        status: StatusCode::UNAUTHORIZED,
        detail: "The code is not correct.",
        retry_after: None,
        errcode: None,
        fields: vec![field(Some(Value::from(sent))), field(None)],
        request_id: "r-1",
        now: NOW,
    }
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|fault| panic!("{fault} in {:?}", String::from_utf8_lossy(body)))
}

/// What is left of a document when its texts are taken away; the names of `{errors.by_field}` are
/// the client's.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "truth".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(shape).collect::<Vec<_>>().join(",")
        ),
        Value::Object(members) => {
            let by_field = members.len() == 1
                && members
                    .values()
                    .all(|value| value == &json!(["not valid", "not valid"]));
            let of_member = |(name, value): (&String, &Value)| {
                if by_field {
                    format!("name:{}", shape(value))
                } else {
                    format!("{name:?}:{}", shape(value))
                }
            };
            format!(
                "{{{}}}",
                members.iter().map(of_member).collect::<Vec<_>>().join(",")
            )
        }
    }
}
