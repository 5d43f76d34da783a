//! A client that reaches a backend by the very connection that the gate would make.

use std::{net::SocketAddr, path::PathBuf};

use reqwest::{Certificate, Identity, Url};
use zeroize::Zeroizing;

use super::{NoClient, Outbound};

/// How a backend is reached, and who vouches for whom there.
#[derive(Clone, Default)]
pub struct Peer {
    /// Through this Unix socket.
    pub socket: Option<PathBuf>,
    /// The name in the URL stands for this address.
    pub address: Option<(String, SocketAddr)>,
    /// Who may vouch for it, in PEM; `None`: whom the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// What is shown to it, in PEM, with `key`.
    pub certificate: Option<Vec<u8>>,
    pub key: Option<Zeroizing<Vec<u8>>>,
}

impl Outbound {
    /// A client for this peer at `base`, which no proxy stands before.
    ///
    /// # Errors
    /// When the certificates or the key cannot be used.
    pub fn to_peer(base: &Url, peer: &Peer) -> Result<Self, NoClient> {
        let mut client = Self::builder().no_proxy();
        if let Some(socket) = &peer.socket {
            client = client.unix_socket(socket.clone());
        }
        if let Some((name, address)) = &peer.address {
            client = client.resolve(name, *address);
        }
        if let Some(authorities) = &peer.authorities {
            client = client.tls_certs_only(Certificate::from_pem_bundle(authorities).map_err(|_| NoClient)?);
        } else if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        if let (Some(certificate), Some(key)) = (&peer.certificate, &peer.key) {
            let both = Zeroizing::new([key, b"\n".as_slice(), certificate].concat());
            client = client.identity(Identity::from_pem(&both).map_err(|_| NoClient)?);
        }
        client.build().map(|client| Self { client }).map_err(|_| NoClient)
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("socket", &self.socket).field("address", &self.address).finish_non_exhaustive()
    }
}
