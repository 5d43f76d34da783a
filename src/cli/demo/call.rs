//! The requests of the tour.

use http::Method;

use crate::dev::backend::ReceivedRequest;

/// A request, which is sent and shown.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<String>,
}

impl Call {
    pub(super) fn get(path: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(super) fn post(path: &'static str, body: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self {
            method: Method::POST,
            path,
            headers,
            body: Some(body.to_string()),
        }
    }

    pub(super) fn with_token(mut self, token: &str) -> Self {
        self.headers
            .push(("Authorization", format!("Bearer {token}")));
        self
    }

    /// Adds [`FORGED_HEADERS`].
    pub(super) fn with_forged_headers(mut self) -> Self {
        self.headers
            .extend(FORGED_HEADERS.map(|(name, value)| (name, value.to_owned())));
        self
    }
}

/// The user id twice, once in a spelling that CGI-style backends read as the same name; and a
/// header that menshen never sets.
pub(super) const FORGED_HEADERS: [(&str, &str); 3] = [
    ("X-User-Id", "1"),
    ("x_user_id", "1"),
    ("X-User-Role", "administrator"),
];

/// Whether one of the forged headers arrived, in any spelling.
pub(super) fn has_forgery(received: &ReceivedRequest) -> bool {
    let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let is_forged = |name: &str, value: &str| {
        FORGED_HEADERS
            .iter()
            .any(|&(claimed, with)| folded(name) == folded(claimed) && value == with)
    };
    received
        .headers
        .iter()
        .any(|(name, value)| is_forged(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_field_is_found_in_every_spelling_and_a_right_one_is_none() {
        let received = |name: &str, value: &str| ReceivedRequest {
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: vec![(name.to_owned(), value.to_owned())],
            body_bytes: 0,
        };
        for (name, value) in [
            ("x-user-id", "1"),
            ("x_user_id", "1"),
            ("x_user-id", "1"),
            ("x-user-role", "administrator"),
        ] {
            assert!(has_forgery(&received(name, value)), "{name}: {value}");
        }
        for (name, value) in [
            ("x-user-id", "01a1f973-c31e-7778-9bc8-b1dc0d61b9ee"),
            ("x-request-id", "1"),
        ] {
            assert!(!has_forgery(&received(name, value)), "{name}: {value}");
        }
    }
}
