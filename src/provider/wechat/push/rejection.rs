//! Why a push is rejected.

/// Why a push is rejected. A client sees one and the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushRejection {
    /// Signed for no mini program of the config, or it cannot be decrypted.
    #[error("not signed by WeChat")]
    Forged,
    /// Signed too long ago, or in the future.
    #[error("signed at another time")]
    Stale,
    /// Signed, and not in WeChat's format.
    #[error("not a push that can be read")]
    Unreadable,
    /// Signed for one mini program, and about another one.
    #[error("about another mini program")]
    OtherApp,
}

impl PushRejection {
    /// Its metric label.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Unreadable => "unreadable",
            Self::OtherApp => "other_app",
        }
    }
}
