//! Who is calling is the peer, unless the peer is trusted: then it is the rightmost address that is
//! not.
//!
//! Input: lines, each a value of `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use menshen::policy::client_connection::resolve;

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let values: Vec<&[u8]> = data.split(|&byte| byte == b'\n').take(16).collect();
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted: [IpNet; 2] = [
        "10.0.0.0/8".parse().expect("a network"),
        "fd00::/8".parse().expect("a network"),
    ];
    let is_trusted = |ip: IpAddr| {
        trusted
            .iter()
            .any(|network| network.contains(&ip.to_canonical()))
    };

    let from_stranger = resolve(
        Some(stranger),
        values.iter().copied(),
        [&b"https"[..]].into_iter(),
        &trusted,
    );
    assert_eq!(
        from_stranger.ip.address(),
        stranger,
        "a stranger is whom it says"
    );
    assert!(!from_stranger.trusted_peer && !from_stranger.https);
    let by_nobody = resolve(Some(proxy), values.iter().copied(), std::iter::empty(), &[]);
    assert_eq!(
        by_nobody.ip.address(),
        proxy,
        "nobody is trusted by default"
    );

    let found = resolve(
        Some(proxy),
        values.iter().copied(),
        std::iter::empty(),
        &trusted,
    )
    .ip
    .address();
    // From the right: the proxies that are known, then the client; what cannot be read ends the
    // walk at who was seen last.
    let text = String::from_utf8_lossy(&values.join(&b","[..])).into_owned();
    let mut expected = proxy;
    for hop in text.rsplit(',') {
        let Some(address) = read(hop.trim_matches([' ', '\t'])) else {
            break;
        };
        expected = address;
        if !is_trusted(address) {
            break;
        }
    }
    assert_eq!(found, expected, "{text:?}");
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
fn read(hop: &str) -> Option<IpAddr> {
    let host = match hop.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']')?;
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':')?)
            };
            if port.is_some_and(|port| !is_port(port)) || !host.contains(':') {
                return None;
            }
            host
        }
        None if hop.matches(':').count() == 1 => {
            let (host, port) = hop.split_once(':')?;
            if !is_port(port) || !host.contains('.') {
                return None;
            }
            host
        }
        None => hop,
    };
    let address: IpAddr = host.parse().ok()?;
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}
