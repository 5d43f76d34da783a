//! `[limits]`: how often one client may ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, Rate};

/// Rate limits of one client: `COUNT/TIME`, a burst of COUNT that refills evenly. Counted for each
/// IPv4 address or IPv6 /64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Turn it off only where a proxy in front limits already.
    pub enabled: bool,
    /// Logins with a code of WeChat from one address, successful or not: each costs a call to
    /// WeChat. Fits a class of 50 on one Wi-Fi that signs in at once. A cloud function that all
    /// users come through needs the peak of all of them (such as `"3000/1m"`), unless it forwards
    /// their addresses and is one of `server.trusted_proxies`.
    pub login_per_ip: Rate,
    /// Refused refreshes from one address. Successful ones do not count, and succeed also when the
    /// limit is reached. So it fits an office, a carrier and a cloud function that all users come
    /// through.
    pub refresh_per_ip: Rate,
    /// Refreshes of one session. Fits a client that sends ten at once whenever its token has
    /// expired, and slows one that loops.
    pub refresh_per_session: Rate,
    /// Requests for a message with a code from one address. A class of 50 that signs in by message
    /// needs `"60/1h"`, a cloud function that all users come through the sum of all of them in an
    /// hour; `sms.daily_budget` applies all the same.
    pub sms_per_ip: Rate,
    /// Wrong SMS codes from one address, at logins and bindings. Right ones do not count, but are
    /// refused too when the limit is reached. Fits a class of 50, and a cloud function where few
    /// people mistype. Guesses at the codes of one phone have a limit of their own.
    pub verify_per_ip: Rate,
    /// Wrong passwords from one address. Right ones do not count, but are refused too when the
    /// limit is reached. Fits an office of administrators. Low, because it locks out no other
    /// address.
    pub admin_login_per_ip: Rate,
    /// Wrong passwords for one name, from addresses that have not signed in with it lately. High,
    /// because anyone who knows the name could lock its owner out.
    pub admin_login_per_account: Rate,
    /// Failed legacy decryptions of a phone number, in one session; and as many of one user at
    /// logins. Applies also while `enabled` is false.
    pub phone_decrypt_per_session: Rate,
    /// All other calls of the auth API from one address (profile, sessions, logout, keys). Fits a
    /// class of 50 with six calls each in a minute; a cloud function that all users come through
    /// needs the sum of all of them.
    pub api_per_ip: Rate,
    /// Changes of one user to their account.
    pub account_per_user: Rate,
    /// Addresses and users remembered by each limit; when it is full, the least recently used are
    /// forgotten. About 130 bytes each, for each of the ten limits.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub table_entries: usize,
}

impl LimitsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !self.enabled {
            problems.warn(
                "limits.enabled",
                "is false: guessing and floods are not limited",
            );
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            login_per_ip: Rate::per(60, HumanDuration::minutes(2)),
            refresh_per_ip: Rate::per_minute(120),
            refresh_per_session: Rate::per_minute(60),
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
