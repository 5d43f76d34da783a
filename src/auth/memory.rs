//! What the use cases keep in memory.

use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

use super::{
    keyed_lock::KeyedLock, known_networks::KnownNetworks, login_attempts::LoginAttempts,
    renewal_attempt::OverLimitQueue,
};

/// Messages that vendors are being asked to send, at most.
const MAX_SENDING: usize = 100;

/// Names a person towards the backend: a keyed hash.
pub(super) type PersonKey = [u8; 32];

/// What the use cases remember of the last minutes besides the store, whatever becomes of the
/// config.
pub struct AuthMemory {
    pub(super) login_attempts: LoginAttempts,
    pub(super) known_networks: KnownNetworks,
    pub(super) registration_locks: KeyedLock<PersonKey>,
    /// Places for messages on their way.
    pub(super) sending: Semaphore,
    /// A queue for the tokens of addresses that have used up their refused renewals.
    pub(super) renewals_over_limit: OverLimitQueue,
    /// When it was last logged that the day's budget of messages is spent, in seconds since the
    /// epoch.
    pub(super) budget_logged_at: AtomicU64,
}

impl Default for AuthMemory {
    fn default() -> Self {
        Self {
            login_attempts: LoginAttempts::default(),
            known_networks: KnownNetworks::new(),
            registration_locks: KeyedLock::default(),
            sending: Semaphore::new(MAX_SENDING),
            renewals_over_limit: OverLimitQueue::new(),
            budget_logged_at: AtomicU64::new(0),
        }
    }
}
