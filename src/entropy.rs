//! The only source of randomness: the operating system's, through the same library that makes keys.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::types::SessionId;

/// Random bytes. Failure of the system's source is fatal for what was asked, never replaced by something weaker.
#[derive(Debug, Clone, Default)]
pub struct Entropy {
    source: SystemRandom,
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct NoEntropy;

impl Entropy {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        self.source.fill(&mut bytes).map_err(|_| NoEntropy)?;
        Ok(bytes)
    }

    /// A new session id.
    pub fn session_id(&self) -> Result<SessionId, NoEntropy> {
        self.bytes().map(u128::from_be_bytes).map(SessionId::from_bits)
    }
}
