//! From the config's URL to a store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Access, OpenError, OpenOptions, Replica, Store,
    engine::SharedEngine,
    engine_store::{
        EngineStore,
        import::{self, ImportTarget},
        read_replicas,
    },
    engines::{
        database::url::UrlError,
        mysql::{Mysql, MysqlUrl},
        postgres::{Postgres, PostgresUrl},
        sled,
    },
    keyring::WrappingKeys,
};
use crate::{crypto::Key, entropy::Entropy, types::Timestamp};

/// A store that is open, and the secret that it keeps for everything that must outlive a change of
/// its keys.
pub struct OpenedStore {
    pub store: Arc<dyn Store>,
    /// Only [`crate::crypto::derive`] uses it: refresh tokens, hashes of codes.
    pub root: Key,
}

/// What `store.url` names.
enum EngineUrl {
    Memory,
    Sled(PathBuf),
    Postgres(PostgresUrl),
    Mysql(MysqlUrl),
}

impl EngineUrl {
    fn parse(url: &str) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sled", path)) if !path.is_empty() => Ok(Self::Sled(path.into())),
            Some(("postgres" | "postgresql", _)) => url
                .parse()
                .map(Self::Postgres)
                .map_err(|error: UrlError| OpenError::Url(error.to_string())),
            Some(("mysql", _)) => url
                .parse()
                .map(Self::Mysql)
                .map_err(|error: UrlError| OpenError::Url(error.to_string())),
            Some(_) | None => Err(OpenError::UnknownUrl),
        }
    }
}

/// Whether [`open`] would understand this URL; connects to nothing. The error never quotes it.
pub fn check_url(url: &str) -> Result<(), OpenError> {
    EngineUrl::parse(url).map(drop)
}

/// Opens the store that a URL names: `sled:PATH`, `postgres://...`, `mysql://...` or `memory:`. Waits while another
/// process holds a directory, at most [`OpenOptions::lock_wait`]. Tasks of the current tokio runtime
/// serve the connections to a database.
pub async fn open(
    url: &str,
    options: &OpenOptions,
    keys: &WrappingKeys,
    entropy: Entropy,
) -> Result<OpenedStore, OpenError> {
    let store = match EngineUrl::parse(url)? {
        EngineUrl::Memory => EngineStore::memory(options, keys, entropy)?,
        EngineUrl::Sled(path) => {
            if options.access == Access::ReadOnly && !has_data(&path) {
                let why = "there is none: no menshen has run with it yet".to_owned();
                return Err(OpenError::Io { path, why });
            }
            let (options, keys, path_there) = (options.clone(), keys.clone(), path.clone());
            let opening = move || EngineStore::sled(&path_there, &options, &keys, entropy);
            tokio::task::spawn_blocking(opening)
                .await
                .map_err(|error| OpenError::Io {
                    path,
                    why: error.to_string(),
                })??
        }
        EngineUrl::Postgres(_) | EngineUrl::Mysql(_) => {
            let engine = shared_engine(url, options).await?;
            EngineStore::shared(engine, options, keys, entropy).await?
        }
    };
    let root = store.root().clone();
    Ok(OpenedStore {
        store: Arc::new(store),
        root,
    })
}

/// Begins to fill the empty store on the database that a URL names. Nothing is changed where it is not
/// empty.
pub async fn begin_import(
    url: &str,
    options: &OpenOptions,
    keys: &WrappingKeys,
    entropy: Entropy,
) -> Result<ImportTarget, OpenError> {
    let engine = shared_engine(url, options).await?;
    ImportTarget::begin(engine, options, keys, entropy).await
}

/// Empties the store on the database that a URL names, where an import into it is not finished.
/// `progress` gets how many records were removed so far. Returns how many there were.
pub async fn discard_import(
    url: &str,
    options: &OpenOptions,
    keys: &WrappingKeys,
    entropy: Entropy,
    progress: impl FnMut(u64),
) -> Result<u64, OpenError> {
    let has_tables = OpenOptions {
        access: Access::ReadOnly,
        ..options.clone()
    };
    let engine = shared_engine(url, &has_tables).await?;
    import::discard(engine, options, (keys, entropy), progress).await
}

