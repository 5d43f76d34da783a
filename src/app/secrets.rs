//! Secrets that are generated on first start: written once, for their owner alone, and never again.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    config::{AdminConfig, SecretText, StoreConfig, StoreEngine},
    crypto::Key,
    entropy::Entropy,
    store,
    types::{Malformed, Secret},
};

/// The file beside the data that holds the encryption key when the config names none (development).
const KEY_FILE: &str = "store.key";

/// The store's encryption key: from the config, from its file, or generated and written there.
pub(super) fn encryption_key(config: &StoreConfig, entropy: &Entropy) -> anyhow::Result<Key> {
    if let Some(key) = config.key()? {
        return Ok(key);
    }
    // A store in memory needs its key no longer than the process lives.
    let Some(path) = key_file(config)? else {
        return Ok(Key::new(entropy.bytes()?));
    };
    if let StoreEngine::Sled(data) = config.engine()?
        && store::has_data(&data)
        && !path.exists()
    {
        anyhow::bail!(
            "the store in {} has data, but its key in {} is missing. Restore the key: a new one cannot read the data (to \
             change the key, write the new one there first, as `openssl rand -hex 32` prints it)",
            data.display(),
            path.display()
        );
    }
    if config.engine()? == StoreEngine::Shared && !path.exists() {
        anyhow::bail!(
            "the key in {} is missing. All replicas need the same one, so it is not created here: `openssl rand -hex 32` prints one, \
             once for all of them",
            path.display()
        );
    }
    let text = read_or_generate(&path, entropy)
        .with_context(|| format!("cannot read or make the key in {}", path.display()))?;
    parse_key(config, text)
        .with_context(|| format!("the key in {} is not usable", path.display()))?
        .context("there is no key")
}

/// The encryption key that this text is.
pub(super) fn parse_key(config: &StoreConfig, text: String) -> Result<Option<Key>, Malformed> {
    let with_key = StoreConfig {
        encryption_key: Some(SecretText::new(text)),
        ..config.clone()
    };
    with_key.key()
}

/// The store's config with the key that a first start has written to its file, as reading the
/// config again finds it there.
pub(super) fn with_generated_key(config: StoreConfig) -> anyhow::Result<StoreConfig> {
    let (None, Some(path)) = (&config.encryption_key, &config.encryption_key_file) else {
        return Ok(config);
    };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(StoreConfig {
        encryption_key: Some(SecretText::new(text.trim().to_owned())),
        ..config
    })
}

/// The file that holds the key, or will; `None`: the key is in the config or in memory alone.
pub(super) fn key_file(config: &StoreConfig) -> anyhow::Result<Option<PathBuf>> {
    Ok(match (&config.encryption_key_file, config.engine()?) {
        (Some(path), _) => Some(path.clone()),
        (None, StoreEngine::Sled(data)) => Some(
            data.parent()
                .unwrap_or_else(|| Path::new(""))
                .join(KEY_FILE),
        ),
        (None, StoreEngine::Memory | StoreEngine::Shared) => None,
    })
}

/// The store's encryption key, if there is one yet that outlives the process; generates none.
pub(super) fn existing_encryption_key(config: &StoreConfig) -> anyhow::Result<Option<Key>> {
    if let Some(key) = config.key()? {
        return Ok(Some(key));
    }
    let Some(path) = key_file(config)? else {
        return Ok(None);
    };
    let Some(text) = read_if_present(&path).with_context(|| cannot_read(&path))? else {
        return Ok(None);
    };
    parse_key(config, text).with_context(|| format!("the key in {} is not usable", path.display()))
}

/// The token of the admin API, generated where its file is missing; `None`: there is no admin API.
pub(super) fn admin_token(
    config: &AdminConfig,
    entropy: &Entropy,
) -> anyhow::Result<Option<Secret<String>>> {
    match (&config.token, &config.token_file) {
        (None, Some(path)) => {
            let text = read_or_generate(path, entropy)
                .with_context(|| format!("cannot read or make the token in {}", path.display()))?;
            Ok(Some(Secret::new(text)))
        }
        _ => existing_admin_token(config),
    }
}

/// The token of the admin API if there is one yet; generates none.
pub(super) fn existing_admin_token(config: &AdminConfig) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(token) = &config.token {
        return Ok(Some(Secret::new(token.expose().clone())));
    }
    let Some(path) = &config.token_file else {
        return Ok(None);
    };
    let text = read_if_present(path).with_context(|| cannot_read(path))?;
    Ok(text.map(Secret::new))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// The text in a file without space around it; `None`: there is no such file.
fn read_if_present(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text in a file, or 32 new random bytes in hex, written to it. Two processes that start
/// together end up with one.
fn read_or_generate(path: &Path, entropy: &Entropy) -> anyhow::Result<String> {
    if let Some(text) = read_if_present(path)? {
        return Ok(text);
    }
    let text = hex::encode(entropy.bytes::<32>()?);
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // Written aside and moved into place: no process reads half a key, and an existing file is
    // never replaced.
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            // Makes the new name durable: a key that is lost with the power is data lost.
            fs::File::open(directory)?.sync_all()?;
            Ok(text)
        }
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(fs::read_to_string(path)?.trim().to_owned())
        }
        Err(lost) => Err(lost.error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/store.key");
        let entropy = Entropy::default();
        let first = read_or_generate(&path, &entropy).expect("a key");
        assert_eq!(first.len(), 64);
        assert_eq!(read_or_generate(&path, &entropy).expect("the key"), first);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(dir.path().join("deep"))
            .expect("a directory")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(
            fs::read_dir(dir.path().join("deep"))
                .expect("a directory")
                .count(),
            1,
            "nothing is left aside"
        );
    }

    #[test]
    fn parallel_starts_agree_on_one_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| read_or_generate(&path, &Entropy::default()).expect("a key"))
                })
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().expect("a start"))
                .collect()
        });
        assert!(
            keys.iter().all(|key| *key == keys[0]),
            "{} keys",
            keys.len()
        );
        assert_eq!(
            fs::read_dir(dir.path()).expect("a directory").count(),
            1,
            "nothing is left aside"
        );
    }
}
