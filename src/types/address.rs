//! Addresses: that of a client, and whether one belongs to the public internet.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A client's address. An IPv4-mapped IPv6 address (`::ffff:1.2.3.4`) is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// This machine, for a client on a Unix socket.
    pub const LOOPBACK: Self = Self(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    /// The address, in its one canonical form.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The address.
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// The key of a rate limit: an IPv4 address, or the /64 of one IPv6 subscriber.
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        }
    }
}

/// Whether an address is of the public internet: not of this machine, a private network, a cloud's
/// metadata service or a special-purpose range (IANA special-purpose address registries,
/// RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        // Global unicast is 2000::/3. In it: Teredo and other protocols (2001::/23), documentation,
        // 6to4 with an IPv4 address inside.
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
            [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let special = match v4.octets() {
        // This network; carrier NAT, where clouds keep their metadata too; protocols; benchmarks;
        // reserved and broadcast.
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => true,
        _ => false,
    };
    let named = v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation();
    !special && !named
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subscriber_is_one_network() {
        let of = |text: &str| {
            ClientIp::new(text.parse().expect("an address"))
                .network()
                .to_string()
        };
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn special_ranges_are_not_public() {
        let public = |text: &str| is_public(text.parse().expect("an address"));
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "198.20.0.1",
            "223.5.5.5",
            "2400:3200::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(public(text), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }
}
