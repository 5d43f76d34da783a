//! Gates that only decide: that of a config without its process, for `menshen explain` and `menshen
//! token`, and that of a process, for the demo.
//!
//! Must stay true: nothing is created, written or signed; without a credential to verify, neither a
//! store nor a socket is opened.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use tokio::time::timeout;

use super::{check::problems_error, storage::open_store};
use crate::{
    auth::{Authorizer, Denylist},
    clock::Clock,
    config::{Algorithm, Config, HumanDuration, ListenAddress, StoreEngine},
    dialect::Dialects,
    entropy::Entropy,
    explain::{Explanation, explain},
    gate::{self, Gate},
    metrics::Metrics,
    outbound::{Outbound, OutboundError, loopback_if_unspecified},
    policy::IdentityHeaders,
    proxy::install_crypto,
    store::{self, Access, OpenOptions, WrappingKeys},
    token::{Keyrings, Lifetimes, TrustedIssuers, Verifier, generate},
    types::{Secret, Timestamp},
};

/// Timeout of a request to a running menshen, and of the first keys of external issuers.
const KEYS_TIMEOUT: Duration = Duration::from_secs(3);

/// A gate that decides without serving.
pub struct OfflineGate {
    pub gate: Gate,
    /// The source of the keys that verify tokens, as text; `None`: no token is to be verified.
    pub keys: Option<String>,
    /// Whether the denylist has the store's revocations.
    pub knows_revocation: bool,
}

/// Explains requests as a process decides on them, with its keys and revocations. Its counters are
/// its own.
pub struct LiveExplainer {
    gate: Gate,
    config: Config,
    clock: Clock,
}

impl LiveExplainer {
    pub(super) fn new(
        config: &Config,
        authorizer: &Arc<Authorizer>,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let dialects = Dialects::compile(config).map_err(problems_error)?;
        let routes = dialects.local_routes();
        let gate = Gate::compile(config, routes, authorizer.clone(), Metrics::new());
        Ok(Self {
            gate: gate.map_err(problems_error)?,
            config: config.clone(),
            clock: clock.clone(),
        })
    }

    /// Explains the decision on a whole head from this peer.
    pub fn explain(&self, head: &[u8], peer: IpAddr) -> Explanation {
        let now = self.clock.now();
        explain(&self.gate, &self.config, head, Some(peer), now)
    }
}

/// Creates the gate of this config; `with_keys`: with the keys that verify a credential.
pub async fn offline_gate(config: &Config, with_keys: bool) -> anyhow::Result<OfflineGate> {
    let (entropy, metrics, now) = (Entropy::default(), Metrics::new(), Clock::System.now());
    let dialects = Dialects::compile(config).map_err(problems_error)?;
    let lifetimes = dialects.lifetimes(&config.tokens);
    let custom_claims = gate::custom_claims(config);
    let issuers = TrustedIssuers::compile(config, &custom_claims).map_err(problems_error)?;
    let denylist = Arc::new(Denylist::new());
    let (keyrings, keys) = if with_keys {
        install_crypto();
        issuers.follow(&metrics);
        // An issuer without keys is reported as such.
        drop(timeout(KEYS_TIMEOUT, issuers.first_attempt()).await);
        let (keyrings, keys) =
            verification_keys(config, lifetimes, &denylist, &entropy, now).await?;
        (keyrings, Some(keys))
    } else {
        (
            Keyrings::fixed(&[generate(Algorithm::EdDsa, &entropy, now)?])?,
            None,
        )
    };
    let verifier = Verifier::new(Arc::new(keyrings), &config.tokens, lifetimes)
        .with_custom_claims(custom_claims);
    let identity_headers = IdentityHeaders::compile(&config.identity).map_err(problems_error)?;
    let remembered = config.tokens.cache_entries;
    let authorizer = Authorizer::new(
        verifier,
        Arc::new(issuers),
        denylist,
        identity_headers,
        remembered,
        &metrics,
    );
    let gate = Gate::compile(
        config,
        dialects.local_routes(),
        Arc::new(authorizer),
        metrics,
    )
    .map_err(problems_error)?;
    let knows_revocation = keys.as_ref().is_some_and(|keys| *keys == KeyOrigin::Store);
    Ok(OfflineGate {
        gate,
        keys: keys.map(KeyOrigin::describe),
        knows_revocation,
    })
}

