//! The networks from which each administrator has lately logged in.
//!
//! An attacker who knows a name can send wrong passwords for it from many addresses until the limit
//! of the name is used up. That must not lock its owner out, so this limit does not apply to a
//! known network of the owner; the limit of the address does.
//!
//! In memory only: after a restart every network is unknown again. An owner whose name is under
//! attack at that moment is then limited like any other client; no attacker gains by it.

use std::{net::IpAddr, time::Duration};

use quick_cache::sync::Cache;

use crate::types::{ClientIp, Timestamp, Username};

/// How long a network is known after the last login from there.
const RETENTION: Duration = Duration::from_hours(30 * 24);
/// Capacity, in pairs of name and network. Only a right password adds one, so an attacker cannot
/// evict any.
const MAX_ENTRIES: usize = 10_000;

/// Pairs of name and network, with the last login.
#[derive(Debug)]
pub(super) struct KnownNetworks(Cache<(Username, IpAddr), Timestamp>);

impl KnownNetworks {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_ENTRIES))
    }

    /// Records a login of the name's owner from this network.
    pub(super) fn remember(&self, name: &Username, from: ClientIp, now: Timestamp) {
        self.0.insert((name.clone(), from.network()), now);
    }

    /// Whether the owner of the name has lately logged in from this network.
    pub(super) fn is_known(&self, name: &Username, from: ClientIp, now: Timestamp) -> bool {
        self.0
            .get(&(name.clone(), from.network()))
            .is_some_and(|at| now.since(at) < RETENTION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_known_for_thirty_days_and_for_one_name() {
        let known = KnownNetworks::new();
        let name = |text| Username::parse(text).unwrap();
        let ip = |text: &str| ClientIp::new(text.parse().unwrap());
        let start = Timestamp::from_secs(1_800_000_000);
        known.remember(&name("root"), ip("2001:db8::1"), start);
        assert!(
            known.is_known(&name("ROOT"), ip("2001:db8::2"), start),
            "a /64 is one subscriber"
        );
        assert!(!known.is_known(&name("root"), ip("2001:db8:0:1::1"), start));
        assert!(!known.is_known(&name("admin"), ip("2001:db8::1"), start));
        let last = start.plus(RETENTION).minus(Duration::from_millis(1));
        assert!(known.is_known(&name("root"), ip("2001:db8::1"), last));
        assert!(!known.is_known(&name("root"), ip("2001:db8::1"), start.plus(RETENTION)));
    }
}
