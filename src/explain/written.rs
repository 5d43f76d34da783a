//! A request as a person writes it, for an explanation.

use crate::types::{Malformed, Secret};

/// The parts of a request head.
pub struct WrittenRequest<'a> {
    pub method: &'a str,
    /// The path as a client sends it, with its query.
    pub target: &'a str,
    /// Each is `NAME: VALUE`.
    pub headers: &'a [String],
    /// The access token; sent in `Authorization`.
    pub token: Option<&'a str>,
}

impl WrittenRequest<'_> {
    /// The head as a client sends it; its `Host` is `localhost` where no header names one.
    pub fn head(&self) -> Result<Secret<Vec<u8>>, Malformed> {
        let token = self.token.map(str::trim);
        let breaks = |text: &str| text.contains(['\r', '\n', '\0']);
        let is_broken = [self.method, self.target]
            .into_iter()
            .chain(self.headers.iter().map(String::as_str))
            .chain(token)
            .any(breaks);
        if is_broken {
            return Err(Malformed(
                "a line break or NUL would make another request of it",
            ));
        }
        let names = || {
            let headers = self.headers.iter();
            headers.map(|header| header.split_once(':').map(|(name, _)| name.trim()))
        };
        if names().any(|name| name.is_none_or(str::is_empty)) {
            return Err(Malformed("a header must be NAME: VALUE"));
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !names()
            .flatten()
            .any(|name| name.eq_ignore_ascii_case("host"))
        {
            head.push_str("Host: localhost\r\n");
        }
        for header in self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if let Some(token) = token {
            head.push_str("Authorization: Bearer ");
            head.push_str(token);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Ok(Secret::new(head.into_bytes()))
    }
}
