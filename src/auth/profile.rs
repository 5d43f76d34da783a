//! Validation of profile fields. Nothing in them is trusted; they are bounded, so that they fit
//! into any response.

use time::format_description::well_known::Iso8601;

use crate::types::{Malformed, is_visually_empty};

/// The nickname that WeChat gives every user since 2022-11, in place of the real one.
const ANONYMOUS_NICKNAME: &str = "微信用户";

/// A nickname, trimmed: 1 to 64 characters, none of them a control character, not all of them
/// invisible. `None` for WeChat's anonymous one, which is the same as none sent.
pub fn nickname(text: &str) -> Result<Option<String>, Malformed> {
    let trimmed = text.trim();
    if trimmed == ANONYMOUS_NICKNAME {
        return Ok(None);
    }
    let good = (1..=64).contains(&trimmed.chars().count())
        && !trimmed.chars().any(char::is_control)
        && !is_visually_empty(trimmed);
    good.then(|| Some(trimmed.to_owned())).ok_or(Malformed(
        "must be 1 to 64 characters, some of them visible, without control characters",
    ))
}

/// An absolute `http` or `https` URL of at most 512 bytes, as it was sent; not one of a file that
/// only the mini program itself can see.
pub fn avatar_url(text: &str) -> Result<String, Malformed> {
    let plain = text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic());
    let good = plain
        && reqwest::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && !is_own_file(&url)
        });
    good.then(|| text.to_owned()).ok_or(Malformed(
        "must be an http or https URL of at most 512 characters",
    ))
}

/// What WeChat's tools write for files of the mini program: `http://tmp/`, `http://usr/`,
/// `http://store/`, and `/__tmp__/` and the like on loopback. On phones they begin with
/// `wxfile://`.
fn is_own_file(url: &reqwest::Url) -> bool {
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost"));
    matches!(url.host_str(), Some("tmp" | "usr" | "store"))
        || (is_loopback && url.path().starts_with("/__"))
}

/// At most 500 characters; line breaks and tabs are the only control characters.
pub fn bio(text: &str) -> Result<String, Malformed> {
    let good = text.chars().count() <= 500
        && !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    good.then(|| text.to_owned()).ok_or(Malformed(
        "must be at most 500 characters, without control characters",
    ))
}

/// A day of the calendar, `YYYY-MM-DD`, from 1900 on.
pub fn birthday(text: &str) -> Result<String, Malformed> {
    let is_plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let good =
        is_plain && time::Date::parse(text, &Iso8601::DATE).is_ok_and(|date| date.year() >= 1900);
    good.then(|| text.to_owned())
        .ok_or(Malformed("must be a date, YYYY-MM-DD, from 1900-01-01 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_is_trimmed_and_bounded() {
        assert_eq!(nickname("  小明 "), Ok(Some("小明".to_owned())));
        assert_eq!(nickname(&"字".repeat(64)), Ok(Some("字".repeat(64))));
        assert_eq!(nickname(" 微信用户 "), Ok(None), "nobody's name");
        assert_eq!(
            nickname("a\u{200d}b\u{301}"),
            Ok(Some("a\u{200d}b\u{301}".to_owned())),
            "as it was sent"
        );
        for text in [
            "",
            "  ",
            "a\0b",
            "a\nb",
            "a\u{85}b",
            &"字".repeat(65),
            "\u{3164}",
            "\u{2800}",
            "\u{200b} \u{200b}",
            "\u{202e}",
        ] {
            assert!(nickname(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_avatar_is_a_web_address() {
        for text in [
            "https://thirdwx.qlogo.cn/mmopen/vi_32/abc/132",
            "http://127.0.0.1/tmp/a.png?x=1",
            "https://tmp.example/a",
            "https://a.example/__tmp__/a",
        ] {
            assert_eq!(avatar_url(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "/a.png",
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "ftp://x/y",
            "wxfile://tmp/a",
            "http://tmp/5m9e2fY.jpg",
            "HTTP://TMP/a.jpg",
            "https://tmp/a.jpg",
            "http://usr/avatar.png",
            "http://store/wxfile/a.png",
            "http://127.0.0.1:47561/__tmp__/a.jpeg",
            "http://localhost:47561/__usr__/a.jpeg",
            "blob:https://servicewechat.com/1",
            "https://",
            "https://user:pass@x/",
            "https://x/ y",
            "https://x/\n",
            &format!("https://x/{}", "a".repeat(512)),
        ] {
            assert!(avatar_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bio_may_have_lines() {
        assert!(
            bio("line\r\n\tline 字").is_ok() && bio("").is_ok() && bio(&"字".repeat(500)).is_ok()
        );
        assert!(
            bio("a\0").is_err() && bio("\u{1b}[0m").is_err() && bio(&"字".repeat(501)).is_err()
        );
    }

    #[test]
    fn a_birthday_is_a_day_that_exists() {
        for text in ["2000-02-29", "1900-01-01", "2024-12-31"] {
            assert_eq!(birthday(text).as_deref(), Ok(text));
        }
        for text in [
            "2001-02-29",
            "2000-2-9",
            "2000-13-01",
            "1899-12-31",
            "",
            "2000-01-01T00:00:00Z",
            "+2000-01-01",
            "0000-00-00",
        ] {
            assert!(birthday(text).is_err(), "{text:?}");
        }
    }
}
