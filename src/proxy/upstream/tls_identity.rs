//! The files of `upstream.tls`: which authorities backends are verified with, and menshen's client
//! certificate.

use std::sync::Arc;

use pingora::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};

use crate::{
    config::UpstreamTlsConfig,
    proxy::tls::{self, PemReader, TlsError},
};

/// The files of `upstream.tls`: authorities that are trusted, and menshen's client certificate.
pub(super) struct TlsIdentity {
    pub(super) authorities: Option<Arc<CaType>>,
    pub(super) client_certificate: Option<Arc<CertKey>>,
    /// Fingerprint of all files. Connections are reused only under the same one.
    pub(super) fingerprint: u64,
}

impl TlsIdentity {
    pub(super) fn read(config: &UpstreamTlsConfig) -> Result<Self, TlsError> {
        let mut pem = PemReader::new();
        let authorities = match &config.ca_file {
            None => None,
            Some(file) => {
                let authorities = pem.certificates(file)?;
                tls::root_store(file, &authorities)?;
                let authorities = authorities
                    .into_iter()
                    .map(|der| WrappedX509::new(der.to_vec(), parse_x509));
                Some(Arc::from(authorities.collect::<Vec<_>>()))
            }
        };
        let client_certificate = match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let chain = pem.certificates(cert_file)?;
                let key = pem.private_key(key_file)?;
                tls::check_key_pair(chain.clone(), key.clone_key())?;
                let chain = chain.into_iter().map(|der| der.to_vec()).collect();
                Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
            }
            (Some(_), None) => return Err(TlsError::Unset("upstream.tls.key_file")),
            (None, Some(_)) => return Err(TlsError::Unset("upstream.tls.cert_file")),
            (None, None) => None,
        };
        let fingerprint = pem.fingerprint();
        let first = fingerprint.as_ref().first_chunk();
        Ok(Self {
            authorities,
            client_certificate,
            fingerprint: first.map_or(0, |first| u64::from_be_bytes(*first)),
        })
    }
}
