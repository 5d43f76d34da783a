//! Texts in both languages: the terminal prints the English one, the page that of the browser.

use crate::console::Language;

/// A text in both languages: one without its translation does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) english: &'static str,
    pub(super) chinese: &'static str,
}

impl Text {
    pub(super) const fn new(english: &'static str, chinese: &'static str) -> Self {
        Self { english, chinese }
    }

    pub(super) const fn in_language(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Chinese => self.chinese,
        }
    }
}
