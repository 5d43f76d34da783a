//! Reloading the config while requests are served: when, which keys, and what is logged.
//!
//! The config is read again on SIGHUP, and when its file or a file that it names has changed:
//! device, inode, size or times of the file behind all symbolic links, so that Kubernetes' swap of
//! a link counts. A changed file is read when it is the same at two checks in a row, because
//! editors write in pieces.
//!
//! Must stay true: a config with a problem changes nothing at all.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use super::{check::check, generation::Generation, process::Process};
use crate::{
    audit::Event,
    config::{Config, Loaded, Source, StoreConfig},
    console::LastReload,
    proxy::ReloadHandle,
    telemetry::LogLevel,
};

/// Problems of one invalid config that are logged, each on a line.
const MAX_LOGGED_PROBLEMS: usize = 20;

/// When a new config is read, besides when its files change.
#[derive(Debug)]
pub struct Reload {
    /// Notified on SIGHUP.
    pub requested: Arc<Notify>,
    pub log_level: LogLevel,
}

/// The generation in use; a reload swaps it.
pub(super) struct Current {
    pub(super) generation: ArcSwap<Generation>,
    pub(super) admin_routes: Arc<ArcSwap<Router>>,
    pub(super) server: ReloadHandle,
}

/// Reloads on changes and on request until the task is dropped.
pub(super) async fn watch(
    reload: Reload,
    mut files: BTreeSet<PathBuf>,
    process: Arc<Process>,
    current: Arc<Current>,
    every: Duration,
) {
    let mut last_read = FileFingerprints::read(&process.source, &files);
    let mut changing = None;
    // Without an interval, only SIGHUP reloads.
    let mut ticks = interval(if every.is_zero() {
        Duration::from_hours(24 * 365)
    } else {
        every
    });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = reload.requested.notified() => tracing::info!("SIGHUP: reading the config again"),
            _ = ticks.tick() => {
                let fingerprints = FileFingerprints::read(&process.source, &files);
                if every.is_zero() || fingerprints == last_read {
                    changing = None;
                    continue;
                }
                if changing.as_ref() != Some(&fingerprints) {
                    changing = Some(fingerprints);
                    continue;
                }
                tracing::info!("the config has changed: reading it again");
            }
        }
        // A change during the reading will be detected as another change.
        last_read = FileFingerprints::read(&process.source, &files);
        changing = None;
        let at = process.clock.now();
        let now = at.rfc3339();
        let reloaded = reload_config(&reload.log_level, &mut files, &process, &current).await;
        process
            .metrics
            .config_applied
            .set(i64::from(reloaded.is_ok()));
        let (result, state) = match &reloaded {
            Ok(keys) if keys.is_empty() => ("applied", format!("read again at {now}")),
            Ok(keys) => {
                let keys = keys.join(", ");
                tracing::warn!(keys, "these keys have changed and need a restart: {keys}");
                let state = format!("read again at {now}; need a restart: {keys}");
                ("applied", state)
            }
            Err(ReloadError { why, .. }) => {
                let state = "was refused, the one before is in use";
                ("refused", format!("the one of {now} {state}: {why}"))
            }
        };
        process.details.set("config", state);
        match &reloaded {
            Ok(_) => tracing::info!("the new config is in use"),
            Err(ReloadError { why, .. }) => {
                tracing::error!("the new config is refused and the one before stays in use: {why}");
            }
        }
        let reloads = &process.metrics.config_reloads;
        reloads.with_label_values(&[result]).inc();
        process.audit.record(&Event::ConfigReloaded { result });
        process.console.record_reload(match reloaded {
            Ok(restart_keys) => LastReload::Applied { at, restart_keys },
            Err(ReloadError { why, problems }) => LastReload::Refused { at, why, problems },
        });
    }
}

/// Why the config in use stays.
struct ReloadError {
    why: String,
    /// Each on a line.
    problems: Vec<String>,
}

impl ReloadError {
    fn new(why: &str, problem: String) -> Self {
        Self {
            why: why.to_owned(),
            problems: vec![problem],
        }
    }
}

