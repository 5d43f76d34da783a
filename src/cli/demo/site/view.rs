//! What the page shows.

use std::collections::VecDeque;

use super::{
    super::{mini_program::MiniProgram, text::Text},
    tap::Tap,
};
use crate::console::Language;

/// The addresses of the servers of the demo.
pub(super) struct Addresses {
    pub(super) menshen: String,
    pub(super) backend: String,
    pub(super) wechat: String,
    pub(super) sms: String,
}

/// What the page shows, for one language.
pub(super) struct PageView<'a> {
    pub(super) language: Language,
    pub(super) addresses: &'a Addresses,
    pub(super) program: &'a MiniProgram,
    /// Oldest first.
    pub(super) taps: &'a VecDeque<Tap>,
}

impl PageView<'_> {
    pub(super) fn say(&self, text: Text) -> &'static str {
        text.in_language(self.language)
    }
}
