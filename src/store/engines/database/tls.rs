//! The certificate authorities that a database's certificate is verified with.

use std::{fs, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::url::TlsRoots;

/// The certificates that are trusted, or what is wrong with them. At least one.
pub(in crate::store::engines) fn trusted_roots(
    roots: &TlsRoots,
) -> Result<Vec<CertificateDer<'static>>, String> {
    match roots {
        TlsRoots::System => {
            let mut found = rustls_native_certs::load_native_certs().certs;
            // Some systems have certificates that are none; the others count.
            found.retain(|certificate| can_be_trusted(certificate).is_ok());
            if found.is_empty() {
                return Err(
                    "the system has no certificate authorities: install ca-certificates, or name a file with sslrootcert"
                        .to_owned(),
                );
            }
            Ok(found)
        }
        TlsRoots::File(path) => {
            read_file(path).map_err(|error| format!("sslrootcert: {}: {error}", path.display()))
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        can_be_trusted(&certificate)?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(found)
}

fn can_be_trusted(certificate: &CertificateDer<'static>) -> Result<(), String> {
    RootCertStore::empty()
        .add(certificate.clone())
        .map_err(|error| error.to_string())
}
