//! Names that lead to the public internet alone.
//!
//! A server that is named in the config can be given another address later by whoever holds its
//! name. The addresses that this gives are the ones that are connected to, so there is no moment
//! between the check and the connection.

use std::{io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::types::is_public;

/// The system's resolver without what is on this machine, in a private network or reserved.
pub(super) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}
