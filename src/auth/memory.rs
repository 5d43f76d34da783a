//! The in-memory state of the use cases.

use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

use super::{
    keyed_lock::KeyedLock, known_networks::KnownNetworks, login_attempts::LoginAttempts,
    renewal_attempt::OverLimitQueue,
};

/// Most messages being sent at a time.
const MAX_SENDING: usize = 100;

/// Identifies a person to the backend: a keyed hash.
pub(super) type PersonKey = [u8; 32];

/// State of the last minutes that is in no store and survives a reload of the config.
pub struct AuthMemory {
    pub(super) login_attempts: LoginAttempts,
    pub(super) known_networks: KnownNetworks,
    pub(super) registration_locks: KeyedLock<PersonKey>,
    /// Permits for messages being sent.
    pub(super) sending: Semaphore,
    /// The queue of renewals from addresses over their limit of rejected renewals.
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
