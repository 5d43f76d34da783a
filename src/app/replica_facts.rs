//! What the processes that share a store have to agree on, and which of them run.

use anyhow::Context;

use super::{check::problems_error, secrets, storage::shared_options};
use crate::{
    config::Config,
    crypto,
    dialect::Dialects,
    entropy::Entropy,
    store::{self, Replica, ReplicaFacts, WrappingKeys},
    types::Timestamp,
};

/// Bytes of the digest of the config.
const DIGEST_LEN: usize = 8;

/// What the processes on one store have to agree on, of this config.
pub fn replica_facts(config: &Config) -> anyhow::Result<ReplicaFacts> {
    let dialects = Dialects::compile(config).map_err(problems_error)?;
    facts(config, &dialects)
}

/// The same with its dialects.
pub(super) fn facts(config: &Config, dialects: &Dialects) -> anyhow::Result<ReplicaFacts> {
    let tokens = &config.tokens;
    let lifetimes = dialects.lifetimes(tokens);
    // Addresses, files and sizes may differ from one machine to another. Secrets are masked in JSON.
    let agreed = serde_json::to_vec(&(
        (&config.auth, &config.users, &config.dialect),
        (&config.gate, &config.rule, &config.identity),
        (&config.hooks, &config.issuer),
        (&tokens.rotate_every, &tokens.publish_before),
    ))
    .context("the config cannot be compared with that of other replicas")?;
    let digest = crypto::sha256(&agreed);
    Ok(ReplicaFacts {
        version: format!("{} (records {})", env!("CARGO_PKG_VERSION"), store::FORMAT),
        issuer: format!("{} for {}", tokens.issuer, tokens.audience),
        algorithm: tokens.algorithm.as_str().to_owned(),
        lifetimes: format!(
            "access {}s, idle {}, absolute {}",
            lifetimes.max_access_ttl.as_secs(),
            tokens.idle_ttl,
            tokens.absolute_ttl
        ),
        config: hex::encode(&digest[..DIGEST_LEN]),
    })
}

/// The processes that run on the store of this config, and the store's clock; `None` where it is not
/// shared, has no key yet, or none has run on it.
pub async fn running_replicas(
    config: &Config,
) -> anyhow::Result<Option<(Timestamp, Vec<Replica>)>> {
    let Some(key) = secrets::existing_encryption_key(&config.store)? else {
        return Ok(None);
    };
    let keys = WrappingKeys::derive(&key, config.store.previous_key()?.as_ref());
    let options = shared_options(&config.store);
    let url = &config.store.url;
    Ok(store::running_replicas(url, &options, &keys, Entropy::default()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HumanDuration;

    #[test]
    fn facts_differ_with_what_has_to_agree_and_not_with_addresses() {
        let facts = replica_facts(&Config::default()).unwrap();
        let mut elsewhere = Config::default();
        elsewhere.server.listen = vec!["127.0.0.1:1".to_owned()];
        elsewhere.store.connections += 1;
        assert_eq!(replica_facts(&elsewhere).unwrap(), facts);
        let mut other = Config::default();
        other.tokens.issuer = "another".to_owned();
        other.auth.max_sessions += 1;
        let other = replica_facts(&other).unwrap();
        let names: Vec<_> = facts.differences(&other).map(|(name, ..)| name).collect();
        assert_eq!(names, ["issuer", "config"]);
        // What the process with the lease on upkeep does for all.
        let changes: [fn(&mut Config); 2] = [
            |config| config.hooks.give_up_after = HumanDuration::secs(60),
            |config| config.tokens.rotate_every = Some(HumanDuration::secs(86_400)),
        ];
        for change in changes {
            let mut other = Config::default();
            change(&mut other);
            let other = replica_facts(&other).unwrap();
            let names: Vec<_> = facts.differences(&other).map(|(name, ..)| name).collect();
            assert_eq!(names, ["config"]);
        }
    }
}
