//! `menshen import FILE`: restores an export into a new store.
//!
//! Must stay true: the store is filled in a staging directory and moved into place when it is
//! complete, so an interrupted import leaves nothing; a revocation after the export stays
//! effective, unless `--with-sessions` restores an export of a stopped menshen, where there was
//! none; a banned user is banned also with tokens of external issuers, for which the revocation log
//! counts and not the user's record.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::{
    app,
    cli::{
        command_error::CommandResult,
        console::{Console, open_input},
        export::RecordCounts,
        run::runtime,
    },
    clock::Clock,
    config::{Config, StoreEngine, UserIds},
    entropy::Entropy,
    metrics::Metrics,
    store::{self, ExportRecord, RevocationEntry, RevocationTarget, backup::Decryptor},
    types::Timestamp,
};

/// What to restore from, and how.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FileArgs {
    /// The file of `menshen export`, or `-` for standard input. The store of this config must be
    /// empty
    #[arg(required = true)]
    file: PathBuf,
    /// Keep all users signed in: for a move, from an export of a stopped menshen. Without this all
    /// users have to sign in again
    #[arg(long)]
    with_sessions: bool,
    /// The encryption key of the exported store, if the store of this config has another
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

pub(super) fn run(console: &mut Console<'_>, args: &FileArgs) -> CommandResult {
    let config = console.load()?;
    let (counts, has_integer_ids) = runtime()?.block_on(import(config, args))?;
    let out = &mut *console.out;
    writeln!(out, "{counts}")?;
    if has_integer_ids && !args.with_sessions {
        writeln!(
            out,
            "ids are integers: set users.first_integer above the highest id in the backend's tables before you \
             start, because those given since the export would be given again"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn import(config: Config, args: &FileArgs) -> anyhow::Result<(RecordCounts, bool)> {
    let place = match config.store.engine()? {
        StoreEngine::Sled(place) => place,
        StoreEngine::Memory => {
            bail!("a store in memory is lost at once: set store.url to sled:PATH")
        }
        StoreEngine::Shared => {
            bail!("an import fills a store on sled only: set store.url to sled:PATH")
        }
    };
    if store::has_data(&place) {
        bail!(
            "the store in {} is not empty: move it aside, or name another one as store.url",
            place.display()
        );
    }
    let key = match &args.key_file {
        Some(file) => app::export_key_from_file(&config, file)?,
        None => app::export_key(&config)?,
    };
    let key = key.context("store.encryption_key is needed: the one of the store that was exported (or give --key-file)")?;
    let file =
        open_input(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let mut decryptor = Decryptor::begin(BufReader::new(file), &key)?;
    if args.with_sessions && decryptor.header.live {
        bail!(
            "this export was made while its menshen ran: what was revoked after it would live again. Export a stopped one, \
             or leave out --with-sessions"
        );
    }
    let staging = PathBuf::from(format!("{}.importing", place.display()));
    if staging.exists() {
        bail!(
            "{} is there: another import is under way, or was broken off. Delete it if none is",
            staging.display()
        );
    }
    let is_integer = config.users.ids == UserIds::Integer;
    let filled = fill(config, &staging, &mut decryptor, args.with_sessions).await;
    let placed = filled.and_then(|counts| {
        // An empty directory is replaced; anything else is an error.
        fs::rename(&staging, &place)
            .with_context(|| format!("cannot put the store to {}", place.display()))?;
        let parent = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
        Ok(counts)
    });
    if placed.is_err() {
        // Created above.
        drop(fs::remove_dir_all(&staging));
    }
    Ok((placed?, is_integer))
}

async fn fill(
    mut config: Config,
    staging: &Path,
    decryptor: &mut Decryptor<impl Read>,
    with_sessions: bool,
) -> anyhow::Result<RecordCounts> {
    // The key belongs to the final path of the store.
    config.store = app::with_key_file(&config.store)?;
    config.store.url = format!("sled:{}", staging.display());
    let opened = app::open_store(&config, &Metrics::new(), &Entropy::default()).await?;
    let store = opened.store;
    let now = Clock::System.now();
    let mut counts = RecordCounts::default();
    let filled = async {
        while let Some(things) = decryptor.chunk()? {
            let things = things.into_iter().flat_map(|thing| {
                if with_sessions {
                    vec![thing]
                } else {
                    without_sessions(thing, now)
                }
            });
            let things: Vec<_> = things.flat_map(|thing| with_ban(thing, now)).collect();
            for thing in &things {
                counts.add(thing);
            }
            store.restore(things).await?;
        }
        anyhow::Ok(())
    };
    let filled = filled.await;
    let closed = store.close().await;
    filled?;
    closed?;
    Ok(counts)
}

/// What is restored of an export without its sessions: every earlier token is refused. The global
/// epoch becomes the time in seconds, which is above any epoch after the export. The root secret is
/// restored: the refresh tokens and code hashes that depend on it are not, and the backend
/// recognises a repeated hook by it. Of the revocation log only entries about a user still matter:
/// they also apply to tokens of external issuers.
fn without_sessions(thing: ExportRecord, now: Timestamp) -> Vec<ExportRecord> {
    match thing {
        ExportRecord::Counters {
            global_epoch,
            next_user,
        } => {
            let epoch = global_epoch.saturating_add(1).max(now.as_secs());
            let entry = RevocationEntry {
                at: now,
                target: RevocationTarget::Everything { epoch },
            };
            vec![
                ExportRecord::Counters {
                    global_epoch: epoch,
                    next_user,
                },
                ExportRecord::Revocation(entry),
            ]
        }
        ExportRecord::User(mut user) => {
            user.openids
                .iter_mut()
                .for_each(|openid| openid.session_key = None);
            vec![ExportRecord::User(user)]
        }
        ExportRecord::Session(_) | ExportRecord::EndedSession { .. } => Vec::new(),
        ExportRecord::Revocation(entry) => match entry.target {
            RevocationTarget::User { .. } => vec![ExportRecord::Revocation(entry)],
            RevocationTarget::Session(_) | RevocationTarget::Everything { .. } => Vec::new(),
        },
        kept @ (ExportRecord::Root(_)
        | ExportRecord::SigningKey { .. }
        | ExportRecord::Tombstone { .. }
        | ExportRecord::Event { .. }) => {
            vec![kept]
        }
    }
}

/// Adds an entry of now to the revocation log for a banned user: that of the ban may be so old that
/// it is not kept any more.
fn with_ban(thing: ExportRecord, now: Timestamp) -> Vec<ExportRecord> {
    if let ExportRecord::User(user) = &thing
        && user.user.disabled
    {
        let target = RevocationTarget::User {
            id: user.user.id.clone(),
            epoch: user.user.epoch,
        };
        return vec![
            thing,
            ExportRecord::Revocation(RevocationEntry { at: now, target }),
        ];
    }
    vec![thing]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{ExportedUser, Profile, UnknownFields, User},
        types::{ExtraClaims, UserId, UserType},
    };

    const BEFORE: Timestamp = Timestamp::from_secs(1_700_000_000);
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn user(disabled: bool) -> ExportRecord {
        let user = User {
            id: UserId::parse("7").unwrap(),
            user_type: UserType::user(),
            roles: Vec::new(),
            epoch: 3,
            disabled,
            profile: Profile::default(),
            phone: None,
            username: None,
            claims: ExtraClaims::default(),
            created_at: BEFORE,
            last_login_at: BEFORE,
            unknown: UnknownFields::default(),
        };
        ExportRecord::User(Box::new(ExportedUser {
            user,
            openids: Vec::new(),
            unionids: Vec::new(),
            password: None,
        }))
    }

    fn line(target: RevocationTarget) -> ExportRecord {
        ExportRecord::Revocation(RevocationEntry { at: BEFORE, target })
    }

    fn lines(things: Vec<ExportRecord>) -> Vec<RevocationEntry> {
        let line = |thing| {
            if let ExportRecord::Revocation(entry) = thing {
                Some(entry)
            } else {
                None
            }
        };
        things.into_iter().filter_map(line).collect()
    }

    #[test]
    fn a_ban_comes_with_a_line_that_is_remembered_from_now_on() {
        let of_user = RevocationTarget::User {
            id: UserId::parse("7").unwrap(),
            epoch: 3,
        };
        assert_eq!(
            lines(with_ban(user(true), NOW)),
            [RevocationEntry {
                at: NOW,
                target: of_user
            }]
        );
        assert_eq!(lines(with_ban(user(false), NOW)), []);
    }

    #[test]
    fn of_the_log_what_is_about_users_is_taken() {
        let of_user = RevocationTarget::User {
            id: UserId::parse("7").unwrap(),
            epoch: 3,
        };
        assert_eq!(
            lines(without_sessions(line(of_user.clone()), NOW)),
            [RevocationEntry {
                at: BEFORE,
                target: of_user
            }]
        );
        for target in [
            RevocationTarget::Session(crate::types::SessionId::from_bits(1)),
            RevocationTarget::Everything { epoch: 9 },
        ] {
            assert_eq!(lines(without_sessions(line(target), NOW)), []);
        }
    }
}
