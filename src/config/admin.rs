//! `[admin]`: metrics and probes, on their own listener.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListenAddress, Problems, ServerConfig};

/// Metrics and probes (`/metrics`, `/livez`, `/readyz`, `/startupz`), on their own listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `IP:PORT`. Keep it where only the scraper and the kubelet reach it. Port 0 takes a free one.
    pub listen: String,
}

impl AdminConfig {
    pub(super) fn check(&self, server: &ServerConfig, problems: &mut Problems) {
        let Ok(address) = self.listen.parse::<SocketAddr>() else {
            problems.add("admin.listen", format!("{:?} is not an address: write IP:PORT", self.listen));
            return;
        };
        if address.port() != 0 && server.addresses().contains(&ListenAddress::Tcp(address)) {
            problems.add_between("admin.listen", &["server.listen"], "is an address of `server.listen` too");
        }
        if !address.ip().is_loopback() {
            problems
                .warn("admin.listen", format!("{address} can be reached from other machines, and asks nobody who they are"));
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9090".to_owned() }
    }
}
