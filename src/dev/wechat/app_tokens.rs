//! The access tokens of one mini program.

use std::time::{Duration, Instant};

use super::identity::stable_letters;

/// Lifetime of a token.
const TOKEN_LIFETIME: Duration = Duration::from_hours(2);
/// With less than this left, a token gets a successor, and stays valid beside it.
const RENEWAL_WINDOW: Duration = Duration::from_mins(5);

/// The tokens of one mini program.
#[derive(Debug, Default)]
pub(super) struct AppTokens {
    /// The number of issued tokens.
    issued: usize,
    /// The valid tokens; the last one is returned.
    valid: Vec<Token>,
    /// The next call gets a new token.
    is_superseded: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    expires_at: Instant,
}

impl AppTokens {
    pub(super) fn supersede(&mut self) {
        self.is_superseded = true;
    }

    pub(super) fn revoke(&mut self) {
        self.valid.clear();
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.valid
            .iter()
            .any(|token| token.text == text && token.expires_at > Instant::now())
    }

    /// The current token and its remaining lifetime in seconds.
    pub(super) fn current(&mut self, app_id: &str) -> (&str, u64) {
        let now = Instant::now();
        self.valid.retain(|token| token.expires_at > now);
        let needs_one = self.is_superseded
            || self
                .valid
                .last()
                .is_none_or(|token| token.expires_at - now < RENEWAL_WINDOW);
        if needs_one {
            self.issued += 1;
            self.is_superseded = false;
            let text = format!(
                "{}_{}",
                self.issued,
                stable_letters(&format!("access token {app_id} {}", self.issued))
            );
            self.valid.push(Token {
                text,
                expires_at: now + TOKEN_LIFETIME,
            });
        }
        self.valid.last().map_or(("", 0), |token| {
            (&token.text, (token.expires_at - now).as_secs())
        })
    }
}
