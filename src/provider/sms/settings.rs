//! Required settings of a vendor, with their keys in the config.

use super::error::SmsSetupError;
use crate::{
    config::SecretText,
    types::{Malformed, Secret},
};

pub(super) fn required(
    (key, value): (&'static str, &Option<String>),
) -> Result<String, SmsSetupError> {
    value
        .clone()
        .filter(|text| !text.is_empty())
        .ok_or(SmsSetupError::Missing(key))
}

pub(super) fn required_secret(
    (key, value): (&'static str, &Option<SecretText>),
) -> Result<Secret<String>, SmsSetupError> {
    let text = value
        .as_ref()
        .map(SecretText::expose)
        .filter(|text| !text.is_empty());
    text.cloned()
        .map(Secret::new)
        .ok_or(SmsSetupError::Missing(key))
}

pub(super) fn failed_template(key: &'static str) -> impl Fn(Malformed) -> SmsSetupError {
    move |why| SmsSetupError::Template(key, why)
}
