//! `[forward_auth]`: for a proxy that forwards requests itself and asks menshen about each of them.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Problems, UpstreamAuthorization, values::Network};

/// `GET /auth/verify` (below `auth.prefix`), for a proxy that forwards requests itself and asks
/// about each of them: nginx `auth_request`, Traefik `forwardAuth`, APISIX `forward-auth`, Envoy
/// `ext_authz`. 200 with the identity headers, 401 or 403. `deploy/examples/forward-auth` has the
/// config of the proxies, without which this protects nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardAuthConfig {
    /// Off: there is no such route.
    pub enabled: bool,
    /// How the proxy describes the request that it asks about. Only these fields are read, whatever
    /// else a request has.
    pub dialect: ForwardAuthDialect,
    /// Networks (CIDR) of the proxies that may ask; other peers are refused. A Unix socket counts
    /// as 127.0.0.1. List them in `server.trusted_proxies` too, so that the log has the client's
    /// address.
    #[schemars(with = "Vec<Network>")]
    pub trusted_callers: Vec<IpNet>,
    /// What happens to a request with an identity header in any spelling, or another header that
    /// the gate would remove: with forward-auth only the proxy can remove it. `refuse` it (403), or
    /// `ignore` it, if the proxy is certain to drop or overwrite all of them. Envoy gets a list of
    /// headers to remove, so this does not apply there.
    pub forged_headers: ForgedHeaders,
}

impl ForwardAuthConfig {
    pub(super) fn check(&self, config: &Config, problems: &mut Problems) {
        if self.enabled && self.trusted_callers.is_empty() {
            problems.add(
                "forward_auth.trusted_callers",
                "is empty: list the networks of the proxies that may ask",
            );
        }
        for (n, network) in self
            .trusted_callers
            .iter()
            .enumerate()
            .filter(|(_, network)| network.prefix_len() == 0)
        {
            let key = format!("forward_auth.trusted_callers[{n}]");
            problems.add(
                &key,
                format!("{network} is every address, and each of them may ask about any path"),
            );
        }
        if self.enabled && config.upstream.shared_secret.is_some() {
            let message = "is not sent to proxies that use forward_auth: what they forward has it only if they add it themselves";
            problems.warn("upstream.shared_secret", message);
        }
        let removes = self.dialect == ForwardAuthDialect::Envoy;
        let is_kept = config.upstream.authorization == UpstreamAuthorization::Keep;
        let mut names = config.token_headers().map(|(_, name)| name);
        let first = names.next().unwrap_or_default();
        // A backend that gets tokens gets that of the path alone: one header that is for all paths.
        let has_one = config.gate.token_header.is_some()
            && names.all(|name| name.eq_ignore_ascii_case(first));
        if self.enabled && !removes && !(is_kept && has_one) {
            for (key, _) in config.token_headers() {
                let message = "and forward_auth: the proxy sends the header on to the backend unless its own config removes it";
                problems.warn(&key, message);
            }
        }
        if self.enabled && self.forged_headers == ForgedHeaders::Ignore {
            problems.warn(
                "forward_auth.forged_headers",
                "is \"ignore\": where the proxy lets an identity header of a client through, that client can be any user",
            );
        }
    }
}

/// The fields in which a proxy describes the original request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForwardAuthDialect {
    /// In `X-Original-Method` and `X-Original-URI`.
    #[default]
    Nginx,
    /// In `X-Forwarded-Method` and `X-Forwarded-Uri`: Traefik and APISIX.
    Traefik,
    /// The method is the question's own, and the path follows the prefix:
    /// `/auth/verify/api/orders?x=1`.
    Envoy,
}

/// What happens to requests with headers that clients may not send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgedHeaders {
    #[default]
    Refuse,
    Ignore,
}
