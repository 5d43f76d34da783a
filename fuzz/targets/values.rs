//! Values of the config: what is read is written so that it reads the same again, and no text makes
//! a reader panic.
//!
//! Input: one value.

use std::{fmt, str::FromStr};

use menshen::{
    config::{ByteSize, HumanDuration, Rate, ReplayWindow},
    types::{AppId, SessionId, UserId, UserType},
};

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    round(text, |value: &HumanDuration| {
        assert!(value.get().as_secs() <= 36_500 * 86_400)
    });
    round::<ByteSize>(text, |_| {});
    round(text, |rate: &Rate| assert!(!rate.per.get().is_zero()));
    round::<ReplayWindow>(text, |_| {});
    // What goes into headers and keys is visible ASCII.
    let ids = [
        UserId::parse(text).map(|id| id.as_str().to_owned()),
        UserType::parse(text).map(|kind| kind.as_str().to_owned()),
        AppId::parse(text).map(|app| app.as_str().to_owned()),
        SessionId::parse(text).map(|session| session.to_string()),
    ];
    for kept in ids.into_iter().flatten() {
        assert_eq!(kept, text);
        assert!(
            !kept.is_empty() && kept.bytes().all(|byte| byte.is_ascii_graphic()),
            "{kept:?}"
        );
    }
}

fn round<T: FromStr + fmt::Display + PartialEq + fmt::Debug>(text: &str, holds: impl Fn(&T)) {
    let Ok(value) = text.parse::<T>() else { return };
    holds(&value);
    let written = value.to_string();
    assert_eq!(
        written.parse::<T>().ok(),
        Some(value),
        "{text:?} is written {written:?}"
    );
}
