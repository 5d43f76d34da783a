//! One request for a page: its language, and who is signed in.

use super::{language::Language, sessions::SignedIn, texts::Texts};
use crate::types::ClientIp;

/// What `guard` has found out about a request; an extension of it.
#[derive(Debug, Clone)]
pub(super) struct PageContext {
    pub(super) language: Language,
    /// The path of the page, without its query.
    pub(super) path: String,
    pub(super) from: ClientIp,
    /// The name of the session's cookie.
    pub(super) cookie_name: String,
    /// The page that sent this form was loaded over TLS.
    pub(super) is_https: bool,
    /// A session cookie was sent.
    pub(super) has_cookie: bool,
    pub(super) session: Option<SignedIn>,
}

impl PageContext {
    pub(super) const fn texts(&self) -> &'static Texts {
        self.language.texts()
    }

    /// What each form has to send along; empty where nobody is signed in.
    pub(super) fn form_token(&self) -> &str {
        let session = self.session.as_ref();
        session.map_or("", |session| session.form_token.as_str())
    }
}
