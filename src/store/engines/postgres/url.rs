//! `postgres://USER@HOST:PORT/DATABASE`: libpq's URL, and what of it is menshen's to decide.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

/// How long a connection to one host may take to be made: TCP, TLS, authentication.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A database, and how to get in.
pub(in crate::store) struct PostgresUrl {
    /// One for each host.
    configs: Vec<Config>,
    tls: Option<TlsRoots>,
}

/// Who may sign the server's certificate.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum TlsRoots {
    /// The certificate authorities of this system.
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

/// Why a URL is not taken. Never quotes the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum UrlError {
    #[error("is no URL of PostgreSQL: write postgres://USER@HOST:5432/DATABASE")]
    Malformed,
    #[error("names no host: write postgres://USER@HOST:5432/DATABASE")]
    NoHost,
    #[error("names no user: write postgres://USER@HOST:5432/DATABASE")]
    NoUser,
    #[error(
        "has a password, and URLs are printed: put the password into a file, and name it with store.password_file"
    )]
    Password,
    #[error("names no database: write postgres://USER@HOST:5432/DATABASE")]
    NoDatabase,
    #[error(
        "has a sslmode that does not verify the server: use sslmode=verify-full, or sslmode=disable where nobody else is \
         on the way"
    )]
    WeakTls,
    #[error("has sslrootcert, but TLS is off: remove it, or write sslmode=verify-full")]
    RootsWithoutTls,
    #[error(
        "has a host or a port among its parameters: write them before the database, as in postgres://USER@HOST:5432/DATABASE"
    )]
    HostParameter,
    #[error(
        "has `options`, which PgBouncer refuses: put settings into the role, by ALTER ROLE … SET …"
    )]
    Options,
}

impl PostgresUrl {
    pub(super) fn configs(&self) -> &[Config] {
        &self.configs
    }

    pub(super) const fn tls(&self) -> Option<&TlsRoots> {
        self.tls.as_ref()
    }
}

impl FromStr for PostgresUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(UrlError::Malformed);
        }
        // sslmode and sslrootcert are read here: the driver knows no mode that verifies.
        let mut rest = Vec::new();
        let (mut mode, mut roots) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(decode(value)?),
                Some(("options", _)) => return Err(UrlError::Options),
                Some(("host" | "hostaddr" | "port", _)) => return Err(UrlError::HostParameter),
                Some(_) | None => rest.push(pair),
            }
        }
        let query = rest.join("&");
        let mut configs = for_each_host(base)
            .map(|base| format!("{base}?{query}").parse())
            .collect::<Result<Vec<Config>, _>>()
            .map_err(|_| UrlError::Malformed)?;
        if configs.iter().any(|config| config.get_hosts().len() != 1) {
            return Err(UrlError::NoHost);
        }
        let config = configs.first().ok_or(UrlError::NoHost)?;
        if config.get_password().is_some() {
            return Err(UrlError::Password);
        }
        if config.get_user().is_none_or(str::is_empty) {
            return Err(UrlError::NoUser);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(UrlError::NoDatabase);
        }
        let is_verified = match mode {
            None => !configs.iter().all(is_local) || roots.is_some(),
            Some("disable") => false,
            Some("verify-full") => true,
            Some(_) => return Err(UrlError::WeakTls),
        };
        if !is_verified && roots.is_some() {
            return Err(UrlError::RootsWithoutTls);
        }
        for config in &mut configs {
            config
                .ssl_mode(if is_verified {
                    SslMode::Require
                } else {
                    SslMode::Disable
                })
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
                .application_name("menshen")
                .tcp_user_timeout(Duration::from_secs(10))
                .keepalives_idle(Duration::from_secs(10))
                .keepalives_interval(Duration::from_secs(5))
                .keepalives_retries(2);
        }
        Ok(Self {
            configs,
            tls: is_verified.then(|| match roots.as_deref() {
                None | Some("system") => TlsRoots::System,
                Some(path) => TlsRoots::File(path.into()),
            }),
        })
    }
}

/// The URL for each of its hosts, so that each gets its time: the driver gives them one together.
fn for_each_host(base: &str) -> impl Iterator<Item = String> {
    let (scheme, rest) = base.split_once("://").unwrap_or((base, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    hosts
        .split(',')
        .map(move |host| format!("{scheme}://{user}{host}/{path}"))
}

/// Whether its host is this machine, by its address, its name, or a Unix socket.
fn is_local(config: &Config) -> bool {
    let is_local_host = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback())
        }
    };
    config.get_hosts().iter().all(is_local_host)
}

/// A value of the query, percent-decoded.
fn decode(value: &str) -> Result<String, UrlError> {
    percent_encoding::percent_decode_str(value)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| UrlError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls_of(url: &str) -> Result<Option<TlsRoots>, UrlError> {
        url.parse().map(|url: PostgresUrl| url.tls)
    }

    #[test]
    fn tls_is_verified_unless_the_server_is_on_this_machine() {
        for local in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1:5433/d",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "postgresql://u@db.example/d?sslmode=disable",
        ] {
            assert!(tls_of(local).unwrap().is_none(), "{local}");
        }
        for system in [
            "postgres://u@db.example/d",
            "postgres://u@db.example,localhost/d",
            "postgres://u@127.0.0.1/d?sslmode=verify-full",
            "postgres://u@db/d?sslrootcert=system&application_name=x",
        ] {
            assert!(
                matches!(tls_of(system), Ok(Some(TlsRoots::System))),
                "{system}"
            );
        }
        let file = tls_of("postgres://u@127.0.0.1/d?sslrootcert=%2Fetc%2Fca.pem").unwrap();
        assert!(
            matches!(file, Some(TlsRoots::File(path)) if path == std::path::Path::new("/etc/ca.pem"))
        );
    }

    #[test]
    fn a_url_that_is_not_taken_says_why() {
        for (url, error) in [
            ("mysql://u@h/d", UrlError::Malformed),
            ("postgres://u@h:port/d", UrlError::Malformed),
            ("postgres:///d?user=u", UrlError::NoHost),
            ("postgres://h/d", UrlError::NoUser),
            ("postgres://u@h", UrlError::NoDatabase),
            ("postgres://u:p@h/d", UrlError::Password),
            ("postgres://u@h/d?password=p", UrlError::Password),
            ("postgres://u@h/d?sslmode=require", UrlError::WeakTls),
            ("postgres://u@h/d?sslmode=prefer", UrlError::WeakTls),
            (
                "postgres://u@h/d?sslmode=disable&sslrootcert=x",
                UrlError::RootsWithoutTls,
            ),
            ("postgres://u@h/d?options=-c%20x", UrlError::Options),
            (
                "postgres://u@h/d?hostaddr=10.0.0.1",
                UrlError::HostParameter,
            ),
            ("postgres://u@/d?host=h", UrlError::HostParameter),
            ("postgres://u@h,/d", UrlError::NoHost),
            ("postgres://u@h/d?nonsense=1", UrlError::Malformed),
        ] {
            assert_eq!(tls_of(url).err(), Some(error), "{url}");
        }
    }
}
