//! The inputs of one request, from body, header and query.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    extract::{Query, Request},
};
use http::{HeaderMap, request::Parts};
use serde_json::{Map, Value};

use crate::{
    api::{body, json_object::MemberValue, problem::Problem, routes::client_type},
    auth::profile,
    config::DialectAction,
    dialect::{InputLocation, InputLocations, InvalidField, Route},
    error::ErrorCode,
    types::normalize_digits,
};

/// The inputs that were found, by the auth API's names.
pub(super) struct Inputs<'a> {
    route: &'a Route,
    values: Map<String, Value>,
    /// The client's names of those that were found.
    names: BTreeMap<&'a str, &'a str>,
}

impl<'a> Inputs<'a> {
    /// Reads every location of an input, and the body only if one of them is in it.
    pub(super) async fn read(route: &'a Route, head: &Parts, body: Body) -> Result<Self, Problem> {
        let in_body = route
            .inputs
            .values()
            .flat_map(InputLocations::iter)
            .any(InputLocation::is_in_body);
        let object = if in_body {
            body::object_if_any(Request::from_parts(head.clone(), body)).await?
        } else {
            None
        };
        let query = Query::<Vec<(String, String)>>::try_from_uri(&head.uri)
            .map(|Query(pairs)| pairs)
            .unwrap_or_default();
        let (mut values, mut names) = (Map::new(), BTreeMap::new());
        for (name, locations) in &route.inputs {
            for location in locations.iter() {
                let value = match location {
                    InputLocation::Body(path) => match object
                        .as_ref()
                        .map_or(MemberValue::Absent, |object| object.at(path))
                    {
                        MemberValue::Absent => None,
                        MemberValue::Value(value) => Some(value),
                        // The same as absent, like other invalid values of such an input.
                        MemberValue::Unreadable if is_ignored_if_invalid(route.action, name) => {
                            None
                        }
                        MemberValue::Unreadable | MemberValue::Repeated => {
                            return Err(body::unreadable_body());
                        }
                    },
                    InputLocation::Header(header) => in_headers(&head.headers, header.as_str())?,
                    InputLocation::Query(parameter) => once(
                        query
                            .iter()
                            .filter(|(known, _)| known == parameter)
                            .map(|(_, value)| value),
                    )?,
                };
                let value = value.map(|value| {
                    if is_typed(route.action, name) {
                        plain_digits_of(value)
                    } else {
                        value
                    }
                });
                // A null or an empty text counts unless a later location has a value.
                if let Some(value) =
                    value.filter(|value| is_present(value) || !values.contains_key(name))
                {
                    let is_enough = is_present(&value);
                    values.insert(name.clone(), value);
                    names.insert(name.as_str(), location.name());
                    if is_enough {
                        break;
                    }
                }
            }
        }
        Ok(Self {
            route,
            values,
            names,
        })
    }

    /// The client's name of an input: where it was found, else at its first location.
    pub(super) fn name_of<'n>(&'n self, input: &'n str) -> &'n str {
        let found = self.names.get(input).copied();
        found
            .or_else(|| self.route.inputs.get(input).map(InputLocations::name))
            .unwrap_or(input)
    }

    /// The inputs that fail a check of the route, in the order of the checks.
    pub(super) fn failed_checks(&self) -> Vec<InvalidField> {
        let failed = self
            .route
            .checks
            .iter()
            .filter(|check| !check.passes(self.values.get(&check.input)));
        let wrong = failed.map(|check| InvalidField {
            name: self.name_of(&check.input).to_owned(),
            message: check.message.clone(),
            value: self.values.get(&check.input).cloned(),
        });
        wrong.collect()
    }

    /// Removes invalid inputs that a login does not need, and an empty phone: a page that logs in
    /// without a tap on the phone number button sends an empty text.
    pub(super) fn ignore_invalid(&mut self, action: DialectAction) {
        let may_be_empty = |name: &str| {
            action == DialectAction::WechatLogin
                && matches!(name, "phone_code" | "encrypted_data" | "iv")
        };
        self.values.retain(|name, value| {
            let text = value.as_str();
            if may_be_empty(name) {
                return is_present(value);
            }
            !is_ignored_if_invalid(action, name)
                || match name.as_str() {
                    "nickname" => text.is_some_and(|text| profile::nickname(text).is_ok()),
                    "avatar_url" => text.is_some_and(|text| profile::avatar_url(text).is_ok()),
                    _ => text.is_some_and(|text| client_type(text).is_ok()),
                }
        });
    }

    /// Whether the profile is the anonymous one, which WeChat gives in place of the real one.
    pub(super) fn is_anonymous(&self) -> bool {
        self.text("nickname")
            .is_some_and(|text| profile::nickname(text) == Ok(None))
    }

    /// The inputs as the fields of an auth API body. A number becomes its digits: some clients send
    /// phones and codes as numbers.
    pub(super) fn canonical_fields(&self) -> Map<String, Value> {
        let own = |(name, value): (&String, &Value)| {
            let value = match value {
                Value::Number(number) => Value::String(number.to_string()),
                other => other.clone(),
            };
            (name.clone(), value)
        };
        self.values.iter().map(own).collect()
    }

    /// The value of an input.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The same, if it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_str)
    }
}

/// Whether this input is digits that a user types or pastes.
fn is_typed(action: DialectAction, name: &str) -> bool {
    match name {
        "phone" | "sms_code" => true,
        "code" => matches!(action, DialectAction::SmsLogin | DialectAction::PhoneSms),
        _ => false,
    }
}

/// Normalizes digits for the checks of the route; anything else is unchanged.
fn plain_digits_of(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(normalize_digits(&text).unwrap_or(text)),
        other => other,
    }
}

/// Whether this input is removed if it is invalid.
fn is_ignored_if_invalid(action: DialectAction, name: &str) -> bool {
    let is_login = matches!(
        action,
        DialectAction::WechatLogin | DialectAction::SmsLogin | DialectAction::PasswordLogin
    );
    is_login && matches!(name, "nickname" | "avatar_url" | "client_type")
}

/// Whether a location has a value, in the sense of the placeholders of a template.
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn in_headers(headers: &HeaderMap, name: &str) -> Result<Option<Value>, Problem> {
    let unreadable =
        || Problem::new(ErrorCode::RequestMalformed).detail("A header field is not text.");
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().map_err(|_| unreadable()));
    once(values.collect::<Result<Vec<_>, _>>()?.into_iter())
}

/// The only value; several are rejected, because two readers could take different ones.
fn once(values: impl Iterator<Item = impl AsRef<str>>) -> Result<Option<Value>, Problem> {
    let mut values = values;
    let first = values
        .next()
        .map(|value| Value::String(value.as_ref().to_owned()));
    match values.next() {
        None => Ok(first),
        Some(_) => {
            Err(Problem::new(ErrorCode::RequestMalformed).detail("Send each parameter once."))
        }
    }
}
