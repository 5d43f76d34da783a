//! TLS to clients: the current certificate, and the handshake.
//!
//! The files are read every few seconds and compared by content, so it does not matter how they
//! change: overwritten, renamed over, or swapped by a symbolic link as Kubernetes does. Open
//! connections keep the certificate that they started with.
//!
//! Must stay true: a certificate that does not match its key, or an unreadable file, changes
//! nothing; a check of the files never undoes a config reload that happened meanwhile; session
//! tickets are only valid under the TLS config that issued them, so no session is resumed past an
//! authority that is no longer trusted; no part of a key is logged.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::{
    CertificateError, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use zeroize::Zeroizing;

use crate::{
    config::{ClientCertificates, TlsConfig},
    metrics::Metrics,
};

/// Interval of checking the files.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Longest file that is read, in bytes. A certificate chain is far shorter; a wrong path may name
/// any file.
const MAX_FILE_LEN: u64 = 1024 * 1024;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Why TLS cannot be configured with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{0} is not set")]
    Unset(&'static str),
    #[error("{}: {why}", file.display())]
    Unreadable { file: PathBuf, why: io::Error },
    #[error("{}: is not PEM with {what}", file.display())]
    NotPem { file: PathBuf, what: &'static str },
    #[error("the certificate does not match the key")]
    KeyMismatch,
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("{}: holds no usable authority: {why}", file.display())]
    NoAuthority { file: PathBuf, why: String },
}

/// Installs the process-wide rustls crypto provider. Later calls change nothing.
pub fn install_crypto() {
    // It fails if one is installed already.
    drop(provider::default_provider().install_default());
}

/// The TLS configuration of handshakes, replaced when the files change.
pub struct Tls {
    current: ArcSwap<ActiveTls>,
    http2: bool,
    metrics: Metrics,
}

/// A change of the files.
enum FileChange {
    /// Files that can be used, and the expiry of the certificate.
    Valid(ActiveTls, i64),
    /// Files that cannot be used, and the fingerprint of the failure.
    Invalid(digest::Digest, TlsError),
}

/// The configuration in use, and the files that it comes from.
#[derive(Clone)]
struct ActiveTls {
    config: Arc<ServerConfig>,
    files: TlsConfig,
    /// Fingerprint of all files.
    fingerprint: digest::Digest,
    /// Fingerprint of the last failure, so that each failure is reported once.
    rejected: Option<digest::Digest>,
}

/// A connection after its handshake.
pub(super) struct TlsConnection {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) http2: bool,
}

