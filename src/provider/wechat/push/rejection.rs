//! Why a push is rejected.

use crate::types::named_enum;

named_enum! {
    /// Why a push is rejected, by its metric label. A client sees one and the same answer.
    #[derive(thiserror::Error)]
    pub enum PushRejection {
        /// Signed for no mini program of the config, or it cannot be decrypted.
        #[error("not signed by WeChat")]
        Forged = "forged",
        /// Signed too long ago, or in the future.
        #[error("signed at another time")]
        Stale = "stale",
        /// Signed, and not in WeChat's format.
        #[error("not a push that can be read")]
        Unreadable = "unreadable",
        /// Signed for one mini program, and about another one.
        #[error("about another mini program")]
        OtherApp = "other_app",
    }
}
