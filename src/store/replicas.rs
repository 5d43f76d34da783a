//! What processes that share a store tell each other of themselves.

use std::time::Duration;

use crate::{
    entropy::{Entropy, NoEntropy},
    types::Timestamp,
};

/// A process counts as one that runs for so long after its last heartbeat.
pub(super) const REPLICA_TIMEOUT: Duration = Duration::from_secs(30);

/// A process: random, made at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaId(pub u128);

impl ReplicaId {
    pub fn generate(entropy: &Entropy) -> Result<Self, NoEntropy> {
        Ok(Self(u128::from_be_bytes(entropy.bytes()?)))
    }
}

/// What has to be the same in all processes that share a store, so that what one of them issues the
/// others accept. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaFacts {
    /// Of the program, and of its records.
    pub version: String,
    /// `iss` and `aud` of the tokens.
    pub issuer: String,
    /// How they are signed.
    pub algorithm: String,
    /// How long they live, sessions included.
    pub lifetimes: String,
    /// A digest of what else has to agree in the config.
    pub config: String,
}

impl ReplicaFacts {
    /// Each fact, by its name in the metrics.
    pub const fn aspects(&self) -> [(&'static str, &String); 5] {
        [
            ("version", &self.version),
            ("issuer", &self.issuer),
            ("algorithm", &self.algorithm),
            ("lifetimes", &self.lifetimes),
            ("config", &self.config),
        ]
    }

    /// What it means that processes differ in this aspect.
    pub fn consequence(aspect: &str) -> &'static str {
        match aspect {
            "version" => "normal for the minutes of an update; otherwise finish it",
            "issuer" | "algorithm" => {
                "some refuse the tokens that others issue: give all replicas the same [tokens]"
            }
            "lifetimes" => {
                "how long tokens and sessions live depends on the replica: give all the same [tokens] and [[dialect]]"
            }
            _ => {
                "their [auth], [users], [[dialect]], [gate], [[rule]], [identity], [hooks], [[issuer]] or the rotation in [tokens] differ: what is \
                 allowed depends on the replica, and the one that does the upkeep sends the hooks of all, and rotates keys, as its own \
                 config says. Give all replicas the same"
            }
        }
    }

    /// What differs: the name, and how it is here and there.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
        let pairs = self.aspects().into_iter().zip(other.aspects());
        pairs
            .filter(|((_, here), (_, there))| here != there)
            .map(|((name, here), (_, there))| (name, here.as_str(), there.as_str()))
    }
}

/// A process as its last heartbeat tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub id: ReplicaId,
    /// When it wrote that, by the clock that all share.
    pub at: Timestamp,
    /// How far its clock was ahead of that one, in milliseconds.
    pub clock_ahead_ms: i64,
    pub facts: ReplicaFacts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let one = ReplicaFacts {
            version: "1".into(),
            issuer: "a".into(),
            ..ReplicaFacts::default()
        };
        let other = ReplicaFacts {
            version: "2".into(),
            ..one.clone()
        };
        assert_eq!(one.differences(&one).next(), None);
        let found: Vec<_> = one.differences(&other).collect();
        assert_eq!(found, [("version", "1", "2")]);
        assert!(one.aspects().iter().all(|(name, _)| !name.is_empty()));
        assert!(ReplicaFacts::consequence("config").contains("upkeep"));
    }
}
