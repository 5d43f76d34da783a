//! `postgres://USER@HOST:PORT/DATABASE`: libpq's URL, and what of it is menshen's to decide.

use std::{str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::store::engines::database::url::{TlsRoots, UrlError, UrlParts, is_local_name};

/// How to write one.
const FORM: &str = "postgres://USER@HOST:5432/DATABASE";

/// A database, and how to get in.
pub(in crate::store) struct PostgresUrl {
    /// One for each host.
    configs: Vec<Config>,
    tls: Option<TlsRoots>,
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
        let parts = UrlParts::parse(text, FORM)?;
        let base = parts.base;
        if !base.starts_with("postgres://") && !base.starts_with("postgresql://") {
            return Err(UrlError::Malformed(FORM));
        }
        for pair in &parts.parameters {
            match pair.split('=').next() {
                Some("options") => return Err(UrlError::Options),
                Some("host" | "hostaddr" | "port") => return Err(UrlError::HostParameter(FORM)),
                Some(_) | None => {}
            }
        }
        let query = parts.parameters.join("&");
        let mut configs = for_each_host(base)
            .map(|base| format!("{base}?{query}").parse())
            .collect::<Result<Vec<Config>, _>>()
            .map_err(|_| UrlError::Malformed(FORM))?;
        if configs.iter().any(|config| config.get_hosts().len() != 1) {
            return Err(UrlError::NoHost(FORM));
        }
        let config = configs.first().ok_or(UrlError::NoHost(FORM))?;
        if config.get_password().is_some() {
            return Err(UrlError::Password);
        }
        if config.get_user().is_none_or(str::is_empty) {
            return Err(UrlError::NoUser(FORM));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(UrlError::NoDatabase(FORM));
        }
        let tls = parts.tls(configs.iter().all(is_local))?;
        for config in &mut configs {
            config
                .ssl_mode(if tls.is_some() {
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
        Ok(Self { configs, tls })
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
        Host::Tcp(name) => is_local_name(name),
    };
    config.get_hosts().iter().all(is_local_host)
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
            ("mysql://u@h/d", UrlError::Malformed(FORM)),
            ("postgres://u@h:port/d", UrlError::Malformed(FORM)),
            ("postgres:///d?user=u", UrlError::NoHost(FORM)),
            ("postgres://h/d", UrlError::NoUser(FORM)),
            ("postgres://u@h", UrlError::NoDatabase(FORM)),
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
                UrlError::HostParameter(FORM),
            ),
            ("postgres://u@/d?host=h", UrlError::HostParameter(FORM)),
            ("postgres://u@h,/d", UrlError::NoHost(FORM)),
            ("postgres://u@h/d?nonsense=1", UrlError::Malformed(FORM)),
        ] {
            assert_eq!(tls_of(url).err(), Some(error), "{url}");
        }
    }
}
