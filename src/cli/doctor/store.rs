//! Can the store be written, is there free space, and who can read its key? The check does not open
//! it: a running menshen holds it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Access, access, statvfs};

use super::{context::DoctorContext, finding::Finding};
use crate::{
    app,
    config::{Config, StoreEngine},
    store::has_data,
};

const MIB: u64 = 1024 * 1024;
/// With less free space than this, it will be full soon.
const LOW_SPACE_MIB: u64 = 1024;
/// With less free space than this, the store cannot even rewrite its log.
const MIN_SPACE_MIB: u64 = 100;

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    match context.config.store.engine() {
        Ok(StoreEngine::Sled(data)) => {
            let mut findings = vec![
                directory(&data),
                free_space(&data),
                key(&context.config, &data),
            ];
            findings.extend(files(&data));
            findings
        }
        Ok(StoreEngine::Shared) => shared(&context.config).await,
        Ok(StoreEngine::Memory) => vec![Finding::skipped(
            "it is in memory, and lost when the process ends",
        )],
        Err(error) => vec![Finding::failed(
            format!("store.url {}", error.0),
            "correct store.url",
        )],
    }
}

/// Of a database that replicas share.
async fn shared(config: &Config) -> Vec<Finding> {
    let url = &config.store.url;
    let mut findings = vec![match app::check_store(&config.store).await {
        Ok(()) => Finding::ok("the database answers, and keeps what it acknowledges"),
        Err(error) => Finding::failed(
            error.to_string(),
            "correct store.url or the database: until then no login succeeds, and tokens are still checked",
        ),
    }];
    match app::try_hints(&config.store).await {
        Some(true) => findings.push(Finding::ok(
            "revocations of other replicas arrive at once (LISTEN and NOTIFY)",
        )),
        Some(false) => findings.push(Finding::warning(
            format!(
                "no NOTIFY of the database arrives, so a pooler in transaction mode stands in between: revocations of other replicas \
                 arrive by polling, within {}",
                config.store.revocation_poll
            ),
            "nothing has to be done; a direct connection, or a pooler in session mode, brings them at once",
        )),
        None => {}
    }
    if url.contains("sslmode=disable") {
        findings.push(Finding::warning(
            "TLS to the database is off (sslmode=disable): an attacker on the network can read the password and change results",
            "remove sslmode, and name the server's certificate authority with sslrootcert",
        ));
    }
    findings
}

/// The directory, or the first one above it that exists.
fn existing(path: &Path) -> PathBuf {
    let here = |path: &Path| {
        if path.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            path.to_owned()
        }
    };
    path.ancestors()
        .map(here)
        .find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("."))
}

fn directory(data: &Path) -> Finding {
    let there = existing(data);
    let name = data.display();
    if !there.is_dir() {
        let seen = format!("{} is not a directory", there.display());
        return Finding::failed(seen, "move it away, or name another place in store.url");
    }
    match access(&there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if data.exists() => Finding::ok(format!("{name} can be written")),
        Ok(()) => Finding::ok(format!("{name} does not exist yet, and can be created")),
        Err(error) => {
            let advice = "make it writable for the user that menshen runs as (and run this as that user), on a disk that is not read-only";
            Finding::failed(
                format!("{} cannot be written: {error}", there.display()),
                advice,
            )
        }
    }
}

fn free_space(data: &Path) -> Finding {
    match statvfs(existing(data)) {
        Ok(disk) => judge_free_space(disk.f_bavail.saturating_mul(disk.f_frsize) / MIB),
        Err(error) => Finding::warning(
            format!("free space cannot be read: {error}"),
            "check it with df",
        ),
    }
}

fn judge_free_space(free_mib: u64) -> Finding {
    let seen = format!("{free_mib} MiB are free for it");
    match free_mib {
        ..MIN_SPACE_MIB => Finding::failed(
            seen,
            "make room now: while the store cannot write, no user can sign in",
        ),
        MIN_SPACE_MIB..LOW_SPACE_MIB => {
            Finding::warning(seen, "make room, and see what else fills that disk")
        }
        _ => Finding::ok(seen),
    }
}

