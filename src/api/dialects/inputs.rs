//! The inputs of one request, wherever they stand.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    extract::{Query, Request},
};
use http::{HeaderMap, request::Parts};
use serde_json::{Map, Value};

use crate::{
    api::{body, json_object::Found, problem::Problem, routes::client_type},
    auth::profile,
    config::DialectAction,
    dialect::{InputLocation, InputLocations, InvalidField, Route},
    error::ErrorCode,
    types::normalize_digits,
};

/// What was sent, by the names that the auth API has for it.
pub(super) struct Inputs<'a> {
    route: &'a Route,
    found: Map<String, Value>,
    /// The client's names for those that were found.
    names: BTreeMap<&'a str, &'a str>,
}

impl<'a> Inputs<'a> {
    /// Reads the body if an input is in it, and every place that has one.
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
        let (mut found, mut names) = (Map::new(), BTreeMap::new());
        for (name, locations) in &route.inputs {
            for location in locations.iter() {
                let value = match location {
                    InputLocation::Body(path) => match object
                        .as_ref()
                        .map_or(Found::Absent, |object| object.at(path))
                    {
                        Found::Absent => None,
                        Found::Value(value) => Some(value),
                        // As good as absent, like others that are not valid.
                        Found::Unreadable if is_forgiven(route.action, name) => None,
                        Found::Unreadable | Found::Repeated => return Err(body::not_readable()),
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
                        as_typed(value)
                    } else {
                        value
                    }
                });
                // A null or an empty text counts as long as no later place has more.
                if let Some(value) =
                    value.filter(|value| has_something(value) || !found.contains_key(name))
                {
                    let is_enough = has_something(&value);
                    found.insert(name.clone(), value);
                    names.insert(name.as_str(), location.name());
                    if is_enough {
                        break;
                    }
                }
            }
        }
        Ok(Self {
            route,
            found,
            names,
        })
    }

    /// The client's name for an input: where it was found, else where it is looked for first.
    pub(super) fn name_of<'n>(&'n self, input: &'n str) -> &'n str {
        let found = self.names.get(input).copied();
        found
            .or_else(|| self.route.inputs.get(input).map(InputLocations::name))
            .unwrap_or(input)
    }

    /// Everything that the checks of the route find wrong, in their order.
    pub(super) fn wrong(&self) -> Vec<InvalidField> {
        let failed = self
            .route
            .checks
            .iter()
            .filter(|check| !check.passes(self.found.get(&check.input)));
        let wrong = failed.map(|check| InvalidField {
            name: self.name_of(&check.input).to_owned(),
            message: check.message.clone(),
            value: self.found.get(&check.input).cloned(),
        });
        wrong.collect()
    }

    /// Leaves out what a login can do without, where it is not valid.
    pub(super) fn forgive(&mut self, action: DialectAction) {
        self.found.retain(|name, value| {
            let text = value.as_str();
            !is_forgiven(action, name)
                || match name.as_str() {
                    "nickname" => text.is_some_and(|text| profile::nickname(text).is_ok()),
                    "avatar_url" => text.is_some_and(|text| profile::avatar_url(text).is_ok()),
                    _ => text.is_some_and(|text| client_type(text).is_ok()),
                }
        });
    }

    /// Whether the profile is the one that WeChat gives everybody in place of their own.
    pub(super) fn is_nobody(&self) -> bool {
        self.text("nickname")
            .is_some_and(|text| profile::nickname(text) == Ok(None))
    }

    /// As the auth API would have them in a body. A number is taken for its digits: clients send
    /// phones and codes so.
    pub(super) fn named_as_ours(&self) -> Map<String, Value> {
        let own = |(name, value): (&String, &Value)| {
            let value = match value {
                Value::Number(number) => Value::String(number.to_string()),
                other => other.clone(),
            };
            (name.clone(), value)
        };
        self.found.iter().map(own).collect()
    }

    /// What was sent for an input.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.found.get(name)
    }

    /// The same, where it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_str)
    }
}

/// Whether this input is digits that a person types or pastes.
fn is_typed(action: DialectAction, name: &str) -> bool {
    match name {
        "phone" | "sms_code" => true,
        "code" => matches!(action, DialectAction::SmsLogin | DialectAction::PhoneSms),
        _ => false,
    }
}

/// The digits plainly, so that the checks of the route see what is meant; anything else as it came.
fn as_typed(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(normalize_digits(&text).unwrap_or(text)),
        other => other,
    }
}

/// Whether this input is left out where it is not valid.
fn is_forgiven(action: DialectAction, name: &str) -> bool {
    let is_login = matches!(
        action,
        DialectAction::WechatLogin | DialectAction::SmsLogin | DialectAction::PasswordLogin
    );
    is_login && matches!(name, "nickname" | "avatar_url" | "client_type")
}

/// Whether a place has something, as placeholders of a template have it.
fn has_something(value: &Value) -> bool {
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

/// The one value; several are refused, because two readers could take different ones.
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
