//! Formats of secrets, and the flaw of one that does not match: copied with a quotation mark, a
//! blank or a second line, saved with a byte order mark, truncated, or another secret.
//!
//! Only warnings: a simulated WeChat or SMS vendor accepts any secret. Must stay true: no message
//! contains a part of the value.

use super::{Problems, SecretText};

/// The format of a kind of secret.
#[derive(Debug, Clone, Copy)]
pub(super) enum SecretForm {
    /// The AppSecret of a mini program: 32 hex digits.
    WechatAppSecret,
    /// The AccessKey secret of Aliyun: 30 letters and digits.
    AliyunAccessKeySecret,
    /// The `SecretKey` of Tencent Cloud: 32 letters and digits.
    TencentSecretKey,
    /// What travels after `Bearer` (RFC 6750 section 2.1).
    BearerToken,
}

impl SecretForm {
    /// Warns where the secret at this key does not have the format.
    pub(super) fn check(self, key: &str, secret: Option<&SecretText>, problems: &mut Problems) {
        // An empty secret and the example are errors of their own.
        let Some(text) = secret
            .map(|secret| secret.expose().as_str())
            .filter(|text| !matches!(text.trim(), "" | "..."))
        else {
            return;
        };
        if !self.fits(text) {
            problems.warn(
                key,
                format!("cannot be {}: {}", self.describe(), self.flaw(text)),
            );
        }
    }

    fn fits(self, text: &str) -> bool {
        let all = |is: fn(&u8) -> bool| text.bytes().all(|byte| is(&byte));
        let has_length = Some(text.len()) == self.length();
        match self {
            Self::WechatAppSecret => has_length && all(u8::is_ascii_hexdigit),
            Self::AliyunAccessKeySecret | Self::TencentSecretKey => {
                has_length && all(u8::is_ascii_alphanumeric)
            }
            Self::BearerToken => all(u8::is_ascii_graphic),
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::WechatAppSecret => "an AppSecret, which has 32 hex digits",
            Self::AliyunAccessKeySecret => "an AccessKey secret, which has 30 letters and digits",
            Self::TencentSecretKey => "a SecretKey, which has 32 letters and digits",
            Self::BearerToken => "sent in a header, which may have only visible ASCII",
        }
    }

    /// The likeliest reason.
    fn flaw(self, text: &str) -> String {
        const QUOTES: [char; 8] = [
            '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '\u{300c}',
        ];
        if text.starts_with('\u{feff}') {
            "it begins with a byte order mark (save the file as UTF-8 without BOM)".to_owned()
        } else if text.trim_end_matches(['\r', '\n']).contains(['\r', '\n']) {
            "it has a second line".to_owned()
        } else if text.trim() != text {
            "it has blanks or an empty line around it".to_owned()
        } else if text.contains(QUOTES) {
            "it has quotation marks".to_owned()
        } else if text.contains(|c: char| !c.is_ascii_graphic()) {
            "it has blanks, or characters other than visible ASCII".to_owned()
        } else {
            match text.chars().count() {
                count if Some(count) == self.length() => "it has other characters".to_owned(),
                count => format!("it has {count} characters"),
            }
        }
    }

    /// The number of characters, where it is fixed.
    const fn length(self) -> Option<usize> {
        match self {
            Self::WechatAppSecret | Self::TencentSecretKey => Some(32),
            Self::AliyunAccessKeySecret => Some(30),
            Self::BearerToken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(form: SecretForm, text: &str) -> Option<String> {
        let mut problems = Problems::for_file(None);
        form.check(
            "a.secret",
            Some(&SecretText::new(text.to_owned())),
            &mut problems,
        );
        assert!(problems.is_empty(), "never an error");
        problems.into_parts().0.first().map(ToString::to_string)
    }

    #[test]
    fn what_cannot_be_a_secret_of_its_form_is_told_without_it() {
        let hex = "0123456789abcdefABCDEF0123456789";
        let aliyun = "abcdefghijABCDEFGHIJ0123456789";
        let forms = [
            (SecretForm::WechatAppSecret, hex, "32 hex digits"),
            (
                SecretForm::AliyunAccessKeySecret,
                aliyun,
                "30 letters and digits",
            ),
            (
                SecretForm::TencentSecretKey,
                "ghijkl6789abcdefABCDEF0123456789",
                "32 letters and digits",
            ),
            (
                SecretForm::BearerToken,
                "any-visible_ASCII.signs/+=~of-a-token",
                "visible ASCII",
            ),
        ];
        for (form, good, of_form) in forms {
            assert_eq!(warning(form, good), None, "{form:?}");
            for (bad, flaw) in [
                (format!("\u{feff}{good}"), "byte order mark"),
                (format!("{good}\n# of the shop"), "second line"),
                (format!("{good}\r\n{good}"), "second line"),
                (format!(" {good}"), "blanks"),
                (format!("{good}\t"), "blanks"),
                (format!("{good}\n"), "empty line"),
                (format!("\u{201c}{good}\u{201d}"), "quotation marks"),
                (
                    format!("{}\u{200b}{}", &good[..9], &good[9..]),
                    "other than visible ASCII",
                ),
                (format!("{} {}", &good[..9], &good[9..]), "blanks"),
            ] {
                let said = warning(form, &bad).unwrap_or_else(|| panic!("{form:?} {bad:?}"));
                assert!(
                    said.contains("a.secret: cannot be")
                        && said.contains(of_form)
                        && said.contains(flaw),
                    "{bad:?}: {said}"
                );
                assert!(
                    !said.contains(&good[..9]) && !said.contains(&good[9..]),
                    "{said}"
                );
            }
            for nothing in ["", "...", " "] {
                assert_eq!(warning(form, nothing), None, "that is an error already");
            }
        }
        for (form, bad, flaw) in [
            (SecretForm::WechatAppSecret, &hex[1..], "31 characters"),
            (
                SecretForm::WechatAppSecret,
                "0123456789abcdefghij0123456789ab",
                "other characters",
            ),
            (
                SecretForm::WechatAppSecret,
                "\"0123456789abcdef0123456789abcd\"",
                "quotation marks",
            ),
            (SecretForm::AliyunAccessKeySecret, hex, "32 characters"),
            (SecretForm::TencentSecretKey, aliyun, "30 characters"),
        ] {
            let said = warning(form, bad).unwrap_or_else(|| panic!("{form:?} {bad:?}"));
            assert!(said.contains(flaw), "{said}");
        }
    }
}
