//! A row that is a JSON object.

use serde_json::Value;

use super::{
    field::Field,
    null_words::NullWords,
    row::{RowError, RowOptions, Values},
};
use crate::admin::import::ImportRow;

pub(super) fn json_row(
    options: &RowOptions,
    text: &[u8],
    null_words: &mut NullWords,
) -> Result<ImportRow, RowError> {
    let Ok(Value::Object(members)) = serde_json::from_slice(text) else {
        return Err(RowError::row("is not a JSON object in UTF-8"));
    };
    let mut values = Values::default();
    for (name, value) in &members {
        if name == "openids"
            && !options
                .columns
                .iter()
                .any(|(_, column)| column == "openids")
        {
            values.openids = openids(value).ok_or_else(|| {
                RowError::field(
                    "openids",
                    "must be a list of objects with app_id and openid",
                )
            })?;
            continue;
        }
        let Some(field) = options.field_of(name) else {
            if options.ignore_others {
                continue;
            }
            return Err(RowError::row(
                "has a field of another name: say --column FIELD=NAME, or --ignore-other-columns",
            ));
        };
        match scalar(value, field) {
            // JSON has a `null` of its own, so a name may be that word; an identity is none.
            Ok(Some(text)) if field == Field::Nickname && text.trim().is_empty() => {}
            Ok(Some(text)) if field != Field::Nickname && null_words.is_null(field, &text) => {}
            Ok(Some(text)) => {
                if values.texts.contains_key(&field) {
                    return Err(RowError::field(field.name(), "is there twice"));
                }
                values.set(field, text);
            }
            Ok(None) => {}
            Err(message) => return Err(RowError::field(field.name(), message)),
        }
    }
    values.into_row(options)
}

fn openids(value: &Value) -> Option<Vec<(String, String)>> {
    let one = |value: &Value| {
        Some((
            value.get("app_id")?.as_str()?.to_owned(),
            value.get("openid")?.as_str()?.to_owned(),
        ))
    };
    value.as_array()?.iter().map(one).collect()
}

/// A value as text; also as `mongoexport` writes ids, times and numbers.
fn scalar(value: &Value, field: Field) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Array(items) if field == Field::Roles => {
            let roles: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            Ok(Some(roles.ok_or("must be texts")?.join(",")))
        }
        Value::Object(inner) if inner.len() == 1 => {
            let known = ["$oid", "$date", "$numberLong", "$numberInt"]
                .iter()
                .find_map(|name| inner.get(*name));
            known.map_or(Err("must be a text or a number"), |inner| {
                scalar(inner, field)
            })
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err("must be a text or a number"),
    }
}