/// The source of the keys.
#[derive(PartialEq, Eq)]
enum KeyOrigin {
    Config,
    Running(String),
    Store,
}

impl KeyOrigin {
    fn describe(self) -> String {
        match self {
            Self::Config => "those of the config".to_owned(),
            Self::Running(url) => format!("those of the running menshen ({url})"),
            Self::Store => "those of the store; no menshen runs".to_owned(),
        }
    }
}

/// The keys of the config, else those that the running process publishes, else those in the store
/// of a stopped one.
async fn verification_keys(
    config: &Config,
    lifetimes: Lifetimes,
    denylist: &Denylist,
    entropy: &Entropy,
    now: Timestamp,
) -> anyhow::Result<(Keyrings, KeyOrigin)> {
    let given = match config.tokens.algorithm {
        Algorithm::Hs256 => config.tokens.secret.is_some(),
        Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Rs256 => config.tokens.key_dir.is_some(),
    };
    if given {
        let key = Secret::new(entropy.bytes::<32>()?);
        // These keys are not in a store, so an empty one is enough.
        let empty = store::open(
            "memory:",
            &OpenOptions::default(),
            &WrappingKeys::derive(&key, None),
            entropy.clone(),
        )
        .await?;
        let keyrings =
            Keyrings::open(&config.tokens, lifetimes, &*empty.store, entropy, now).await?;
        return Ok((keyrings, KeyOrigin::Config));
    }
    if let Some((jwks, url)) = running_jwks(config).await? {
        let keyrings = Keyrings::published(&jwks, entropy, now).with_context(|| {
            format!("{url} has no public key: the running menshen signs with a secret, which it does not publish")
        })?;
        return Ok((keyrings, KeyOrigin::Running(url)));
    }
    Ok((
        stored_keys(config, lifetimes, denylist, entropy, now).await?,
        KeyOrigin::Store,
    ))
}

/// The JWK set of the process that runs with this config, and its URL; `None`: there is none on a
/// plain address of `server.listen`.
async fn running_jwks(config: &Config) -> anyhow::Result<Option<(Vec<u8>, String)>> {
    for listen in &config.server.listen {
        let Ok(ListenAddress::Tcp(address)) = listen.parse() else {
            continue;
        };
        let address = loopback_if_unspecified(address);
        let text = format!("http://{address}{}/jwks.json", config.auth.prefix);
        let url: reqwest::Url = text.parse().with_context(|| format!("{text} is no URL"))?;
        match Outbound::to_backend(&url)?.get(url, KEYS_TIMEOUT).await {
            Ok(answer) if answer.status.is_success() => {
                return Ok(Some((answer.body.to_vec(), text)));
            }
            Ok(answer) => bail!(
                "{text} answers {}: that is no menshen with this config",
                answer.status
            ),
            Err(OutboundError::Connect) => {}
            Err(error) => bail!("the running menshen was asked for its keys at {text}: {error}"),
        }
    }
    Ok(None)
}

/// The keys and revocations in the store of a stopped process.
async fn stored_keys(
    config: &Config,
    lifetimes: Lifetimes,
    denylist: &Denylist,
    entropy: &Entropy,
    now: Timestamp,
) -> anyhow::Result<Keyrings> {
    let is_there = match config.store.engine()? {
        StoreEngine::Sled(path) => path.exists(),
        StoreEngine::Shared => true,
        StoreEngine::Memory => false,
    };
    if !is_there {
        bail!(
            "a token can be looked at only with the keys: no menshen answers on a plain address of server.listen, and there is \
             no store at {}",
            config.store.url
        );
    }
    let mut config = config.clone();
    config.store.lock_wait = HumanDuration::secs(1).min(config.store.lock_wait);
    let metrics = Metrics::new();
    let store = open_store(&config, Access::ReadOnly, &metrics, entropy)
        .await
        .context("no menshen answers on a plain address of server.listen, so its store was tried")?
        .store;
    let read = async {
        denylist.load(&*store, now, &metrics).await?;
        let keyrings = Keyrings::existing(&config.tokens, lifetimes, &*store, now).await;
        keyrings.context("no menshen has run with this store yet, so it has no keys")
    };
    let keyrings = read.await;
    store.close().await?;
    keyrings
}
