//! The rate limits of the auth API.
//!
//! They go by the steady clock: setting the wall clock rejects no request. Tables are bounded: a
//! flood of addresses evicts old entries and never makes the process larger.

mod rate_limiter;

use std::{hash::Hash, net::IpAddr};

pub use rate_limiter::RateLimited;

use crate::{
    clock::Clock,
    config::{LimitsConfig, Rate},
    metrics::Metrics,
    types::{SessionId, UserId, Username},
};
use rate_limiter::{GcraLimiter, SlidingWindowLimiter};

/// All rate limits of the auth API, by their names in the config. An address is an IPv4 address or
/// an IPv6 /64.
pub struct Limits {
    /// Logins.
    pub login_per_ip: RateLimit<IpAddr>,
    /// Rejected renewals: each counts until it has succeeded.
    pub refresh_per_ip: RateLimit<IpAddr>,
    /// Renewals by a genuine token.
    pub refresh_per_session: RateLimit<SessionId>,
    /// Requests for a message.
    pub sms_per_ip: RateLimit<IpAddr>,
    /// Wrong SMS codes: each guess counts until it was right.
    pub verify_per_ip: RateLimit<IpAddr>,
    /// Wrong passwords: each counts until it was right.
    pub admin_login_per_ip: RateLimit<IpAddr>,
    /// Wrong passwords for one name: each counts until it was right.
    pub admin_login_per_account: RateLimit<Username>,
    /// Other requests.
    pub api_per_ip: RateLimit<IpAddr>,
    /// Changes by a user to their own account.
    pub account_per_user: RateLimit<UserId>,
    phone_decrypt_per_session: SlidingWindowLimiter<PhoneDecryptKey>,
    clock: Clock,
    metrics: Metrics,
}

/// Whose tries of legacy phone decryption are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PhoneDecryptKey {
    /// Those in this session.
    Session(SessionId),
    /// Those of this user at logins, each of which has a new session.
    Login(UserId),
}

/// One limit, for each of its keys.
pub struct RateLimit<K> {
    /// Its name in the config and in metrics.
    name: &'static str,
    limiter: GcraLimiter<K>,
    enabled: bool,
    clock: Clock,
    metrics: Metrics,
}

impl Limits {
    /// From the config.
    pub fn new(config: &LimitsConfig, clock: Clock, metrics: Metrics) -> Self {
        let parts = LimitParts {
            config,
            clock: &clock,
            metrics: &metrics,
        };
        Self {
            login_per_ip: parts.limit("login_per_ip", config.login_per_ip),
            refresh_per_ip: parts.limit("refresh_per_ip", config.refresh_per_ip),
            refresh_per_session: parts.limit("refresh_per_session", config.refresh_per_session),
            sms_per_ip: parts.limit("sms_per_ip", config.sms_per_ip),
            verify_per_ip: parts.limit("verify_per_ip", config.verify_per_ip),
            admin_login_per_ip: parts.limit("admin_login_per_ip", config.admin_login_per_ip),
            admin_login_per_account: parts
                .limit("admin_login_per_account", config.admin_login_per_account),
            api_per_ip: parts.limit("api_per_ip", config.api_per_ip),
            account_per_user: parts.limit("account_per_user", config.account_per_user),
            phone_decrypt_per_session: SlidingWindowLimiter::new(
                config.phone_decrypt_per_session,
                config.table_entries,
            ),
            clock,
            metrics,
        }
    }

    /// Takes one legacy decryption of this key, to be refunded when it has succeeded. Applies even
    /// where limits are off: no proxy in front can do it, and unlimited tries decrypt anything.
    pub fn check_phone_decrypt(&self, key: &PhoneDecryptKey) -> Result<(), RateLimited> {
        self.phone_decrypt_per_session
            .check(key, self.clock.monotonic())
            .inspect_err(|_| count_rejection(&self.metrics, "phone_decrypt_per_session"))
    }

    /// Refunds a decryption that has succeeded.
    pub fn refund_phone_decrypt(&self, key: &PhoneDecryptKey) {
        self.phone_decrypt_per_session.refund(key);
    }
}

/// The dependencies of every limit.
struct LimitParts<'a> {
    config: &'a LimitsConfig,
    clock: &'a Clock,
    metrics: &'a Metrics,
}

