//! The rate limits of the auth API.
//!
//! They go by the steady clock: setting the wall clock rejects no request. Tables are bounded: a
//! flood of addresses evicts old entries and never makes the process larger.

mod rate_limiter;

use std::{hash::Hash, net::IpAddr};

pub use rate_limiter::RateLimited;

use crate::{
    clock::Clock,
    config::LimitsConfig,
    metrics::Metrics,
    types::{ClientIp, SessionId, UserId, Username},
};
use rate_limiter::{GcraLimiter, SlidingWindowLimiter};

/// All rate limits of the auth API. An address is an IPv4 address or an IPv6 /64.
pub struct Limits {
    clock: Clock,
    metrics: Metrics,
    enabled: bool,
    login_per_ip: GcraLimiter<IpAddr>,
    refresh_per_ip: GcraLimiter<IpAddr>,
    refresh_per_session: GcraLimiter<SessionId>,
    sms_per_ip: GcraLimiter<IpAddr>,
    verify_per_ip: GcraLimiter<IpAddr>,
    admin_login_per_ip: GcraLimiter<IpAddr>,
    admin_login_per_account: GcraLimiter<Username>,
    phone_decrypt_per_session: SlidingWindowLimiter<SessionId>,
    api_per_ip: GcraLimiter<IpAddr>,
    account_per_user: GcraLimiter<UserId>,
}

impl Limits {
    /// From the config.
    pub fn new(config: &LimitsConfig, clock: Clock, metrics: Metrics) -> Self {
        let entries = config.table_entries;
        Self {
            clock,
            metrics,
            enabled: config.enabled,
            login_per_ip: GcraLimiter::new("login_per_ip", config.login_per_ip, entries),
            refresh_per_ip: GcraLimiter::new("refresh_per_ip", config.refresh_per_ip, entries),
            refresh_per_session: GcraLimiter::new(
                "refresh_per_session",
                config.refresh_per_session,
                entries,
            ),
            sms_per_ip: GcraLimiter::new("sms_per_ip", config.sms_per_ip, entries),
            verify_per_ip: GcraLimiter::new("verify_per_ip", config.verify_per_ip, entries),
            admin_login_per_ip: GcraLimiter::new(
                "admin_login_per_ip",
                config.admin_login_per_ip,
                entries,
            ),
            admin_login_per_account: GcraLimiter::new(
                "admin_login_per_account",
                config.admin_login_per_account,
                entries,
            ),
            phone_decrypt_per_session: SlidingWindowLimiter::new(
                config.phone_decrypt_per_session,
                entries,
            ),
            api_per_ip: GcraLimiter::new("api_per_ip", config.api_per_ip, entries),
            account_per_user: GcraLimiter::new(
                "account_per_user",
                config.account_per_user,
                entries,
            ),
        }
    }

