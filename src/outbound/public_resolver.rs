//! A DNS resolver that returns addresses of the public internet alone.
//!
//! The owner of a name in the config can point it to a private address later. The client connects
//! to exactly the addresses that this resolver returns, so nothing can change between the check and
//! the connection.

use std::{io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::types::is_public;

/// The system's resolver without addresses of this machine, of private networks and reserved ones.
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
