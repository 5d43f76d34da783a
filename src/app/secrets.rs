//! Secrets that are made on first start: written once, for their owner alone, and never again.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    config::{AdminConfig, StoreConfig, StoreEngine},
    crypto::Key,
    entropy::Entropy,
    store,
    types::Secret,
};

/// The file beside the data that holds the encryption key when the config names none (development).
const KEY_FILE: &str = "store.key";

/// The key that the store is sealed with: given, read from its file, or made and written there.
pub(super) fn encryption_key(config: &StoreConfig, entropy: &Entropy) -> anyhow::Result<Key> {
    if let Some(key) = config.key()? {
        return Ok(key);
    }
    // What is kept in memory is gone with its key.
    let Some(path) = key_file(config)? else {
        return Ok(Key::new(entropy.bytes()?));
    };
    if let StoreEngine::Sled(data) = config.engine()?
        && store::has_data(&data)
        && !path.exists()
    {
        anyhow::bail!(
            "the store in {} has data, but its key in {} is missing. Bring the key back; a new one could read nothing (to \
             change the key, write the new one there first, as `openssl rand -hex 32` prints it)",
            data.display(),
            path.display()
        );
    }
    let text = read_or_generate(&path, entropy)
        .with_context(|| format!("cannot read or make the key in {}", path.display()))?;
    StoreConfig {
        encryption_key: Some(crate::config::SecretText::new(text)),
        ..config.clone()
    }
    .key()
    .with_context(|| format!("the key in {} is not usable", path.display()))?
    .context("there is no key")
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
        encryption_key: Some(crate::config::SecretText::new(text.trim().to_owned())),
        ..config
    })
}

/// Where the key is, or is to be made, unless it is given or in memory alone.
pub(super) fn key_file(config: &StoreConfig) -> anyhow::Result<Option<PathBuf>> {
    Ok(match (&config.encryption_key_file, config.engine()?) {
        (Some(path), _) => Some(path.clone()),
        (None, StoreEngine::Sled(data)) => Some(
            data.parent()
                .unwrap_or_else(|| Path::new(""))
                .join(KEY_FILE),
        ),
        (None, StoreEngine::Memory) => None,
    })
}

/// The key that the store is sealed with, if there is one yet that outlives the process; makes
/// none.
pub(super) fn existing_encryption_key(config: &StoreConfig) -> anyhow::Result<Option<Key>> {
    if let Some(key) = config.key()? {
        return Ok(Some(key));
    }
    let Some(path) = key_file(config)? else {
        return Ok(None);
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let given = StoreConfig {
                encryption_key: Some(crate::config::SecretText::new(text)),
                ..config.clone()
            };
            Ok(given
                .key()
                .with_context(|| format!("the key in {} is not usable", path.display()))?)
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The token of the admin API; `None`: there is no admin API.
pub(super) fn admin_token(
    config: &AdminConfig,
    entropy: &Entropy,
) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(token) = &config.token {
        return Ok(Some(Secret::new(token.expose().clone())));
    }
    let Some(path) = &config.token_file else {
        return Ok(None);
    };
    let text = read_or_generate(path, entropy)
        .with_context(|| format!("cannot read or make the token in {}", path.display()))?;
    Ok(Some(Secret::new(text)))
}

/// The token of the admin API if there is one yet; makes none.
pub(super) fn existing_admin_token(config: &AdminConfig) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(token) = &config.token {
        return Ok(Some(Secret::new(token.expose().clone())));
    }
    let Some(path) = &config.token_file else {
        return Ok(None);
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The text in a file, or 32 new random bytes in hex, written to it. Two processes that start
/// together end up with one.
fn read_or_generate(path: &Path, entropy: &Entropy) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim().to_owned()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => return Err(fault.into()),
    }
    let bytes: [u8; 32] = entropy.bytes()?;
    let (high, low) = bytes.split_at(16);
    let hex = |half: &[u8]| {
        half.try_into()
            .map(u128::from_be_bytes)
            .map(|bits| format!("{bits:032x}"))
    };
    let text = hex(high)? + &hex(low)?;
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    // Written aside and linked into place: nobody ever reads half a key, and an existing file is
    // never replaced.
    let aside = aside(path, entropy)?;
    let written = write_aside(&aside, &text).and_then(|()| fs::hard_link(&aside, path));
    // It may not even have come about.
    drop(fs::remove_file(&aside));
    match written {
        Ok(()) => {
            sync_directory(path)?;
            Ok(text)
        }
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            Ok(fs::read_to_string(path)?.trim().to_owned())
        }
        Err(fault) => Err(fault.into()),
    }
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// A name that nobody else uses: in containers every process has the same id.
fn aside(path: &Path, entropy: &Entropy) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".new-{:016x}",
        u64::from_be_bytes(entropy.bytes()?)
    ));
    Ok(path.with_file_name(name))
}

/// Makes the new name durable: a key that is lost with the power is data lost.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
