//! Which processes run on a shared engine, for one that is none of them.

use std::sync::Arc;

use super::{operation, shared::SharedRunner};
use crate::{
    entropy::Entropy,
    metrics::Metrics,
    store::{
        OpenError, Replica, StoreError, WrappingKeys,
        engine::{FENCE, SharedEngine},
        keyring::Keyring,
        operations::replicas,
        record_cipher::CipherCache,
    },
    types::Timestamp,
};

/// The processes, and the engine's clock; `None`: no keyring is there, so no process has run on it.
pub(in crate::store) async fn read_replicas(
    engine: Arc<dyn SharedEngine>,
    keys: &WrappingKeys,
    entropy: Entropy,
    metrics: &Metrics,
) -> Result<Option<(Timestamp, Vec<Replica>)>, OpenError> {
    let name = engine.name();
    let unavailable = |error: StoreError| OpenError::Unavailable {
        engine: name,
        why: error.to_string(),
    };
    let fence = engine.read(&[FENCE.to_vec()], &[]).await;
    let fence = fence.map_err(|error| unavailable(error.into()))?;
    let wrapped = fence.values.into_iter().find_map(|record| record.value);
    let Some(wrapped) = wrapped else {
        return Ok(None);
    };
    if Keyring::unwrap(keys, &wrapped).is_none() {
        return Err(OpenError::WrongKey { path: name.into() });
    }
    let ciphers = Arc::new(CipherCache::new(keys.clone(), entropy));
    let runner = SharedRunner::new(engine, ciphers, metrics.clone());
    let running = runner
        .read("replicas", operation::query(replicas::all))
        .await;
    let running = running.and_then(operation::typed);
    Ok(Some((fence.time, running.map_err(unavailable)?)))
}