    /// One login from this address.
    pub fn login(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.login_per_ip, &from.network())
    }

    /// One renewal from this address that may be rejected, to be refunded when it was not. Over the
    /// limit it is not rejected yet, so that is counted apart.
    pub fn failed_refresh(&self, from: ClientIp) -> Result<(), RateLimited> {
        if !self.enabled {
            return Ok(());
        }
        self.refresh_per_ip
            .check(&from.network(), self.clock.monotonic())
    }

    /// Counts a renewal that was rejected because its address is over the limit.
    pub fn count_failed_refresh(&self) {
        self.count_rejection(self.refresh_per_ip.name);
    }

    /// Refunds a renewal that was not rejected.
    pub fn refund_failed_refresh(&self, from: ClientIp) {
        self.refresh_per_ip.refund(&from.network());
    }

    /// One renewal of this session by a genuine token.
    pub fn refresh_in_session(&self, session: SessionId) -> Result<(), RateLimited> {
        self.check(&self.refresh_per_session, &session)
    }

    /// One request for a message from this address.
    pub fn sms(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.sms_per_ip, &from.network())
    }

    /// One guess at an SMS code from this address, to be refunded when it was right.
    pub fn verify(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.verify_per_ip, &from.network())
    }

    /// Refunds a right guess at an SMS code.
    pub fn refund_verify(&self, from: ClientIp) {
        self.verify_per_ip.refund(&from.network());
    }

    /// One password from this address, to be refunded when it was right.
    pub fn admin_login(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.admin_login_per_ip, &from.network())
    }

    /// Refunds a right password.
    pub fn refund_admin_login(&self, from: ClientIp) {
        self.admin_login_per_ip.refund(&from.network());
    }

    /// One password for this name, to be refunded when it was right.
    pub fn admin_account(&self, name: &Username) -> Result<(), RateLimited> {
        self.check(&self.admin_login_per_account, name)
    }

    /// Refunds a right password.
    pub fn refund_admin_account(&self, name: &Username) {
        self.admin_login_per_account.refund(name);
    }

    /// One legacy decryption in this session, to be refunded when it succeeded.
    pub fn phone_decrypt(&self, session: SessionId) -> Result<(), RateLimited> {
        // Applies even where limits are off: no proxy in front can do it, and unlimited tries
        // decrypt anything.
        let result = self
            .phone_decrypt_per_session
            .check(&session, self.clock.monotonic());
        if result.is_err() {
            self.count_rejection("phone_decrypt_per_session");
        }
        result
    }

    /// Refunds a decryption that succeeded.
    pub fn refund_phone_decrypt(&self, session: SessionId) {
        self.phone_decrypt_per_session.refund(&session);
    }

    /// One other request from this address.
    pub fn api(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.api_per_ip, &from.network())
    }

    /// One change by a user to their own account.
    pub fn account(&self, user: &UserId) -> Result<(), RateLimited> {
        self.check(&self.account_per_user, user)
    }

    fn check<K: Eq + Hash + Clone>(
        &self,
        limit: &GcraLimiter<K>,
        key: &K,
    ) -> Result<(), RateLimited> {
        if !self.enabled {
            return Ok(());
        }
        let result = limit.check(key, self.clock.monotonic());
        if result.is_err() {
            self.count_rejection(limit.name);
        }
        result
    }

    fn count_rejection(&self, limit: &'static str) {
        self.metrics.rate_limited.with_label_values(&[limit]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config::Rate, types::Timestamp};

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

    #[test]
    fn a_burst_passes_then_an_even_flow() {
        let (limits, clock, metrics) = limits(100);
        let one = ip("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(limits.login(one), Ok(()));
        }
        assert_eq!(
            limits.login(one),
            Err(RateLimited {
                retry_after: Duration::from_secs(20)
            })
        );
        clock.advance(Duration::from_secs(19));
        assert_eq!(
            limits.login(one),
            Err(RateLimited {
                retry_after: Duration::from_secs(1)
            }),
            "a refusal costs nothing"
        );
        clock.advance(Duration::from_secs(1));
        assert_eq!(limits.login(one), Ok(()));
        assert!(limits.login(one).is_err());
        clock.advance(Duration::from_hours(1));
        assert_eq!(
            (0..10).filter(|_| limits.login(one).is_ok()).count(),
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
                .filter(|n| limits.login(ip(&format!("2001:db8::{n}"))).is_ok())
                .count(),
            3
        );
        assert_eq!(limits.login(ip("2001:db8:0:1::1")), Ok(()));
        assert_eq!(limits.login(ip("192.0.2.1")), Ok(()));
        let user = |id: &str| limits.account(&UserId::parse(id).unwrap()).is_ok();
        assert_eq!([user("1"), user("1"), user("2")], [true, false, true]);
    }

    #[test]
    fn limits_are_counted_apart() {
        let (limits, _, _) = limits(100);
        let one = ip("192.0.2.1");
        while limits.login(one).is_ok() {}
        assert_eq!(
            [limits.failed_refresh(one), limits.api(one)],
            [Ok(()), Ok(())]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_costs_one_period_at_most() {
        let (limits, _, _) = limits(100);
        let one = ip("192.0.2.1").network();
        assert_eq!(limits.login_per_ip.check(&one, START), Ok(()));
        let earlier = START.minus(Duration::from_hours(1));
        let limited = limits.login_per_ip.check(&one, earlier).unwrap_err();
        assert!(limited.retry_after <= Duration::from_mins(1), "{limited:?}");
        assert_eq!(
            limits
                .login_per_ip
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
        let (one, session) = (ip("192.0.2.1"), SessionId::from_bits(1));
        assert_eq!(limits.login(one), Ok(()));
        for _ in 0..5 {
            assert_eq!(limits.phone_decrypt(session), Ok(()));
        }
        clock.set_back(Duration::from_hours(24));
        assert_eq!([limits.login(one), limits.login(one)], [Ok(()), Ok(())]);
        assert_eq!(
            limits.login(one),
            Err(RateLimited {
                retry_after: Duration::from_secs(20)
            })
        );
        assert_eq!(
            limits.phone_decrypt(session),
            Err(RateLimited {
                retry_after: Duration::from_mins(1)
            })
        );
        clock.advance(Duration::from_mins(1));
        assert_eq!(
            (limits.login(one), limits.phone_decrypt(session)),
            (Ok(()), Ok(()))
        );
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table() {
        let (limits, _, _) = limits(1000);
        for n in 0..50_000_u32 {
            let _ = limits.login(ClientIp::new(n.to_be_bytes().into()));
        }
        assert!(
            limits.login_per_ip.table.len() <= 1100,
            "{}",
            limits.login_per_ip.table.len()
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
        assert!((0..100).all(|_| limits.login(ip("192.0.2.1")).is_ok()));
        let decrypted = (0..100)
            .filter(|_| limits.phone_decrypt(SessionId::from_bits(1)).is_ok())
            .count();
        assert_eq!(decrypted, 5, "but one that nothing in front can take over");
    }
}
