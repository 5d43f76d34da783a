//! `mysql://USER@HOST:PORT/DATABASE`.

use std::{str::FromStr, time::Duration};

use mysql_async::{Opts, OptsBuilder};

use crate::store::engines::database::url::{TlsRoots, UrlError, UrlParts, decode, is_local_name};

/// How to write one.
const FORM: &str = "mysql://USER@HOST:3306/DATABASE";
const DEFAULT_PORT: u16 = 3306;
/// The driver asks the server for these two where they are not given, with each connection. The
/// first is the largest that the protocol knows: each commit compares its size with the server's.
const MAX_PACKET: usize = 1 << 30;
const WAIT_TIMEOUT_SECONDS: usize = 28_800;
/// So long a connection is idle before the kernel asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A database, and how to get in.
pub(in crate::store) struct MysqlUrl {
    /// One for each host.
    configs: Vec<Opts>,
    tls: Option<TlsRoots>,
}

impl MysqlUrl {
    pub(super) fn configs(&self) -> &[Opts] {
        &self.configs
    }

    pub(super) const fn tls(&self) -> Option<&TlsRoots> {
        self.tls.as_ref()
    }
}

impl FromStr for MysqlUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let parts = UrlParts::parse(text, FORM)?;
        let rest = parts.base.strip_prefix("mysql://");
        let rest = rest
            .filter(|rest| !rest.contains('#'))
            .ok_or(UrlError::Malformed(FORM))?;
        let parameter = parts.parameters.first();
        match parameter.and_then(|pair| pair.split('=').next()) {
            None => {}
            Some("password") => return Err(UrlError::Password),
            Some("host" | "port" | "socket") => return Err(UrlError::HostParameter(FORM)),
            Some(_) => return Err(UrlError::UnknownParameter),
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').ok_or(UrlError::NoUser(FORM))?;
        if user.contains(':') {
            return Err(UrlError::Password);
        }
        let (user, database) = (decode(user, FORM)?, decode(database, FORM)?);
        if user.is_empty() {
            return Err(UrlError::NoUser(FORM));
        }
        if database.is_empty() {
            return Err(UrlError::NoDatabase(FORM));
        }
        let hosts = hosts
            .split(',')
            .map(Host::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let config = |host: &Host| {
            let builder = OptsBuilder::default()
                .user(Some(&*user))
                .db_name(Some(&*database))
                .connect_attribute("program_name", "menshen")
                .prefer_socket(false)
                .max_allowed_packet(Some(MAX_PACKET))
                .wait_timeout(Some(WAIT_TIMEOUT_SECONDS))
                .tcp_keepalive(Some(KEEPALIVE));
            match host {
                Host::Socket(path) => builder.socket(Some(path.as_str())),
                Host::Tcp { name, port } => builder.ip_or_hostname(name).tcp_port(*port),
            }
            .into()
        };
        Ok(Self {
            configs: hosts.iter().map(config).collect(),
            tls: parts.tls(hosts.iter().all(Host::is_local))?,
        })
    }
}

/// Where a server listens.
enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The path of its socket.
    Socket(String),
}

impl Host {
    /// `NAME`, `NAME:PORT`, `[IPV6]:PORT`, or the path of a Unix socket, percent-encoded.
    fn parse(text: &str) -> Result<Self, UrlError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']').ok_or(UrlError::Malformed(FORM))?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or(UrlError::Malformed(FORM))?),
                };
                (name, port)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let name = decode(name, FORM)?.into_owned();
        if name.is_empty() {
            return Err(UrlError::NoHost(FORM));
        }
        if name.starts_with('/') {
            return match port {
                None => Ok(Self::Socket(name)),
                Some(_) => Err(UrlError::Malformed(FORM)),
            };
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| UrlError::Malformed(FORM))?,
        };
        Ok(Self::Tcp { name, port })
    }

    /// Whether it is this machine.
    fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp { name, .. } => is_local_name(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<MysqlUrl, UrlError> {
        url.parse()
    }

    #[test]
    fn a_url_says_where_a_database_is() {
        let url = parse("mysql://a%40b@db.example,[::1]:3307,%2Frun%2Fm.sock/a%2Fb").unwrap();
        let [named, address, socket] = url.configs() else {
            panic!("three hosts")
        };
        for config in url.configs() {
            assert_eq!(config.user(), Some("a@b"));
            assert_eq!(config.db_name(), Some("a/b"));
            assert_eq!(config.pass(), None);
        }
        assert_eq!(
            (named.ip_or_hostname(), named.tcp_port()),
            ("db.example", 3306)
        );
        assert_eq!(
            (address.ip_or_hostname(), address.tcp_port()),
            ("::1", 3307)
        );
        assert_eq!(socket.socket(), Some("/run/m.sock"));
    }

    #[test]
    fn tls_is_verified_unless_the_server_is_on_this_machine() {
        for local in [
            "mysql://u@localhost/d",
            "mysql://u@127.0.0.1:3307/d",
            "mysql://u@[::1]/d",
            "mysql://u@%2Frun%2Fmysqld%2Fmysqld.sock/d",
            "mysql://u@db.example/d?sslmode=disable",
        ] {
            assert!(parse(local).unwrap().tls.is_none(), "{local}");
        }
        for system in [
            "mysql://u@db.example/d",
            "mysql://u@db.example,localhost/d",
            "mysql://u@127.0.0.1/d?sslmode=verify-full",
        ] {
            let tls = parse(system).unwrap().tls;
            assert!(matches!(tls, Some(TlsRoots::System)), "{system}");
        }
        let file = parse("mysql://u@127.0.0.1/d?sslrootcert=%2Fetc%2Fca.pem").unwrap();
        assert!(
            matches!(file.tls, Some(TlsRoots::File(path)) if path == std::path::Path::new("/etc/ca.pem"))
        );
    }

    #[test]
    fn a_url_that_is_not_taken_says_why() {
        for (url, error) in [
            ("postgres://u@h/d", UrlError::Malformed(FORM)),
            ("mysql://u@h:port/d", UrlError::Malformed(FORM)),
            ("mysql://u@[::1/d", UrlError::Malformed(FORM)),
            ("mysql://u@[::1]3306/d", UrlError::Malformed(FORM)),
            ("mysql://u@%2Frun%2Fm.sock:1/d", UrlError::Malformed(FORM)),
            ("mysql://u@h/d#x", UrlError::Malformed(FORM)),
            ("mysql://%ff@h/d", UrlError::Malformed(FORM)),
            ("mysql://u@/d", UrlError::NoHost(FORM)),
            ("mysql://u@h,/d", UrlError::NoHost(FORM)),
            ("mysql://h/d", UrlError::NoUser(FORM)),
            ("mysql://@h/d", UrlError::NoUser(FORM)),
            ("mysql://u@h", UrlError::NoDatabase(FORM)),
            ("mysql://u@h/", UrlError::NoDatabase(FORM)),
            ("mysql://u:p@h/d", UrlError::Password),
            ("mysql://u@h/d?password=p", UrlError::Password),
            ("mysql://u@h/d?sslmode=required", UrlError::WeakTls),
            (
                "mysql://u@h/d?sslmode=disable&sslrootcert=x",
                UrlError::RootsWithoutTls,
            ),
            ("mysql://u@h/d?socket=x", UrlError::HostParameter(FORM)),
            (
                "mysql://u@h/d?ssl-mode=DISABLED",
                UrlError::UnknownParameter,
            ),
            ("mysql://u@h/d?compress=zlib", UrlError::UnknownParameter),
        ] {
            assert_eq!(parse(url).err(), Some(error), "{url}");
        }
    }
}
