//! Can clients reach the backend past menshen? One that can sets `X-User-Id` as it likes.
//!
//! From here this check sees whether a backend of this machine also accepts connections on the
//! machine's own addresses.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{context::DoctorContext, finding::Finding, server_probe::connect};
use crate::config::{Config, ListenAddress, UpstreamAddress};

/// Timeout of a connection to an address of this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    let own = own_addresses();
    let mut findings = Vec::new();
    for address in context.config.upstream.addresses() {
        findings.push(match &address {
            UpstreamAddress::Unix(path) => socket(path),
            UpstreamAddress::Http { host, port, .. } => {
                port_of(&context.config, host, *port, &own).await
            }
        });
    }
    findings
}

async fn port_of(config: &Config, host: &str, port: u16, own: &[IpAddr]) -> Finding {
    let Ok(reached) = connect(host, port, CONNECT_TIMEOUT).await else {
        return Finding::skipped(format!(
            "{host}:{port} accepts no connection from here either"
        ));
    };
    if !reached.ip().is_loopback() && !own.contains(&reached.ip()) {
        let message = "is not on this machine, so from here it cannot be seen who else reaches it: let its firewall take menshen \
                    alone, or have it check upstream.shared_secret";
        return Finding::skipped(format!("{host}:{port} {message}"));
    }
    if own.is_empty() {
        return Finding::skipped("this machine has no address but loopback");
    }
    for &ip in own {
        let there = SocketAddr::new(ip, port);
        if is_menshen(config, there)
            || connect(&ip.to_string(), port, CONNECT_TIMEOUT)
                .await
                .is_err()
        {
            continue;
        }
        let seen = format!("port {port} of the backend also accepts connections at {ip}");
        if config.upstream.shared_secret.is_some() {
            let message =
                "it has to refuse requests without upstream.shared_secret, which menshen sends";
            return Finding::ok(format!("{seen}; {message}"));
        }
        let advice = "let it listen on 127.0.0.1, or close the port to others, or have it check upstream.shared_secret: who \
                      reaches it directly can claim to be any user";
        return Finding::warning(seen, advice);
    }
    Finding::ok(format!(
        "port {port} of the backend accepts connections on loopback only, as seen from here"
    ))
}

/// Whether menshen itself listens on this address.
fn is_menshen(config: &Config, there: SocketAddr) -> bool {
    config.server.listen.iter().any(|text| match text.parse() {
        Ok(ListenAddress::Tcp(address) | ListenAddress::Tls(address)) => address == there,
        Ok(ListenAddress::Unix(_)) | Err(_) => false,
    })
}

/// The addresses of this machine: the source addresses of its default routes. Nothing is sent.
fn own_addresses() -> Vec<IpAddr> {
    // Documentation addresses of RFC 5737 and RFC 3849.
    let routes = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let source = |(here, there): (&str, &str)| {
        let socket = UdpSocket::bind(here).ok()?;
        socket.connect(there).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    routes
        .into_iter()
        .filter_map(source)
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .collect()
}

/// Every process of this machine can connect to a world-writable socket, unless a directory above
/// it denies access.
fn socket(path: &Path) -> Finding {
    let mode = |path: &Path| std::fs::metadata(path).map(|found| found.permissions().mode());
    let Ok(own) = mode(path) else {
        return Finding::skipped(format!(
            "there is no socket {} that can be inspected",
            path.display()
        ));
    };
    let is_open = own & 0o002 != 0
        && path
            .ancestors()
            .skip(1)
            .all(|dir| mode(dir).is_ok_and(|mode| mode & 0o001 != 0));
    let seen = format!("{} has mode {:o}", path.display(), own & 0o777);
    if is_open {
        let advice = "remove write access for others (mode 660), or move it to a directory of menshen and the backend";
        Finding::warning(
            format!("{seen}: every process of this machine may connect"),
            advice,
        )
    } else {
        Finding::ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_socket_is_open_when_it_and_every_directory_above_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let with = |dir_mode, mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(dir_mode))
                .unwrap();
            socket(&path).state
        };
        assert_eq!(with(0o755, 0o666), Status::Warning);
        assert_eq!(with(0o755, 0o660), Status::Ok);
        assert_eq!(with(0o700, 0o666), Status::Ok);
        assert_eq!(socket(&dir.path().join("none.sock")).state, Status::Skipped);
    }
}
