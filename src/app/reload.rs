//! Another config while requests go on: when it is looked for, what may change, and what is said
//! about it.
//!
//! A file is looked at again when menshen is told to (SIGHUP), and when it, or a file that it
//! names, is another one than before: by the identity, size and time of what the path leads to in
//! the end, so that Kubernetes' swap of a symbolic link counts. What is seen changing is read once
//! it has rested for one look, because editors write in pieces.
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

use super::{foundation::Foundation, generation::Generation};
use crate::{
    audit::Event,
    config::{Config, Loaded, Source, StoreConfig},
    proxy::Replace,
    telemetry::LogLevel,
    types::Timestamp,
};

/// Problems of one bad config that are logged, each on a line.
const MOST_PROBLEMS: usize = 20;

/// Where another config comes from, and when.
#[derive(Debug)]
pub struct Reload {
    pub source: Source,
    /// The files that the config in use was read from, besides the one of `source`.
    pub files: BTreeSet<PathBuf>,
    /// Told when somebody asks for it.
    pub asked: Arc<Notify>,
    pub log_level: LogLevel,
}

/// What works now, for everybody who has to follow it.
pub(super) struct Current {
    pub(super) generation: ArcSwap<Generation>,
    pub(super) admin_routes: Arc<ArcSwap<Router>>,
    pub(super) server: Replace,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    /// The config in use stays.
    Refused,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

/// Follows the files and the wishes until the task is dropped.
pub(super) async fn follow(
    mut reload: Reload,
    foundation: Arc<Foundation>,
    current: Arc<Current>,
    every: Duration,
) {
    let mut seen = Look::at(&reload);
    let mut changing = None;
    // Looking at nothing is looking very rarely.
    let mut ticks = interval(if every.is_zero() {
        Duration::from_hours(24 * 365)
    } else {
        every
    });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = reload.asked.notified() => tracing::info!("told to read the config again"),
            _ = ticks.tick() => {
                let look = Look::at(&reload);
                if every.is_zero() || look == seen {
                    changing = None;
                    continue;
                }
                if changing.as_ref() != Some(&look) {
                    changing = Some(look);
                    continue;
                }
                tracing::info!("the config has changed: reading it again");
            }
        }
        // What changes while it is read will be seen as another change.
        seen = Look::at(&reload);
        changing = None;
        let outcome = once(&mut reload, &foundation, &current).await;
        foundation
            .metrics
            .config_reloads
            .with_label_values(&[outcome.as_str()])
            .inc();
        foundation
            .metrics
            .config_applied
            .set(i64::from(outcome == Outcome::Applied));
        foundation.audit.record(&Event::ConfigReloaded {
            result: outcome.as_str(),
        });
    }
}

/// Reads the config and changes over to it, or says why not.
async fn once(reload: &mut Reload, foundation: &Arc<Foundation>, current: &Current) -> Outcome {
    let now = foundation.clock.now();
    let source = reload.source.clone();
    let loaded =
        tokio::task::spawn_blocking(move || Config::load_with(&source, super::check)).await;
    let Loaded {
        config,
        warnings,
        files,
    } = match loaded {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(problems)) => {
            let count = problems.iter().count();
            for problem in problems.iter().take(MOST_PROBLEMS) {
                tracing::error!("{problem}");
            }
            return refused(
                foundation,
                now,
                &format!("{count} problems in it: see the log, or `menshen check`"),
            );
        }
        Err(_) => return refused(foundation, now, "reading it failed"),
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let before = current.generation.load_full();
    let (config, waiting) = for_a_running_process(&before.config, config);
    let (mut generation, snapshot) =
        match Generation::build(foundation, config, Some(&before)).await {
            Ok(built) => built,
            Err(fault) => {
                tracing::error!("{fault:#}");
                return refused(foundation, now, "it cannot be used: see the log");
            }
        };
    if let Err(fault) = current.server.certificate(&generation.config.server.tls) {
        tracing::error!("server.tls: {fault}");
        return refused(
            foundation,
            now,
            "its certificate cannot be used: see the log",
        );
    }
    generation.start(foundation);
    reload.log_level.set(&generation.config.telemetry.log_level);
    current.server.with(snapshot);
    current
        .admin_routes
        .store(Arc::new(generation.admin_routes.clone()));
    current.generation.store(Arc::new(generation));
    reload.files = files;
    let state = if waiting.is_empty() {
        format!("read again at {}", now.rfc3339())
    } else {
        let keys = waiting.join(", ");
        tracing::warn!(keys, "these keys have changed and need a restart: {keys}");
        format!("read again at {}; need a restart: {keys}", now.rfc3339())
    };
    foundation.details.set("config", state);
    tracing::info!("the new config is in use");
    Outcome::Applied
}

