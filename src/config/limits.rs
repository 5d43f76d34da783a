//! `[limits]`: how often one client may ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Problems, Rate};

/// How often one client may ask: `COUNT/TIME`, a burst of COUNT that refills evenly. Counted for
/// each IPv4 address or IPv6 /64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Off only where something in front limits already.
    pub enabled: bool,
    /// Logins with a code of WeChat from one address, good or not: each costs a call to WeChat.
    /// Fits a class of 50 on one Wi-Fi, which signs in at once. A cloud function from which all
    /// users come needs as many as all of them at their busiest (such as `"3000/1m"`), unless it
    /// says whose call it is and is one of `server.trusted_proxies`.
    pub login_per_ip: Rate,
    /// Renewals from one address that are refused. Those that succeed do not count, and succeed
    /// also when this is used up. So it fits an office, a carrier and a cloud function from which
    /// all users come.
    pub refresh_per_ip: Rate,
    /// Renewals of one session. Fits a client that asks ten times at once whenever its token has
    /// expired, and slows one that loops.
    pub refresh_per_session: Rate,
    /// Messages with codes asked for from one address. A class of 50 that signs in by message needs
    /// `"60/1h"`, a cloud function from which all users come as many as all of them ask for in an
    /// hour; `sms.daily_budget` holds all the same.
    pub sms_per_ip: Rate,
    /// Wrong SMS codes from one address, at logins and bindings. Right ones do not count, but are
    /// refused too when this is used up. Fits a class of 50, and a cloud function where few people
    /// mistype. The guesses at one phone's codes are limited apart from this.
    pub verify_per_ip: Rate,
    /// Wrong passwords from one address. Right ones do not count, but are refused too when this is
    /// used up. Fits an office of administrators. Low, because it shuts out no other address.
    pub admin_login_per_ip: Rate,
    /// Wrong passwords for one name, from addresses that have not signed in with it lately. High,
    /// because anyone who knows the name could shut its owner out.
    pub admin_login_per_account: Rate,
    /// Legacy decryptions of a phone number that fail, in one session. Counts also while `enabled`
    /// is false.
    pub phone_decrypt_per_session: Rate,
    /// All other calls of the auth API from one address (profile, sessions, logout, keys). Fits a
    /// class of 50 with six calls each in a minute; a cloud function from which all users come
    /// needs as many as all of them make.
    pub api_per_ip: Rate,
    /// Changes of one user to the own account.
    pub account_per_user: Rate,
    /// Addresses and users remembered by each limit; when it is full, those not seen lately are
    /// forgotten. About 130 bytes each, for each of the ten limits.
    pub table_entries: usize,
}

impl LimitsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !self.enabled {
            problems.warn(
                "limits.enabled",
                "is false: nothing slows down who guesses or floods",
            );
        }
        problems.check_range("limits.table_entries", &self.table_entries, 1..=10_000_000);
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
