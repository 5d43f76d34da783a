//! `[limits]`: how often one client may ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, Rate};

/// How often one client may ask: `COUNT/TIME`, a burst of COUNT that refills evenly. Counted for each IPv4 address or IPv6 /64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Off only where something in front limits already.
    pub enabled: bool,
    /// Logins from one address. Many people can share one (a school, a carrier).
    pub login_per_ip: Rate,
    /// Refreshes from one address.
    pub refresh_per_ip: Rate,
    /// Messages with codes asked for from one address.
    pub sms_per_ip: Rate,
    /// Logins and bindings with an SMS code from one address. The guesses at one phone's codes are limited apart from this.
    pub verify_per_ip: Rate,
    /// Logins with a password from one address. Low, because it cannot shut anybody else out.
    pub admin_login_per_ip: Rate,
    /// Wrong passwords for one name, from addresses that have not signed in with it lately. High, because whoever knows the
    /// name could shut its owner out.
    pub admin_login_per_account: Rate,
    /// Legacy decryptions of a phone number that fail, in one session. Counts also while `enabled` is false.
    pub phone_decrypt_per_session: Rate,
    /// All other calls of the auth API from one address.
    pub api_per_ip: Rate,
    /// Changes of one user to the own account.
    pub account_per_user: Rate,
    /// Addresses and users remembered by each limit; when it is full, those not seen lately are forgotten. About 130 bytes each, for each of the nine limits.
    pub table_entries: usize,
}

impl LimitsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !self.enabled {
            problems.warn("limits.enabled", "is false: nothing slows down who guesses or floods");
        }
        problems.between("limits.table_entries", &self.table_entries, 1..=10_000_000);
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            login_per_ip: Rate::per_minute(30),
            refresh_per_ip: Rate::per_minute(120),
            sms_per_ip: Rate::per(20, HumanDuration::hours(1)),
            verify_per_ip: Rate::per_minute(60),
            admin_login_per_ip: Rate::per(10, HumanDuration::minutes(15)),
            admin_login_per_account: Rate::per(100, HumanDuration::hours(1)),
            phone_decrypt_per_session: Rate::per_minute(5),
            api_per_ip: Rate::per_minute(300),
            account_per_user: Rate::per_minute(60),
            table_entries: 50_000,
        }
    }
}