fn refused(foundation: &Foundation, now: Timestamp, why: &str) -> Outcome {
    foundation.details.set(
        "config",
        format!(
            "the one of {} was refused, the one before is in use: {why}",
            now.rfc3339()
        ),
    );
    tracing::error!("the new config is refused and the one before stays in use: {why}");
    Outcome::Refused
}

/// The new config as far as a process that runs can take it on, and the keys that it cannot.
fn for_a_running_process(before: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    let mut waiting = Vec::new();
    macro_rules! stays {
        ($($section:ident . $key:ident),+ $(,)?) => {
            $(if new.$section.$key != before.$section.$key {
                waiting.push(concat!(stringify!($section), ".", stringify!($key)));
                new.$section.$key = before.$section.$key.clone();
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
    if new.mode != before.mode {
        waiting.push("mode");
        new.mode = before.mode;
    }
    if is_another_store(&before.store, &new.store) {
        waiting.push("store");
        new.store = before.store.clone();
    }
    (new, waiting)
}

/// Whether a process with the one would have to start anew for the other. What only a start looks
/// at (the key of before, how long to wait for a predecessor) is nothing to start for, and neither
/// is the same key given in another way.
fn is_another_store(before: &StoreConfig, new: &StoreConfig) -> bool {
    let lasting = |store: &StoreConfig| StoreConfig {
        encryption_key_file: store
            .encryption_key_file
            .clone()
            .filter(|_| store.encryption_key.is_none()),
        previous_encryption_key: None,
        previous_encryption_key_file: None,
        lock_wait: before.lock_wait,
        ..store.clone()
    };
    lasting(before) != lasting(new)
}

/// What there is to see of the files, without reading them.
#[derive(Debug, PartialEq, Eq)]
struct Look(Vec<Option<Seen>>);

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds: what is written in place within one tick of the file clock and
    /// keeps its size is missed.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn at(reload: &Reload) -> Self {
        Self(
            reload
                .source
                .file
                .iter()
                .chain(&reload.files)
                .map(|path| Seen::of(path))
                .collect(),
        )
    }
}

impl Seen {
    fn of(path: &Path) -> Option<Self> {
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

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, HumanDuration, SecretText};

    #[test]
    fn only_another_store_needs_a_restart() {
        let key = |text: &str| Some(SecretText::new(text.repeat(32)));
        let before = StoreConfig {
            encryption_key: key("ab"),
            encryption_key_file: Some("store.key".into()),
            ..StoreConfig::default()
        };
        let same = [
            before.clone(),
            StoreConfig {
                encryption_key_file: None,
                ..before.clone()
            },
            StoreConfig {
                encryption_key_file: Some("elsewhere.key".into()),
                ..before.clone()
            },
            StoreConfig {
                previous_encryption_key: key("cd"),
                ..before.clone()
            },
            StoreConfig {
                lock_wait: HumanDuration::secs(1),
                ..before.clone()
            },
        ];
        for new in &same {
            assert!(!is_another_store(&before, new), "{new:?}");
        }
        let others = [
            StoreConfig {
                encryption_key: key("cd"),
                ..before.clone()
            },
            StoreConfig {
                encryption_key: None,
                ..before.clone()
            },
            StoreConfig {
                url: "sled:./other".to_owned(),
                ..before.clone()
            },
            StoreConfig {
                cache: ByteSize::mib(1),
                ..before.clone()
            },
            StoreConfig {
                revocation_poll: HumanDuration::secs(2),
                ..before.clone()
            },
            StoreConfig {
                sweep_interval: HumanDuration::secs(2),
                ..before.clone()
            },
        ];
        for new in &others {
            assert!(is_another_store(&before, new), "{new:?}");
        }
    }
}
