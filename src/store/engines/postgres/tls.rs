//! TLS to the database: always verified, the host's name too.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{open_error::unsuitable, url::TlsRoots};
use crate::store::OpenError;

/// Of a client that trusts these certificate authorities.
pub(super) fn client_config(roots: &TlsRoots) -> Result<ClientConfig, OpenError> {
    let mut trusted = RootCertStore::empty();
    match roots {
        TlsRoots::System => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // Some systems have certificates that are none; the others count.
                let _ = trusted.add(certificate);
            }
            if trusted.is_empty() {
                return Err(unsuitable(
                    "the system has no certificate authorities: install ca-certificates, or name a file with sslrootcert",
                ));
            }
        }
        TlsRoots::File(path) => add_file(&mut trusted, path)?,
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unsuitable(error.to_string()))?;
    Ok(builder
        .with_root_certificates(trusted)
        .with_no_client_auth())
}

fn add_file(trusted: &mut RootCertStore, path: &Path) -> Result<(), OpenError> {
    let name = path.display();
    let pem =
        fs::read(path).map_err(|error| unsuitable(format!("sslrootcert: {name}: {error}")))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| trusted.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| unsuitable(format!("sslrootcert: {name}: {error}")))?;
    }
    if trusted.is_empty() {
        return Err(unsuitable(format!(
            "sslrootcert: {name} has no certificate"
        )));
    }
    Ok(())
}