/// Whether other users may read its files. Personal data in them is encrypted, the rest is still
/// private.
fn files(data: &Path) -> Option<Finding> {
    let entries = fs::read_dir(data).ok()?;
    let mut readable: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name(),
                entry.metadata().ok()?.permissions().mode() & 0o777,
            ))
        })
        .filter(|(_, mode)| mode & 0o077 != 0)
        .map(|(name, mode)| format!("{} (mode {mode:o})", name.display()))
        .collect();
    readable.sort();
    let name = data.display();
    Some(match readable.as_slice() {
        [] => Finding::ok(format!(
            "the files in {name} are readable by their owner only"
        )),
        [first, others @ ..] => {
            let more = if others.is_empty() {
                String::new()
            } else {
                format!(" and {} more", others.len())
            };
            let advice = format!(
                "chmod -R go= {name}, as the user that menshen runs as; its next start does so too"
            );
            Finding::warning(
                format!("other users can read or write {first}{more} in {name}"),
                advice,
            )
        }
    })
}

fn key(config: &Config, data: &Path) -> Finding {
    let store = &config.store;
    if store.encryption_key.is_some() && store.encryption_key_file.is_none() {
        return Finding::ok("its key is given in the config or the environment");
    }
    let file = match app::with_key_file(store).map(|store| store.encryption_key_file) {
        Ok(Some(file)) => file,
        Ok(None) => return Finding::skipped("it has no key in a file"),
        Err(error) => return Finding::failed(format!("{error:#}"), "correct [store]"),
    };
    let name = file.display();
    match fs::metadata(&file) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            let seen = format!(
                "its key {name} has mode {:o}: others may read it",
                found.permissions().mode() & 0o777
            );
            Finding::warning(seen, "chmod 600, for the user that menshen runs as")
        }
        Ok(_) => match fs::File::open(&file) {
            Ok(_) => Finding::ok(format!("its key {name} exists, readable by its owner only")),
            Err(error) => Finding::failed(
                format!("its key {name} cannot be read: {error}"),
                "run this as the user of menshen",
            ),
        },
        Err(_) if has_data(data) => Finding::failed(
            format!("it has data, but its key {name} is missing"),
            "bring the key back: without it nothing in there can be read, and menshen does not start",
        ),
        Err(_) => Finding::ok(format!("its key {name} is created on the first start")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Status, *};

    #[test]
    fn less_than_a_gibibyte_is_little_and_less_than_100_mib_too_little() {
        for (free, state) in [
            (0, Status::Failed),
            (99, Status::Failed),
            (100, Status::Warning),
            (1023, Status::Warning),
        ] {
            assert_eq!(judge_free_space(free).state, state, "{free}");
        }
        assert_eq!(judge_free_space(1024).state, Status::Ok);
    }

    #[test]
    fn files_that_others_may_use_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert_eq!(files(&data), None, "there is none yet");
        fs::create_dir(&data).unwrap();
        for (name, mode, state) in [
            ("conf", 0o600, Status::Ok),
            ("db", 0o640, Status::Warning),
            ("blobs", 0o644, Status::Warning),
        ] {
            fs::write(data.join(name), "").unwrap();
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(files(&data).unwrap().state, state, "{name}");
        }
        let said = format!("{:?}", files(&data).unwrap());
        assert!(
            said.contains("blobs (mode 644) and 1 more") && said.contains("chmod -R go="),
            "{said}"
        );
    }

    #[test]
    fn a_file_where_the_directory_belongs_is_a_failure_and_no_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(directory(&dir.path().join("a/b/data")).state, Status::Ok);
        fs::write(dir.path().join("data"), "").unwrap();
        assert_eq!(directory(&dir.path().join("data")).state, Status::Failed);
    }
}
