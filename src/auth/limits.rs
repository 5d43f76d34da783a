//! How often one client may ask.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A): for each key one instant, by which the
//! client would be back at zero if it stopped now. A burst of COUNT, then an even flow. Tables are
//! bounded; a flood of addresses makes old ones forgotten, never the process larger. They go by the
//! steady clock: setting the wall clock refuses nobody.

use std::{hash::Hash, net::IpAddr, time::Duration};

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::{
    clock::Clock,
    config::{LimitsConfig, Rate},
    metrics::Metrics,
    types::{ClientIp, SessionId, Timestamp, UserId, Username},
};

/// Every limit of the auth API. An address is an IPv4 address or an IPv6 /64.
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

/// Over a limit: when the next request fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimited {
    pub retry_after: Duration,
}

impl Limits {
    /// The limits of the config.
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

    /// One renewal from this address that may be refused. To be given back when it was not. Over
    /// the limit it is not refused yet, so that is counted apart.
    pub fn failed_refresh(&self, from: ClientIp) -> Result<(), RateLimited> {
        if !self.enabled {
            return Ok(());
        }
        self.refresh_per_ip
            .check(&from.network(), self.clock.monotonic())
    }

    /// A renewal was refused because its address is over the limit.
    pub fn count_failed_refresh(&self) {
        self.count_rejection(self.refresh_per_ip.name);
    }

    /// The renewal was not refused: it counts for nothing.
    pub fn refund_failed_refresh(&self, from: ClientIp) {
        self.refresh_per_ip.refund(&from.network());
    }

    /// One renewal of this session, by a token that is genuine.
    pub fn refresh_in_session(&self, session: SessionId) -> Result<(), RateLimited> {
        self.check(&self.refresh_per_session, &session)
    }

    /// One message asked for from this address.
    pub fn sms(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.sms_per_ip, &from.network())
    }

    /// One guess at an SMS code from this address. To be given back when it was right.
    pub fn verify(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.verify_per_ip, &from.network())
    }

    /// The SMS code was right: it counts for nothing.
    pub fn refund_verify(&self, from: ClientIp) {
        self.verify_per_ip.refund(&from.network());
    }

    /// One password from this address. To be given back when it was right.
    pub fn admin_login(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.admin_login_per_ip, &from.network())
    }

    /// The password was right: it counts for nothing.
    pub fn refund_admin_login(&self, from: ClientIp) {
        self.admin_login_per_ip.refund(&from.network());
    }

    /// One password tried for this name. To be given back when it was right.
    pub fn admin_account(&self, name: &Username) -> Result<(), RateLimited> {
        self.check(&self.admin_login_per_account, name)
    }

    /// The password was right: it counts for nothing.
    pub fn refund_admin_account(&self, name: &Username) {
        self.admin_login_per_account.refund(name);
    }

    /// One legacy decryption in this session. To be given back when it succeeded.
    pub fn phone_decrypt(&self, session: SessionId) -> Result<(), RateLimited> {
        // Holds even where limits are off: nothing in front can know of it, and whoever may try for
        // ever decrypts anything.
        let taken = self
            .phone_decrypt_per_session
            .check(&session, self.clock.monotonic());
        if taken.is_err() {
            self.count_rejection("phone_decrypt_per_session");
        }
        taken
    }

    /// The decryption succeeded: it counts for nothing.
    pub fn refund_phone_decrypt(&self, session: SessionId) {
        self.phone_decrypt_per_session.refund(&session);
    }

    /// One other call from this address.
    pub fn api(&self, from: ClientIp) -> Result<(), RateLimited> {
        self.check(&self.api_per_ip, &from.network())
    }

    /// One change of a user to the own account.
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
        let taken = limit.check(key, self.clock.monotonic());
        if taken.is_err() {
            self.count_rejection(limit.name);
        }
        taken
    }

    fn count_rejection(&self, limit: &'static str) {
        self.metrics.rate_limited.with_label_values(&[limit]).inc();
    }
}

/// One limit.
struct GcraLimiter<K> {
    /// Its name in the config and in metrics.
    name: &'static str,
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds that may be owed: the whole burst.
    burst: u64,
    /// When each client is back at zero, in nanoseconds since the epoch.
    table: Cache<K, u64>,
}

impl<K: Eq + Hash + Clone> GcraLimiter<K> {
    fn new(name: &'static str, rate: Rate, entries: usize) -> Self {
        let cost = nanos(rate.per.get()) / u64::from(rate.count.get());
        let burst = cost.saturating_mul(rate.count.get().into());
        Self {
            name,
            cost,
            burst,
            table: Cache::new(entries.max(1)),
        }
    }