impl Tls {
    /// Reads the files. `http2`: clients may choose HTTP/2.
    ///
    /// # Errors
    /// When a file cannot be read or parsed, or the certificate does not match the key.
    pub fn load(files: &TlsConfig, http2: bool, metrics: Metrics) -> Result<Arc<Self>, TlsError> {
        let material = TlsMaterial::read(files)?;
        let loaded = material.compile(files, http2)?;
        metrics.tls_certificate_expiry.set(material.expiry());
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(loaded),
            http2,
            metrics,
        }))
    }

    /// Checks that TLS can be configured with these files.
    pub fn check(files: &TlsConfig) -> Result<(), TlsError> {
        TlsMaterial::read(files)?.compile(files, true).map(drop)
    }

    /// The expiry of the server's certificate in these files, in Unix seconds. 0: it cannot be
    /// read.
    ///
    /// # Errors
    /// When a file cannot be read or parsed.
    pub fn expiry(files: &TlsConfig) -> Result<i64, TlsError> {
        TlsMaterial::read(files).map(|material| material.expiry())
    }

    /// Switches to these files, or reads the same ones again. `Ok(false)`: nothing has changed.
    ///
    /// # Errors
    /// As [`Self::load`]. The previous configuration stays.
    pub fn reload(&self, files: &TlsConfig) -> Result<bool, TlsError> {
        let now = self.current.load();
        let material = TlsMaterial::read(files)?;
        if material.fingerprint.as_ref() == now.fingerprint.as_ref() && *files == now.files {
            return Ok(false);
        }
        let loaded = material.compile(files, self.http2)?;
        self.current.store(Arc::new(loaded));
        self.report_reload(material.expiry());
        Ok(true)
    }

    /// Checks the files at intervals. Never returns.
    pub(super) async fn watch_files(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FILE_CHECK_INTERVAL).await;
            let tls = self.clone();
            // A file may be on a slow disk. The panic hook counts a panic.
            drop(tokio::task::spawn_blocking(move || tls.check_files()).await);
        }
    }

    /// Switches to the content of the files if it has changed and can be used.
    fn check_files(&self) {
        let now = self.current.load_full();
        if let Some(found) = self.detect_change(&now) {
            self.apply_change(&now, found);
        }
    }

    /// Compares the files with `now`. `None`: nothing has changed.
    fn detect_change(&self, now: &ActiveTls) -> Option<FileChange> {
        let material = TlsMaterial::read(&now.files);
        if material
            .as_ref()
            .is_ok_and(|material| material.fingerprint.as_ref() == now.fingerprint.as_ref())
        {
            return None;
        }
        let compiled = material.and_then(|material| {
            Ok((material.compile(&now.files, self.http2)?, material.expiry()))
        });
        Some(match compiled {
            Ok((loaded, expiry)) => FileChange::Valid(loaded, expiry),
            Err(error) => FileChange::Invalid(failure_fingerprint(&now.files, &error), error),
        })
    }

    /// Replaces `now` with the change, unless a config reload, which may name other files, has
    /// replaced it meanwhile.
    fn apply_change(&self, now: &Arc<ActiveTls>, found: FileChange) {
        let next = match &found {
            FileChange::Invalid(failure_fingerprint, _)
                if now
                    .rejected
                    .is_some_and(|before| before.as_ref() == failure_fingerprint.as_ref()) =>
            {
                return;
            }
            FileChange::Invalid(failure_fingerprint, _) => ActiveTls {
                rejected: Some(*failure_fingerprint),
                ..ActiveTls::clone(now)
            },
            FileChange::Valid(loaded, _) => loaded.clone(),
        };
        let before = self.current.compare_and_swap(now, Arc::new(next));
        if !Arc::ptr_eq(&before, now) {
            return;
        }
        match found {
            FileChange::Valid(_, expiry) => self.report_reload(expiry),
            FileChange::Invalid(_, error) => {
                self.metrics
                    .tls_reloads
                    .with_label_values(&["failed"])
                    .inc();
                tracing::warn!(error = %error, "the TLS certificate could not be reloaded; the previous one stays in use");
            }
        }
    }

    /// Reports a new certificate.
    fn report_reload(&self, expiry: i64) {
        self.metrics.tls_certificate_expiry.set(expiry);
        self.metrics.tls_reloads.with_label_values(&["ok"]).inc();
        tracing::info!("the TLS certificate was reloaded");
    }

    /// Does the handshake. `None`: it failed or took longer than `handshake_timeout`, which is
    /// counted.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        handshake_timeout: Duration,
    ) -> Option<TlsConnection> {
        let acceptor = TlsAcceptor::from(self.current.load().config.clone());
        let (result, connection) = match timeout(handshake_timeout, acceptor.accept(stream)).await {
            Err(_) => ("timeout", None),
            Ok(Err(error)) => (handshake_result(&error), None),
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                ("ok", Some(TlsConnection { stream, http2 }))
            }
        };
        self.metrics
            .tls_handshakes
            .with_label_values(&[result])
            .inc();
        connection
    }
}

/// The metric label of a failed handshake, from a closed list.
fn handshake_result(error: &io::Error) -> &'static str {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        None => "closed",
        Some(rustls::Error::NoCertificatesPresented) => "certificate_missing",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "certificate_expired",
        Some(rustls::Error::InvalidCertificate(_)) => "certificate_refused",
        Some(rustls::Error::AlertReceived(_)) => "refused_by_client",
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            "incompatible"
        }
        Some(_) => "malformed",
    }
}

/// Equal for the same error with the same files.
fn failure_fingerprint(files: &TlsConfig, error: &TlsError) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(error.to_string().as_bytes());
    if let Ok(material) = TlsMaterial::read(files) {
        context.update(material.fingerprint.as_ref());
    }
    context.finish()
}

