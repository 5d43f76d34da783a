//! What the URLs of all databases have in common: hosts, how TLS is verified, and what is refused.

use std::{borrow::Cow, net::IpAddr, path::PathBuf};

/// Who may sign the server's certificate.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::store::engines) enum TlsRoots {
    /// The certificate authorities of this system.
    System,
    /// Those of a file in PEM.
    File(PathBuf),
}

/// Why a URL is not taken. Never quotes the URL, which may hold a password. The text in some is how
/// to write one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum UrlError {
    #[error("is not understood: write {0}")]
    Malformed(&'static str),
    #[error("names no host: write {0}")]
    NoHost(&'static str),
    #[error("names no user: write {0}")]
    NoUser(&'static str),
    #[error(
        "has a password, and URLs are printed: put the password into a file, and name it with store.password_file"
    )]
    Password,
    #[error("names no database: write {0}")]
    NoDatabase(&'static str),
    #[error(
        "has a sslmode that does not verify the server: use sslmode=verify-full, or sslmode=disable where nobody else is \
         on the way"
    )]
    WeakTls,
    #[error("has sslrootcert, but TLS is off: remove it, or write sslmode=verify-full")]
    RootsWithoutTls,
    #[error("has a host or a port among its parameters: write them before the database, as in {0}")]
    HostParameter(&'static str),
    #[error(
        "has `options`, which PgBouncer refuses: put settings into the role, by ALTER ROLE … SET …"
    )]
    Options,
    #[error("has a parameter that is not known: those of TLS are sslmode and sslrootcert")]
    UnknownParameter,
}

/// A URL in its parts.
pub(in crate::store::engines) struct UrlParts<'a> {
    /// Before the parameters.
    pub(in crate::store::engines) base: &'a str,
    /// The parameters that are not about TLS, as they stand there.
    pub(in crate::store::engines) parameters: Vec<&'a str>,
    mode: Option<&'a str>,
    roots: Option<String>,
}

impl<'a> UrlParts<'a> {
    /// `form` is how to write such a URL.
    pub(in crate::store::engines) fn parse(
        text: &'a str,
        form: &'static str,
    ) -> Result<Self, UrlError> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parts = Self {
            base,
            parameters: Vec::new(),
            mode: None,
            roots: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => parts.mode = Some(value),
                Some(("sslrootcert", value)) => {
                    parts.roots = Some(decode(value, form)?.into_owned());
                }
                Some(_) | None => parts.parameters.push(pair),
            }
        }
        Ok(parts)
    }

    /// How TLS is verified; `None`: there is none. Where the URL does not say so, a server on this
    /// machine needs none.
    pub(in crate::store::engines) fn tls(
        &self,
        is_local: bool,
    ) -> Result<Option<TlsRoots>, UrlError> {
        let is_verified = match self.mode {
            None => !is_local || self.roots.is_some(),
            Some("disable") => false,
            Some("verify-full") => true,
            Some(_) => return Err(UrlError::WeakTls),
        };
        if !is_verified && self.roots.is_some() {
            return Err(UrlError::RootsWithoutTls);
        }
        Ok(is_verified.then(|| match self.roots.as_deref() {
            None | Some("system") => TlsRoots::System,
            Some(path) => TlsRoots::File(path.into()),
        }))
    }
}

/// Whether a host is this machine, by its name or its address.
pub(in crate::store::engines) fn is_local_name(name: &str) -> bool {
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A part of a URL, percent-decoded.
pub(in crate::store::engines) fn decode<'a>(
    value: &'a str,
    form: &'static str,
) -> Result<Cow<'a, str>, UrlError> {
    percent_encoding::percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| UrlError::Malformed(form))
}