/// The database that a URL names, with the tables.
pub(super) async fn shared_engine(
    url: &str,
    options: &OpenOptions,
) -> Result<Arc<dyn SharedEngine>, OpenError> {
    match EngineUrl::parse(url)? {
        EngineUrl::Memory | EngineUrl::Sled(_) => {
            Err(OpenError::Url("names no database".to_owned()))
        }
        EngineUrl::Postgres(url) => {
            let engine = postgres(&url, options)?;
            match options.access {
                Access::ReadWrite => engine.prepare().await?,
                Access::ReadOnly => engine.require_tables().await?,
            }
            Ok(Arc::new(engine))
        }
        EngineUrl::Mysql(url) => {
            let engine = mysql(&url, options)?;
            match options.access {
                Access::ReadWrite => engine.prepare().await?,
                Access::ReadOnly => engine.require_tables().await?,
            }
            Ok(Arc::new(engine))
        }
    }
}

/// Whether a shared engine can be reached and is as menshen needs it; changes nothing there.
pub async fn check_engine(url: &str, options: &OpenOptions) -> Result<(), OpenError> {
    match EngineUrl::parse(url)? {
        EngineUrl::Memory | EngineUrl::Sled(_) => Ok(()),
        EngineUrl::Postgres(url) => postgres(&url, options)?.check().await,
        EngineUrl::Mysql(url) => mysql(&url, options)?.check().await,
    }
}

/// Whether hints of other processes would arrive here; `None` where the engine has none, no menshen has
/// run on it, or that could not be tried. Wakes the processes that run on it, once.
pub async fn try_hints(url: &str, options: &OpenOptions) -> Result<Option<bool>, OpenError> {
    match EngineUrl::parse(url)? {
        EngineUrl::Memory | EngineUrl::Sled(_) | EngineUrl::Mysql(_) => Ok(None),
        EngineUrl::Postgres(url) => Ok(postgres(&url, options)?.try_hints().await),
    }
}

/// The processes that run on a shared engine, and its clock; `None` where the URL names no such engine
/// or no menshen has run on it. Changes nothing there.
pub async fn running_replicas(
    url: &str,
    options: &OpenOptions,
    keys: &WrappingKeys,
    entropy: Entropy,
) -> Result<Option<(Timestamp, Vec<Replica>)>, OpenError> {
    let engine: Arc<dyn SharedEngine> = match EngineUrl::parse(url)? {
        EngineUrl::Memory | EngineUrl::Sled(_) => return Ok(None),
        EngineUrl::Postgres(url) => Arc::new(postgres(&url, options)?),
        EngineUrl::Mysql(url) => Arc::new(mysql(&url, options)?),
    };
    read_replicas(engine, keys, entropy, &options.metrics).await
}

/// Makes the tables of a shared engine, or brings them to this version, for a menshen whose own role
/// may not. Returns `false` where the URL names an engine without tables.
pub async fn migrate(url: &str, options: &OpenOptions) -> Result<bool, OpenError> {
    match EngineUrl::parse(url)? {
        EngineUrl::Memory | EngineUrl::Sled(_) => Ok(false),
        EngineUrl::Postgres(url) => {
            postgres(&url, options)?.prepare().await?;
            Ok(true)
        }
        EngineUrl::Mysql(url) => {
            mysql(&url, options)?.prepare().await?;
            Ok(true)
        }
    }
}

fn postgres(url: &PostgresUrl, options: &OpenOptions) -> Result<Postgres, OpenError> {
    Postgres::new(url, options.password_file.as_deref(), options.connections)
}

fn mysql(url: &MysqlUrl, options: &OpenOptions) -> Result<Mysql, OpenError> {
    Mysql::new(url, options.password_file.as_deref(), options.connections)
}

/// Whether an embedded store in this directory has been written to, so that its key must exist too.
pub fn has_data(directory: &Path) -> bool {
    sled::has_data(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_url_names_an_engine_or_nothing_is_opened() {
        let open = async |url| {
            let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
            open(url, &OpenOptions::default(), &keys, Entropy::default()).await
        };
        assert!(open("memory:").await.is_ok());
        for url in [
            "",
            "memory",
            "memory:x",
            "sled:",
            "sled",
            "redis://localhost",
            "./data",
        ] {
            let opened = open(url).await;
            assert!(matches!(opened, Err(OpenError::UnknownUrl)), "{url}");
        }
        for url in ["postgres://secret@", "mysql://secret@"] {
            let opened = open(url).await;
            let error = opened.err().expect("a URL without a host").to_string();
            assert!(error.contains("names no"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
