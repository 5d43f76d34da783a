//! `[server.tls]` and `[upstream.tls]`: certificates and keys, by the names of their files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListenAddress, Problems};

/// TLS for clients, at the addresses of `server.listen` that begin with `tls:`. TLS 1.2 and 1.3,
/// HTTP/2 and HTTP/1.1. The files are read again within seconds when they change, also when a
/// symbolic link is swapped; a certificate that does not fit its key changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain in PEM, the server's own certificate first.
    #[schemars(extend("format" = "path"), example = &"tls.crt")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[schemars(extend("format" = "path"), example = &"tls.key")]
    pub key_file: Option<PathBuf>,
    /// Certificates of the authorities that client certificates are verified with, in PEM.
    #[schemars(extend("format" = "path"), example = &"clients.crt")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients present a certificate of `client_ca_file`: `off`, `optional` (an invalid one
    /// is refused) or `required`.
    pub client_certificates: ClientCertificates,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    #[default]
    Off,
    Optional,
    Required,
}

impl TlsConfig {
    pub(super) fn check(&self, listen: &[ListenAddress], problems: &mut Problems) {
        let wanted = listen
            .iter()
            .any(|address| matches!(address, ListenAddress::Tls(_)));
        for (key, file) in [
            ("server.tls.cert_file", &self.cert_file),
            ("server.tls.key_file", &self.key_file),
        ] {
            if wanted && file.is_none() {
                problems.add_conflict(
                    key,
                    &["server.listen"],
                    "is needed for a `tls:` address of `server.listen`",
                );
            }
        }
        if !wanted && *self != Self::default() {
            problems.warn(
                "server.tls",
                "has no effect: no address of `server.listen` begins with `tls:`",
            );
        }
        match (self.client_certificates, &self.client_ca_file) {
            (ClientCertificates::Off, Some(_)) => {
                let message = "has no effect: `client_certificates` is \"off\"";
                problems.warn("server.tls.client_ca_file", message);
            }
            (ClientCertificates::Optional | ClientCertificates::Required, None) => {
                problems.add(
                    "server.tls.client_ca_file",
                    "is needed to believe the certificates of clients",
                );
            }
            (ClientCertificates::Off, None)
            | (ClientCertificates::Optional | ClientCertificates::Required, Some(_)) => {}
        }
    }
}

/// TLS to the backend, for `https:` in `urls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTlsConfig {
    /// Certificates of the authorities that the backend's certificate is verified with, in PEM.
    /// Unset: those that the system trusts.
    #[schemars(extend("format" = "path"), example = &"backend-ca.crt")]
    pub ca_file: Option<PathBuf>,
    /// The certificate chain that menshen presents to the backend, in PEM.
    #[schemars(extend("format" = "path"), example = &"menshen.crt")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[schemars(extend("format" = "path"), example = &"menshen.key")]
    pub key_file: Option<PathBuf>,
    /// The name that the backend's certificate must have. Unset: the host of its URL.
    #[schemars(example = &"backend.internal")]
    pub server_name: Option<String>,
}

impl UpstreamTlsConfig {
    pub(super) fn check(&self, has_https: bool, problems: &mut Problems) {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => problems.add("upstream.tls.key_file", "is needed with `cert_file`"),
            (None, Some(_)) => problems.add("upstream.tls.cert_file", "is needed with `key_file`"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(name) = &self.server_name {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
                problems.add(
                    "upstream.tls.server_name",
                    format!("{name:?} is not a host name"),
                );
            }
        }
        if !has_https && *self != Self::default() {
            problems.warn(
                "upstream.tls",
                "has no effect: no address of `upstream.urls` begins with `https:`",
            );
        }
    }
}
