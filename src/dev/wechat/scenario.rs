//! Special codes that make the simulated server misbehave.

use std::time::Duration;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::dev::faults;

/// What the server does for a code: the name given here, alone or with `-` and any suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WechatScenario {
    /// Any other code: normal behaviour.
    None,
    /// `fail.40029`: this errcode.
    Fail(i64),
    /// `text.40029`: this errcode as a text, as one vendor page shows it.
    FailAsText(i64),
    /// `busy`: errcode -1, always.
    Busy,
    /// `once`: errcode -1 the first time, then a success.
    BusyOnce,
    /// `slow.250`: a success after so many milliseconds.
    Slow(u64),
    /// `empty`: 200 without a body.
    Empty,
    /// `garbage`: a page instead of JSON.
    Garbage,
    /// `huge`: a megabyte.
    Huge,
    /// `truncated_response`: half an answer, then the connection ends.
    Cut,
    /// `moved`: a redirect to a path that counts as another call.
    Moved,
    /// `down`: 502 with a page.
    Down,
}

impl WechatScenario {
    pub(super) fn parse(code: &str) -> Self {
        let name = code.split_once('-').map_or(code, |(name, _)| name);
        let (name, number) = name.split_once('.').unwrap_or((name, ""));
        match (name, number.parse::<u32>()) {
            ("fail", Ok(errcode)) => Self::Fail(errcode.into()),
            ("text", Ok(errcode)) => Self::FailAsText(errcode.into()),
            ("slow", Ok(millis)) => Self::Slow(millis.into()),
            ("busy", _) => Self::Busy,
            ("once", _) => Self::BusyOnce,
            ("empty", _) => Self::Empty,
            ("garbage", _) => Self::Garbage,
            ("huge", _) => Self::Huge,
            ("cut", _) => Self::Cut,
            ("moved", _) => Self::Moved,
            ("down", _) => Self::Down,
            _ => Self::None,
        }
    }

    /// Responds to the call number `times` with this code; `otherwise` is the normal response.
    pub(super) async fn play(self, times: usize, otherwise: impl FnOnce() -> String) -> Response {
        match self {
            Self::None => text_response(otherwise()),
            Self::Fail(errcode) => {
                text_response(errcode_body(errcode, "scripted, rid: 0d0d0d0d-simulated"))
            }
            Self::FailAsText(errcode) => {
                text_response(format!(r#"{{"errcode":"{errcode}","errmsg":"scripted"}}"#))
            }
            Self::BusyOnce if times > 1 => text_response(otherwise()),
            Self::Busy | Self::BusyOnce => text_response(errcode_body(-1, "system error")),
            Self::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                text_response(otherwise())
            }
            Self::Empty => text_response(String::new()),
            Self::Garbage => text_response(faults::HTML_PAGE.to_owned()),
            Self::Huge => text_response(format!(
                r#"{{"openid":"o1","padding":"{}"}}"#,
                "x".repeat(1024 * 1024)
            )),
            Self::Cut => faults::truncated_response(),
            Self::Moved => (
                StatusCode::FOUND,
                [(header::LOCATION, "/sns/jscode2session?js_code=moved")],
            )
                .into_response(),
            Self::Down => (StatusCode::BAD_GATEWAY, "<html>502</html>").into_response(),
        }
    }
}

/// A response with the real server's content type.
pub(super) fn text_response(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
}

pub(super) fn errcode_body(errcode: i64, message: &str) -> String {
    format!(r#"{{"errcode":{errcode},"errmsg":"{message}"}}"#)
}
