//! Addresses in the config: where we listen, and where others do.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use http::Uri;

use crate::types::Malformed;

/// Where menshen listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// TLS over TCP.
    Tls(SocketAddr),
    /// A Unix socket at this absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether other machines may reach it.
    pub fn is_public(&self) -> bool {
        match self {
            Self::Tcp(address) | Self::Tls(address) => !address.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map(Self::Unix);
        }
        let (address, variant): (_, fn(SocketAddr) -> Self) = text
            .strip_prefix("tls:")
            .map_or((text, Self::Tcp), |address| (address, Self::Tls));
        let wrong =
            Malformed("is not an address: write IP:PORT, tls:IP:PORT or unix:/path/to.sock");
        address.parse().map(variant).map_err(|_| wrong)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "tls:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where another server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    Http {
        tls: bool,
        /// A name, an IPv4 address or an IPv6 address without brackets.
        host: String,
        port: u16,
    },
    /// A Unix socket at this absolute path.
    Unix(PathBuf),
}

impl FromStr for UpstreamAddress {
    type Err = Malformed;

    /// Paths, queries and passwords are refused, because they would be ignored silently.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "is not a server: write http://host:port, https://host:port or unix:/path/to.sock",
        );
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map(Self::Unix);
        }
        if text.contains('@') {
            return Err(Malformed("has a user name: menshen sends none"));
        }
        if text.contains(['?', '#']) {
            return Err(Malformed(
                "has a query or a fragment: write the server alone",
            ));
        }
        let url: Uri = text.parse().map_err(|_| WRONG)?;
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(WRONG),
        };
        if !matches!(url.path(), "" | "/") {
            return Err(Malformed(
                "has a path: write the server alone, because every request keeps its own path",
            ));
        }
        let authority = url.authority().ok_or(WRONG)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = match (authority.port(), authority.as_str().ends_with(':')) {
            (Some(port), _) => port
                .as_str()
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(WRONG)?,
            (None, true) => return Err(WRONG),
            // `Uri` takes a port that is no number for none.
            (None, false) if authority.as_str() != authority.host() => return Err(WRONG),
            (None, false) => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        if host.is_empty() {
            Err(WRONG)
        } else {
            Ok(Self::Http { tls, host, port })
        }
    }
}

/// `http` or `https`, and the host without brackets.
pub(super) fn scheme_and_host(url: &str) -> Option<(String, String)> {
    let uri: http::Uri = url.parse().ok().filter(|_| !url.contains(['@', '#']))?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (scheme.to_owned(), host.to_owned()))
}

/// Whether a host of a URL is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn unix(path: &str) -> Result<PathBuf, Malformed> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Malformed("needs a whole path: write unix:/path/to.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_an_address_and_a_port_or_a_socket() {
        for text in [
            "0.0.0.0:8080",
            "[::1]:0",
            "tls:[::]:8443",
            "unix:/run/menshen.sock",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>()
                    .map(|address| address.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "8080",
            ":8080",
            "localhost:8080",
            "0.0.0.0",
            "0.0.0.0:65536",
            "unix:",
            "unix:run.sock",
            "tls:8443",
            "tls:unix:/run/menshen.sock",
            "http://0.0.0.0:80",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_upstream_is_a_server_and_nothing_more() {
        let http = |tls, host: &str, port| UpstreamAddress::Http {
            tls,
            host: host.to_owned(),
            port,
        };
        for (text, expected) in [
            ("http://127.0.0.1:3000", http(false, "127.0.0.1", 3000)),
            ("http://app/", http(false, "app", 80)),
            ("https://app.internal", http(true, "app.internal", 443)),
            ("HTTP://App:81", http(false, "App", 81)),
            ("http://[::1]:3000", http(false, "::1", 3000)),
            ("https://[::1]", http(true, "::1", 443)),
            (
                "unix:/run/app.sock",
                UpstreamAddress::Unix("/run/app.sock".into()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "app",
            "app:3000",
            "127.0.0.1:3000",
            "ftp://app",
            "http://",
            "http://:80",
            "http://app:",
            "http://app:0",
            "http://app:65536",
            "http://app:x",
            "http://app/v1",
            "http://app?x",
            "http://app#x",
            "http://u:p@app",
            "http://a b",
            "/path",
            "unix:app.sock",
            "*",
        ] {
            assert!(text.parse::<UpstreamAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.com",
            "0.0.0.0",
            "10.0.0.1",
            "api.weixin.qq.com",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
