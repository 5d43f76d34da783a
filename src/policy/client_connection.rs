//! The connection of the client: its address is that of the peer, or the one that trusted proxies
//! report; so is its use of TLS.
//!
//! `X-Forwarded-For` is a list to which each proxy appends the address of its peer, so only its end
//! comes from trusted proxies. It is read from the right, and the first address that is not a
//! trusted proxy is the client: whatever the client wrote is left of it.
//!
//! Must stay true: no address is trusted by default, not even private networks (CVE-2024-45806);
//! the header fields of an untrusted peer are ignored.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::types::ClientIp;

/// The connection that a client made, to menshen or to the first of the trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConnection {
    pub ip: ClientIp,
    /// It uses TLS. False if that is not known.
    pub https: bool,
    /// The peer is a trusted proxy, so its `X-Forwarded-*` and request id mean something.
    pub trusted_peer: bool,
}

impl ClientConnection {
    /// Whether the connection uses TLS. On one from a trusted proxy, the proxy's own statement
    /// counts instead.
    pub const fn mark_tls(&mut self, tls: bool) {
        self.https |= tls && !self.trusted_peer;
    }
}

/// The connection of the client whose request `peer` sends.
///
/// `peer` is `None` on a Unix socket; it counts as 127.0.0.1, so listing that trusts the proxy
/// behind the socket. `forwarded_for` and `forwarded_proto` are all values of
/// `X-Forwarded-For` and `X-Forwarded-Proto`, in order. Networks in `trusted` are plain IPv4 or
/// IPv6; an IPv4 address in IPv6 form is looked up as IPv4.
pub fn resolve<'a>(
    peer: Option<IpAddr>,
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    forwarded_proto: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> ClientConnection {
    let is_trusted = |ip: ClientIp| {
        trusted
            .iter()
            .any(|network| network.contains(&ip.address()))
    };
    let peer = ClientIp::new(peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    if !is_trusted(peer) {
        return ClientConnection {
            ip: peer,
            https: false,
            trusted_peer: false,
        };
    }
    let mut ip = peer;
    for entry in forwarded_for
        .rev()
        .flat_map(|value| value.rsplit(|&byte| byte == b','))
    {
        // A trusted proxy writes only addresses, so this entry and all left of it are not its own.
        let Some(hop) = parse_hop(entry) else { break };
        ip = hop;
        if !is_trusted(hop) {
            break;
        }
    }
    ClientConnection {
        ip,
        https: all_https(forwarded_proto),
        trusted_peer: true,
    }
}

/// Parses an address as proxies write it: with a port or without, IPv6 with brackets or without.
fn parse_hop(entry: &[u8]) -> Option<ClientIp> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    let address = match bare {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => text
            .parse::<IpAddr>()
            .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
            .ok()?,
    };
    Some(ClientIp::new(address))
}

/// Whether every proxy of the chain reports TLS.
fn all_https<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut entries = values
        .flat_map(|value| value.split(|&byte| byte == b','))
        .peekable();
    entries.peek().is_some()
        && entries.all(|entry| entry.trim_ascii().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded_for: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let peer = (!peer.is_empty()).then(|| peer.parse().unwrap());
        resolve(
            peer,
            forwarded_for.iter().map(|text| text.as_bytes()),
            std::iter::empty(),
            &trusted,
        )
        .ip
        .to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        // CVE-2024-45806: no address is trusted by default, private ones neither.
        for peer in [
            "198.51.100.7",
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "::1",
        ] {
            assert_eq!(from(peer, &["203.0.113.9"], &[]), peer);
        }
        assert_eq!(
            from("198.51.100.7", &["203.0.113.9"], &["10.0.0.0/8"]),
            "198.51.100.7"
        );
        assert_eq!(from("", &["203.0.113.9"], &["10.0.0.0/8"]), "127.0.0.1");
    }

    #[test]
    fn the_client_is_the_first_stranger_from_the_right() {
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"];
        let table: [(&str, &[&str], &str); 16] = [
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("", &["203.0.113.9"], "203.0.113.9"),
            // What a client wrote itself stands left of what a proxy saw.
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["127.0.0.1, 203.0.113.9, 10.0.0.3"],
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.9", "10.0.0.3 , 10.0.0.2"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            // An entry that cannot be read stops the walk.
            ("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.8"], "10.0.0.8"),
            ("10.0.0.1", &["203.0.113.9,"], "10.0.0.1"),
            ("10.0.0.1", &["_hidden"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:5678"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["[2001:db9::5]:80, 2001:db8::1"],
                "2001:db9::5",
            ),
            ("10.0.0.1", &["[2001:db9::5]"], "2001:db9::5"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        ];
        for (peer, forwarded_for, expected) in table {
            assert_eq!(
                from(peer, forwarded_for, &trusted),
                expected,
                "{peer} {forwarded_for:?}"
            );
        }
    }

    #[test]
    fn https_is_believed_only_of_a_trusted_peer_and_of_the_whole_chain() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let https = |peer: &str, values: &[&str]| {
            let values = values.iter().map(|text| text.as_bytes());
            resolve(
                Some(peer.parse().unwrap()),
                std::iter::empty(),
                values,
                &trusted,
            )
            .https
        };
        assert!(https("10.0.0.1", &["https"]));
        assert!(https("10.0.0.1", &["HTTPS, https"]));
        for values in [
            &[][..],
            &["http"],
            &["https, http"],
            &["https", "http"],
            &[""],
            &["https,"],
        ] {
            assert!(!https("10.0.0.1", values), "{values:?}");
        }
        assert!(!https("198.51.100.7", &["https"]));
    }
}