impl LimitParts<'_> {
    fn limit<K: Eq + Hash + Clone>(&self, name: &'static str, rate: Rate) -> RateLimit<K> {
        RateLimit {
            name,
            limiter: GcraLimiter::new(rate, self.config.table_entries),
            enabled: self.config.enabled,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl<K: Eq + Hash + Clone> RateLimit<K> {
    /// Takes one request of this key, or counts its rejection.
    pub fn check(&self, key: &K) -> Result<(), RateLimited> {
        self.check_uncounted(key)
            .inspect_err(|_| self.count_rejection())
    }

    /// Takes one request of this key; one over the limit is not rejected yet, so it is counted
    /// apart, by [`RateLimit::count_rejection`].
    pub fn check_uncounted(&self, key: &K) -> Result<(), RateLimited> {
        if !self.enabled {
            return Ok(());
        }
        self.limiter.check(key, self.clock.monotonic())
    }

    /// Counts a rejection by this limit.
    pub fn count_rejection(&self) {
        count_rejection(&self.metrics, self.name);
    }

    /// Takes back one request of this key.
    pub fn refund(&self, key: &K) {
        self.limiter.refund(key);
    }
}

fn count_rejection(metrics: &Metrics, limit: &'static str) {
    metrics.rate_limited.with_label_values(&[limit]).inc();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::{ClientIp, Timestamp};

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn limits(entries: usize) -> (Limits, Clock, Metrics) {
        let (clock, metrics) = (Clock::manual(START), Metrics::new());
        let config = LimitsConfig {
            login_per_ip: Rate::per_minute(3),
            account_per_user: Rate::per_minute(1),
            table_entries: entries,
            ..LimitsConfig::default()
        };
        (
            Limits::new(&config, clock.clone(), metrics.clone()),
            clock,
            metrics,
        )
    }

    fn ip(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap())
    }

    fn login(limits: &Limits, from: ClientIp) -> Result<(), RateLimited> {
        limits.login_per_ip.check(&from.network())
    }

    #[test]
    fn a_burst_passes_then_an_even_flow() {
        let (limits, clock, metrics) = limits(100);
        let one = ip("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(login(&limits, one), Ok(()));
        }
        assert_eq!(
            login(&limits, one),
            Err(RateLimited {
                retry_after: Duration::from_secs(20)
            })
        );
        clock.advance(Duration::from_secs(19));
        assert_eq!(
            login(&limits, one),
            Err(RateLimited {
                retry_after: Duration::from_secs(1)
            }),
            "a refusal costs nothing"
        );
        clock.advance(Duration::from_secs(1));
        assert_eq!(login(&limits, one), Ok(()));
        assert!(login(&limits, one).is_err());
        clock.advance(Duration::from_hours(1));
        assert_eq!(
            (0..10).filter(|_| login(&limits, one).is_ok()).count(),
            3,
            "a long pause saves up one burst"
        );
        assert_eq!(
            metrics
                .rate_limited
                .with_label_values(&["login_per_ip"])
                .get(),
            10
        );
    }

    #[test]
    fn one_ipv6_subscriber_is_one_client_and_others_are_others() {
        let (limits, _, _) = limits(100);
        assert_eq!(
            (0..9)
                .filter(|n| login(&limits, ip(&format!("2001:db8::{n}"))).is_ok())
                .count(),
            3
        );
        assert_eq!(login(&limits, ip("2001:db8:0:1::1")), Ok(()));
        assert_eq!(login(&limits, ip("192.0.2.1")), Ok(()));
        let user = |id: &str| {
            limits
                .account_per_user
                .check(&UserId::parse(id).unwrap())
                .is_ok()
        };
        assert_eq!([user("1"), user("1"), user("2")], [true, false, true]);
    }

    #[test]
    fn limits_are_counted_apart() {
        let (limits, _, _) = limits(100);
        let one = ip("192.0.2.1");
        while login(&limits, one).is_ok() {}
        assert_eq!(
            [
                limits.refresh_per_ip.check(&one.network()),
                limits.api_per_ip.check(&one.network())
            ],
            [Ok(()), Ok(())]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_costs_one_period_at_most() {
        let (limits, _, _) = limits(100);
        let one = ip("192.0.2.1").network();
        assert_eq!(limits.login_per_ip.limiter.check(&one, START), Ok(()));
        let earlier = START.minus(Duration::from_hours(1));
        let limited = limits
            .login_per_ip
            .limiter
            .check(&one, earlier)
            .unwrap_err();
        assert!(limited.retry_after <= Duration::from_mins(1), "{limited:?}");
        assert_eq!(
            limits
                .login_per_ip
                .limiter
                .check(&one, earlier.plus(limited.retry_after)),
            Ok(()),
            "what it was told comes true"
        );
    }

    /// Each limit, with room left and used up: an operator or NTP that sets the clock back changes
    /// nothing.
    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let (limits, clock, _) = limits(100);
        let (one, session) = (
            ip("192.0.2.1"),
            PhoneDecryptKey::Session(SessionId::from_bits(1)),
        );
        assert_eq!(login(&limits, one), Ok(()));
        for _ in 0..5 {
            assert_eq!(limits.check_phone_decrypt(&session), Ok(()));
        }
        clock.set_back(Duration::from_hours(24));
        assert_eq!([login(&limits, one), login(&limits, one)], [Ok(()), Ok(())]);
        assert_eq!(
            login(&limits, one),
            Err(RateLimited {
                retry_after: Duration::from_secs(20)
            })
        );
        assert_eq!(
            limits.check_phone_decrypt(&session),
            Err(RateLimited {
                retry_after: Duration::from_mins(1)
            })
        );
        clock.advance(Duration::from_mins(1));
        assert_eq!(
            (login(&limits, one), limits.check_phone_decrypt(&session)),
            (Ok(()), Ok(()))
        );
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table() {
        let (limits, _, _) = limits(1000);
        for n in 0..50_000_u32 {
            let _ = login(&limits, ClientIp::new(n.to_be_bytes().into()));
        }
        assert!(
            limits.login_per_ip.limiter.table.len() <= 1100,
            "{}",
            limits.login_per_ip.limiter.table.len()
        );
    }

    #[test]
    fn switched_off_limits_refuse_nobody() {
        let config = LimitsConfig {
            enabled: false,
            login_per_ip: Rate::per_minute(1),
            ..LimitsConfig::default()
        };
        let limits = Limits::new(&config, Clock::manual(START), Metrics::new());
        assert!((0..100).all(|_| login(&limits, ip("192.0.2.1")).is_ok()));
        let decrypted = (0..100)
            .filter(|_| {
                let session = PhoneDecryptKey::Session(SessionId::from_bits(1));
                limits.check_phone_decrypt(&session).is_ok()
            })
            .count();
        assert_eq!(decrypted, 5, "but one that nothing in front can take over");
    }
}
