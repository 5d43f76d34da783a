//! The store's own keys on an engine that many processes share.

use super::{TOO_BUSY, attempt::MAX_COMMIT_DELAY};
use crate::store::{
    Access, OpenError, WrappingKeys,
    engine::{Commit, FENCE, SharedEngine, Version},
    error::EngineError,
    keyring::{Keyring, WrappedWith},
    open_options::FORMAT,
    record_cipher::CipherCache,
};

/// The store's own keys: those that are there, or new ones where there are none. Of processes that
/// start together one makes them. Where the store is only to be read, nothing is written.
pub(in crate::store::engine_store) async fn open_keyring(
    engine: &dyn SharedEngine,
    access: Access,
    keys: &WrappingKeys,
    ciphers: &CipherCache,
) -> Result<Keyring, OpenError> {
    let unavailable = |error: EngineError| OpenError::unavailable(engine.name(), error.into());
    let entropy = ciphers.entropy();
    let mut version = Version::first(entropy).map_err(|error| unavailable(error.into()))?;
    loop {
        let mut read = engine
            .read(&[FENCE.to_vec()], &[])
            .await
            .map_err(unavailable)?;
        let not_after = read.time.plus(MAX_COMMIT_DELAY);
        let fence = read
            .values
            .pop()
            .ok_or(EngineError::Refused("the engine read nothing"))
            .map_err(unavailable)?;
        let keyring = match &fence.value {
            // Records without their keyring: a new one could read none of them.
            None if !engine
                .scan(b"", None, 1)
                .await
                .map_err(unavailable)?
                .is_empty() =>
            {
                return Err(OpenError::Unsuitable {
                    engine: engine.name(),
                    why: "it has records, and its keyring (m/fence) is gone: restore it, or begin with an empty table"
                        .to_owned(),
                });
            }
            None if access == Access::ReadOnly => {
                return Err(OpenError::Unsuitable {
                    engine: engine.name(),
                    why: "it is empty: no menshen has run with it yet".to_owned(),
                });
            }
            None => Keyring::generate(entropy).map_err(|error| unavailable(error.into()))?,
            Some(wrapped)
                if let Some(found) =
                    Keyring::format(keys, wrapped).filter(|format| *format != FORMAT) =>
            {
                return Err(OpenError::OtherFormat {
                    place: format!("on {}", engine.name()),
                    found,
                });
            }
            Some(wrapped) => {
                let path = engine.name().into();
                let (keyring, with) =
                    Keyring::unwrap(keys, wrapped).ok_or(OpenError::WrongKey { path })?;
                ciphers.check(&keyring).map_err(unavailable)?;
                if with == WrappedWith::Present || access == Access::ReadOnly {
                    return Ok(keyring);
                }
                keyring
            }
        };
        let wrapped = keyring.wrap(keys, entropy).map_err(unavailable)?;
        let commit = Commit {
            version,
            reads: [(FENCE.to_vec(), fence.version)].into(),
            changes: [(FENCE.to_vec(), Some(wrapped))].into(),
            not_after,
        };
        // Whatever came of it, the next look tells.
        engine.commit(&commit).await.map_err(unavailable)?;
        version = version.next().ok_or(TOO_BUSY).map_err(unavailable)?;
    }
}