    fn check(&self, key: &K, now: Timestamp) -> Result<(), RateLimited> {
        let now = now.as_millis().saturating_mul(1_000_000);
        let entry = self
            .table
            .entry(key, None, |_, theoretical_arrival: &mut u64| {
                // Never further away than a whole burst, unless the clock was set back.
                let owed = theoretical_arrival.saturating_sub(now).min(self.burst);
                *theoretical_arrival = now.saturating_add(owed);
                let after = owed.saturating_add(self.cost);
                if after > self.burst {
                    return EntryAction::Retain(Err(RateLimited {
                        retry_after: Duration::from_nanos(after - self.burst),
                    }));
                }
                *theoretical_arrival = now.saturating_add(after);
                EntryAction::Retain(Ok(()))
            });
        match entry {
            EntryResult::Retained(taken) => taken,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                // Fails only when the key was removed meanwhile: then it starts afresh next time.
                let _ = guard.insert(now.saturating_add(self.cost));
                Ok(())
            }
            // Not asked for above.
            EntryResult::Removed(..) | EntryResult::Timeout => Ok(()),
        }
    }
}

/// A limit that holds for every stretch of time of its length, wherever it begins: never more than
/// so many. It remembers each time, so it is for few.
struct SlidingWindowLimiter<K> {
    max: usize,
    length: Duration,
    /// When each took its last ones, the oldest first.
    table: Cache<K, Vec<Timestamp>>,
}

impl<K: Eq + Hash + Clone> SlidingWindowLimiter<K> {
    fn new(rate: Rate, entries: usize) -> Self {
        let max = usize::try_from(rate.count.get()).unwrap_or(usize::MAX);
        Self {
            max,
            length: rate.per.get(),
            table: Cache::new(entries.max(1)),
        }
    }

    fn check(&self, key: &K, now: Timestamp) -> Result<(), RateLimited> {
        let entry = self
            .table
            .entry(key, None, |_, taken: &mut Vec<Timestamp>| {
                // Of a clock that was set back the later times count as now.
                taken.retain(|at| now.since(*at) < self.length);
                if let Some(oldest) = taken
                    .len()
                    .checked_sub(self.max)
                    .and_then(|oldest| taken.get(oldest))
                {
                    let retry_after = self.length.saturating_sub(now.since(*oldest));
                    return EntryAction::Retain(Err(RateLimited { retry_after }));
                }
                taken.push(now);
                EntryAction::Retain(Ok(()))
            });
        match entry {
            EntryResult::Retained(taken) => taken,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                // Fails only when the key was removed meanwhile: then it starts afresh next time.
                let _ = guard.insert(vec![now]);
                Ok(())
            }
            // Not asked for above.
            EntryResult::Removed(..) | EntryResult::Timeout => Ok(()),
        }
    }

    /// Takes the last one back.
    fn refund(&self, key: &K) {
        let entry = self
            .table
            .entry(key, None, |_, taken: &mut Vec<Timestamp>| {
                taken.pop();
                EntryAction::<()>::Retain(())
            });
        // Where it is not known any more there is nothing to give back.
        drop(entry);
    }
}

impl<K: Eq + Hash + Clone> GcraLimiter<K> {
    /// Takes one back that was taken.
    fn refund(&self, key: &K) {
        let entry = self
            .table
            .entry(key, None, |_, theoretical_arrival: &mut u64| {
                *theoretical_arrival = theoretical_arrival.saturating_sub(self.cost);
                EntryAction::<()>::Retain(())
            });
        // Where it is not known any more there is nothing to give back.
        drop(entry);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_window_holds_wherever_it_begins() {
        let window = SlidingWindowLimiter::new(Rate::per_minute(5), 100);
        let check = |secs: u64| {
            window
                .check(&1, START.plus(Duration::from_secs(secs)))
                .map_err(|over| over.retry_after)
        };
        let times = [0, 10, 20, 30, 40];
        assert!(times.iter().all(|secs| check(*secs).is_ok()));
        assert_eq!(check(50), Err(Duration::from_secs(10)));
        assert_eq!(check(59), Err(Duration::from_secs(1)));
        assert_eq!(
            (check(60), check(61)),
            (Ok(()), Err(Duration::from_secs(9))),
            "one went out, one came in"
        );
        window.refund(&1);
        assert_eq!(
            (check(62), check(62)),
            (Ok(()), Err(Duration::from_secs(8)))
        );
        assert!(window.check(&2, START).is_ok());
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
        let over = limits.login_per_ip.check(&one, earlier).unwrap_err();
        assert!(over.retry_after <= Duration::from_mins(1), "{over:?}");
        assert_eq!(
            limits
                .login_per_ip
                .check(&one, earlier.plus(over.retry_after)),
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