/// The parsed files.
struct TlsMaterial {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<(PathBuf, Vec<CertificateDer<'static>>)>,
    fingerprint: digest::Digest,
}

impl TlsMaterial {
    fn read(files: &TlsConfig) -> Result<Self, TlsError> {
        let cert_file = files
            .cert_file
            .as_ref()
            .ok_or(TlsError::Unset("server.tls.cert_file"))?;
        let key_file = files
            .key_file
            .as_ref()
            .ok_or(TlsError::Unset("server.tls.key_file"))?;
        let mut pem = PemReader::new();
        let chain = pem.certificates(cert_file)?;
        let key = pem.private_key(key_file)?;
        let authorities = match (&files.client_ca_file, files.client_certificates) {
            (Some(file), ClientCertificates::Optional | ClientCertificates::Required) => {
                Some((file.clone(), pem.certificates(file)?))
            }
            (None, ClientCertificates::Optional | ClientCertificates::Required) => {
                return Err(TlsError::Unset("server.tls.client_ca_file"));
            }
            (_, ClientCertificates::Off) => None,
        };
        Ok(Self {
            chain,
            key,
            authorities,
            fingerprint: pem.fingerprint(),
        })
    }

    fn compile(&self, files: &TlsConfig, http2: bool) -> Result<ActiveTls, TlsError> {
        let crypto = Arc::new(provider::default_provider());
        let builder = ServerConfig::builder_with_provider(crypto.clone());
        let builder = builder
            .with_protocol_versions(&VERSIONS)
            .map_err(TlsError::Unusable)?;
        let builder = match &self.authorities {
            None => builder.with_no_client_auth(),
            Some((file, authorities)) => {
                let optional = files.client_certificates == ClientCertificates::Optional;
                builder.with_client_cert_verifier(client_verifier(
                    file,
                    authorities,
                    optional,
                    crypto,
                )?)
            }
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(unusable)?;
        config.alpn_protocols = if http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        // Sessions are resumed with tickets, which need no memory on the server. Their keys rotate
        // every few hours.
        config.ticketer = provider::Ticketer::new().map_err(TlsError::Unusable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ignore_client_order = true;
        Ok(ActiveTls {
            config: Arc::new(config),
            files: files.clone(),
            fingerprint: self.fingerprint,
            rejected: None,
        })
    }

    /// The expiry of the server's certificate, in Unix seconds. 0: it cannot be read.
    fn expiry(&self) -> i64 {
        let parsed = self
            .chain
            .first()
            .and_then(|own| x509_parser::parse_x509_certificate(own).ok());
        parsed.map_or(0, |(_, own)| own.validity().not_after.timestamp())
    }
}

fn client_verifier(
    file: &Path,
    authorities: &[CertificateDer<'static>],
    optional: bool,
    crypto: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(
        Arc::new(root_store(file, authorities)?),
        crypto,
    );
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder.build().map_err(|error| TlsError::NoAuthority {
        file: file.to_owned(),
        why: error.to_string(),
    })
}

/// A root store of these authorities.
pub(super) fn root_store(
    file: &Path,
    authorities: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsError> {
    let mut root_store = RootCertStore::empty();
    for authority in authorities {
        let added = root_store.add(authority.clone());
        added.map_err(|error| TlsError::NoAuthority {
            file: file.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(root_store)
}

/// Checks that a certificate matches its key.
pub(super) fn check_key_pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(), TlsError> {
    CertifiedKey::from_der(chain, key, &provider::default_provider())
        .map(drop)
        .map_err(unusable)
}

fn unusable(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch,
        error => TlsError::Unusable(error),
    }
}

/// Reads files in PEM, and makes a fingerprint of all of them.
pub(super) struct PemReader(digest::Context);

impl PemReader {
    pub(super) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Reads a file of at most [`MAX_FILE_LEN`] bytes.
    fn read(&mut self, file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
        let unreadable = |why| TlsError::Unreadable {
            file: file.to_owned(),
            why,
        };
        let length = fs::metadata(file).map_err(unreadable)?.len();
        if length > MAX_FILE_LEN {
            return Err(unreadable(io::Error::other("is too long")));
        }
        let bytes = Zeroizing::new(fs::read(file).map_err(unreadable)?);
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(&bytes);
        Ok(bytes)
    }

    /// The certificates in a file, at least one.
    pub(super) fn certificates(
        &mut self,
        file: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read(file)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let is_valid = |one: &CertificateDer<'_>| x509_parser::parse_x509_certificate(one).is_ok();
        found
            .ok()
            .filter(|found| !found.is_empty() && found.iter().all(is_valid))
            .ok_or_else(|| TlsError::NotPem {
                file: file.to_owned(),
                what: "a certificate",
            })
    }

    /// The private key in a file.
    pub(super) fn private_key(&mut self, file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.read(file)?).map_err(|_| TlsError::NotPem {
            file: file.to_owned(),
            what: "a private key",
        })
    }

    /// The fingerprint of the files that were read.
    pub(super) fn fingerprint(self) -> digest::Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests;
