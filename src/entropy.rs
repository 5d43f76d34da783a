//! The only source of randomness: the operating system's, through the same library that makes keys.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::types::{SMS_CODE_DIGITS, SessionId, SmsCode};

/// Random bytes. A failure of the system's source fails the operation; nothing weaker takes its
/// place.
#[derive(Debug, Clone, Default)]
pub struct Entropy {
    source: SystemRandom,
    /// In place of the system's, where a test needs the same bytes each time.
    #[cfg(test)]
    seeded: Option<std::sync::Arc<std::sync::Mutex<fastrand::Rng>>>,
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct NoEntropy;

impl Entropy {
    /// A source that always gives the same bytes for a seed.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        let seeded = std::sync::Mutex::new(fastrand::Rng::with_seed(seed));
        Self {
            seeded: Some(std::sync::Arc::new(seeded)),
            ..Self::default()
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        #[cfg(test)]
        if let Some(seeded) = &self.seeded {
            seeded.lock().map_err(|_| NoEntropy)?.fill(&mut bytes);
            return Ok(bytes);
        }
        self.source.fill(&mut bytes).map_err(|_| NoEntropy)?;
        Ok(bytes)
    }

    /// A code for a phone, each equally likely.
    pub fn sms_code(&self) -> Result<SmsCode, NoEntropy> {
        const CODES: u32 = 1_000_000;
        /// Above this, the remainder would favour the lower codes.
        const FAIR: u32 = u32::MAX / CODES * CODES;
        loop {
            let number = u32::from_be_bytes(self.bytes()?);
            if number < FAIR {
                return SmsCode::parse(&format!("{:0SMS_CODE_DIGITS$}", number % CODES))
                    .map_err(|_| NoEntropy);
            }
        }
    }

    /// A new session id.
    pub fn session_id(&self) -> Result<SessionId, NoEntropy> {
        self.bytes()
            .map(u128::from_be_bytes)
            .map(SessionId::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_six_digits_and_differ() {
        let entropy = Entropy::default();
        let codes: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| entropy.sms_code().unwrap().expose().to_owned())
            .collect();
        assert!(codes.iter().all(|code| code.len() == 6), "{codes:?}");
        assert!(codes.len() > 980, "only {} different codes", codes.len());
        assert!(
            codes.iter().any(|code| code.starts_with('0')),
            "leading zeros are digits"
        );
    }
}