/// Reads the config and swaps to it. The changed keys that need a restart.
async fn reload_config(
    log_level: &LogLevel,
    files: &mut BTreeSet<PathBuf>,
    process: &Arc<Process>,
    current: &Current,
) -> Result<Vec<&'static str>, ReloadError> {
    let source = process.source.clone();
    let loaded = tokio::task::spawn_blocking(move || Config::load_with(&source, check)).await;
    let Loaded {
        config,
        warnings,
        files: new_files,
        origins,
        source: _,
    } = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(problems)) => {
            let count = problems.iter().count();
            for problem in problems.iter().take(MAX_LOGGED_PROBLEMS) {
                tracing::error!("{problem}");
            }
            return Err(ReloadError {
                why: format!("{count} problems in it: see the log, or `menshen check`"),
                problems: problems
                    .iter()
                    .take(MAX_LOGGED_PROBLEMS)
                    .map(ToString::to_string)
                    .collect(),
            });
        }
        Err(error) => return Err(ReloadError::new("reading it failed", error.to_string())),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let previous = current.generation.load_full();
    let (config, restart_keys) = keep_restart_only_keys(&previous.config, config);
    let built = Generation::build(process, config, origins, Some(&previous)).await;
    let (mut generation, snapshot) = match built {
        Ok(built) => built,
        Err(error) => {
            tracing::error!("{error:#}");
            let problem = format!("{error:#}");
            return Err(ReloadError::new("it cannot be used: see the log", problem));
        }
    };
    if let Err(error) = current
        .server
        .reload_certificate(&generation.config.server.tls)
    {
        tracing::error!("server.tls: {error}");
        let why = "its certificate cannot be used: see the log";
        return Err(ReloadError::new(why, format!("server.tls: {error}")));
    }
    generation.start(process);
    log_level.set(&generation.config.telemetry.log_level);
    current.server.set_snapshot(snapshot);
    current
        .admin_routes
        .store(Arc::new(generation.admin_routes.clone()));
    current.generation.store(Arc::new(generation));
    *files = new_files;
    Ok(restart_keys)
}

/// The new config with the old values of keys that need a restart, and those of them that have
/// changed.
fn keep_restart_only_keys(previous: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    let mut restart_keys = Vec::new();
    macro_rules! stays {
        ($($section:ident . $key:ident),+ $(,)?) => {
            $(if new.$section.$key != previous.$section.$key {
                restart_keys.push(concat!(stringify!($section), ".", stringify!($key)));
                new.$section.$key = previous.$section.$key.clone();
            })+
        };
    }
    stays!(
        server.listen,
        server.threads,
        server.http2,
        admin.listen,
        upstream.idle_connections,
        telemetry.log_format,
        reload.interval
    );
    if new.mode != previous.mode {
        restart_keys.push("mode");
        new.mode = previous.mode;
    }
    if needs_another_store(&previous.store, &new.store) {
        restart_keys.push("store");
        new.store = previous.store.clone();
    }
    (new, restart_keys)
}

/// Whether the change needs a restart. The previous key and `lock_wait`, which only a start reads,
/// do not, and neither does the same key given in another way.
fn needs_another_store(previous: &StoreConfig, new: &StoreConfig) -> bool {
    let lasting = |store: &StoreConfig| StoreConfig {
        encryption_key_file: store
            .encryption_key_file
            .clone()
            .filter(|_| store.encryption_key.is_none()),
        previous_encryption_key: None,
        previous_encryption_key_file: None,
        lock_wait: previous.lock_wait,
        ..store.clone()
    };
    lasting(previous) != lasting(new)
}

/// The metadata of the files, by which a change is detected without reading them.
#[derive(Debug, PartialEq, Eq)]
struct FileFingerprints(Vec<Option<FileFingerprint>>);

#[derive(Debug, PartialEq, Eq)]
struct FileFingerprint {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds. A file that is written in place within one tick of the file clock
    /// and keeps its size is not detected.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileFingerprints {
    fn read(source: &Source, files: &BTreeSet<PathBuf>) -> Self {
        Self(
            source
                .file
                .iter()
                .chain(files)
                .map(|path| FileFingerprint::read(path))
                .collect(),
        )
    }
}

impl FileFingerprint {
    fn read(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, HumanDuration, SecretText};

    #[test]
    fn only_another_store_needs_a_restart() {
        let key = |text: &str| Some(SecretText::new(text.repeat(32)));
        let previous = StoreConfig {
            encryption_key: key("ab"),
            encryption_key_file: Some("store.key".into()),
            ..StoreConfig::default()
        };
        let same = [
            previous.clone(),
            StoreConfig {
                encryption_key_file: None,
                ..previous.clone()
            },
            StoreConfig {
                encryption_key_file: Some("elsewhere.key".into()),
                ..previous.clone()
            },
            StoreConfig {
                previous_encryption_key: key("cd"),
                ..previous.clone()
            },
            StoreConfig {
                lock_wait: HumanDuration::secs(1),
                ..previous.clone()
            },
        ];
        for new in &same {
            assert!(!needs_another_store(&previous, new), "{new:?}");
        }
        let others = [
            StoreConfig {
                encryption_key: key("cd"),
                ..previous.clone()
            },
            StoreConfig {
                encryption_key: None,
                ..previous.clone()
            },
            StoreConfig {
                url: "sled:./other".to_owned(),
                ..previous.clone()
            },
            StoreConfig {
                cache: ByteSize::mib(1),
                ..previous.clone()
            },
            StoreConfig {
                revocation_poll: HumanDuration::secs(2),
                ..previous.clone()
            },
            StoreConfig {
                sweep_interval: HumanDuration::secs(2),
                ..previous.clone()
            },
        ];
        for new in &others {
            assert!(needs_another_store(&previous, new), "{new:?}");
        }
    }
}
