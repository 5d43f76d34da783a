//! The files of `upstream.tls`: which authorities backends are verified with, and menshen's client
//! certificate.

use std::{path::Path, sync::Arc};

use aws_lc_rs::digest;
use pingora::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};

use crate::{
    config::UpstreamTlsConfig,
    proxy::tls::{self, TlsError},
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
        let mut context = digest::Context::new(&digest::SHA256);
        let mut read = |file: &Path| {
            let bytes = tls::read_file(file)?;
            context.update(&bytes);
            Ok::<_, TlsError>(bytes)
        };
        let authorities = match &config.ca_file {
            None => None,
            Some(file) => {
                let authorities = tls::certificates(file, &read(file)?)?;
                tls::root_store(file, &authorities)?;
                let authorities = authorities
                    .into_iter()
                    .map(|der| WrappedX509::new(der.to_vec(), parse_x509));
                Some(Arc::from(authorities.collect::<Vec<_>>()))
            }
        };
        let client_certificate = match (&config.cert_file, &config.key_file) {
            (Some(cert_file), Some(key_file)) => {
                let chain = tls::certificates(cert_file, &read(cert_file)?)?;
                let key = tls::private_key(key_file, &zeroize::Zeroizing::new(read(key_file)?))?;
                tls::check_key_pair(&chain, &key)?;
                let chain = chain.into_iter().map(|der| der.to_vec()).collect();
                Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
            }
            (Some(_), None) => return Err(TlsError::Unset("upstream.tls.key_file")),
            (None, Some(_)) => return Err(TlsError::Unset("upstream.tls.cert_file")),
            (None, None) => None,
        };
        let fingerprint = context.finish();
        let fingerprint = fingerprint
            .as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first));
        Ok(Self {
            authorities,
            client_certificate,
            fingerprint,
        })
    }
}
