//! Why a push is not taken.

/// Why a push is not taken. A client sees one and the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushRejection {
    /// No mini program of ours signed it, or it did not open.
    #[error("not signed by WeChat")]
    Forged,
    /// Signed too long ago, or in the future.
    #[error("signed at another time")]
    Stale,
    /// Signed, and not a push as WeChat describes them.
    #[error("not a push that can be read")]
    Unreadable,
    /// Signed for one mini program, and about another.
    #[error("about another mini program")]
    OtherApp,
}

impl PushRejection {
    /// What it is in metrics.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Unreadable => "unreadable",
            Self::OtherApp => "other_app",
        }
    }
}
