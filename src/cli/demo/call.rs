//! The requests of the tour.

use http::Method;

/// A request, as it is sent and shown.
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

/// The user id twice, once in a spelling that CGI-style backends take for the same; and a header
/// that menshen sets nowhere.
pub(super) const FORGED_HEADERS: [(&str, &str); 3] = [
    ("X-User-Id", "1"),
    ("x_user_id", "1"),
    ("X-User-Role", "administrator"),
];
