//! `menshen import FILE`: restores an export into a new store.
//!
//! Must stay true: a store on sled is filled in a staging directory and moved into place when it is
//! complete, so an interrupted import leaves nothing; one on a database is marked until it is
//! complete, so that no menshen uses it before; a revocation after the export stays
//! effective, unless `--with-sessions` restores an export of a stopped menshen, where there was
//! none; a banned user is banned also with tokens of external issuers, for which the revocation log
//! counts and not the user's record.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
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
    store::{
        self, Access, ExportRecord, RevocationEntry, RevocationTarget, Store, backup::Decryptor,
    },
    types::Timestamp,
};

/// Users between two lines of progress.
const PROGRESS_INTERVAL: u64 = 10_000;

/// What to restore from, and how.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FileArgs {
    /// The file of `menshen export`, or `-` for standard input. The store of this config must be
    /// empty: a directory that is not there, or a database
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
    let engine = config.store.engine()?;
    match &engine {
        StoreEngine::Memory => {
            bail!("a store in memory is lost at once: set store.url to sled:PATH or a database")
        }
        StoreEngine::Sled(place) if store::has_data(place) => bail!(
            "the store in {} is not empty: move it aside, or name another one as store.url",
            place.display()
        ),
        StoreEngine::Sled(_) | StoreEngine::Shared => {}
    }
    let key = match &args.key_file {
        Some(file) => app::export_key_from_file(&config, file)?,
        None => app::export_key(&config)?,
    };
    let key = key.context("store.encryption_key is needed: the one of the store that was exported (or give --key-file)")?;
    let file =
        open_input(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let decryptor = Decryptor::begin(BufReader::new(file), &key)?;
    if args.with_sessions && decryptor.header.live {
        bail!(
            "this export was made while its menshen ran: what was revoked after it would live again. Export a stopped one, \
             or leave out --with-sessions"
        );
    }
    let is_integer = config.users.ids == UserIds::Integer;
    let source = Source {
        decryptor,
        with_sessions: args.with_sessions,
        now: Clock::System.now(),
    };
    let counts = match engine {
        StoreEngine::Sled(place) => into_directory(config, &place, source).await?,
        StoreEngine::Memory | StoreEngine::Shared => into_database(&config, source).await?,
    };
    Ok((counts, is_integer))
}

/// Fills a store in a directory beside its own, and puts it in place.
async fn into_directory(
    config: Config,
    place: &Path,
    source: Source<impl Read>,
) -> anyhow::Result<RecordCounts> {
    let staging = PathBuf::from(format!("{}.importing", place.display()));
    if staging.exists() {
        bail!(
            "{} is there: another import is under way, or was broken off. Delete it if none is",
            staging.display()
        );
    }
    let filled = fill_directory(config, &staging, source).await;
    let placed = filled.and_then(|counts| {
        // An empty directory is replaced; anything else is an error.
        fs::rename(&staging, place)
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
    placed
}

async fn fill_directory(
    mut config: Config,
    staging: &Path,
    mut source: Source<impl Read>,
) -> anyhow::Result<RecordCounts> {
    // The key belongs to the final path of the store.
    config.store = app::with_key_file(&config.store)?;
    config.store.url = format!("sled:{}", staging.display());
    let access = Access::ReadWrite;
    let opened = app::open_store(&config, access, &Metrics::new(), &Entropy::default()).await?;
    let store = opened.store;
    let filled = source.fill(&*store, Vec::new()).await;
    let closed = store.close().await;
    let counts = filled?;
    closed?;
    Ok(counts)
}

/// Fills a database that is empty, and marked meanwhile.
async fn into_database(
    config: &Config,
    mut source: Source<impl Read>,
) -> anyhow::Result<RecordCounts> {
    // A wrong key shows here, before anything is written.
    let first = source.records()?.unwrap_or_default();
    let target = app::begin_import(&config.store).await?;
    let filled = source.fill(target.store(), first).await;
    let finished = async {
        let counts = filled?;
        target.finish().await?;
        target.store().close().await?;
        anyhow::Ok(counts)
    };
    finished.await.context(
        "the import broke off, so no menshen uses the store that it was filling: run `menshen store discard-import`, and import \
         again",
    )
}

/// What is imported.
struct Source<R> {
    decryptor: Decryptor<R>,
    with_sessions: bool,
    now: Timestamp,
}

impl<R: Read> Source<R> {
    /// The next records, as they are to be restored; `None` after the last.
    fn records(&mut self) -> anyhow::Result<Option<Vec<ExportRecord>>> {
        let Some(records) = self.decryptor.chunk()? else {
            return Ok(None);
        };
        let records = records.into_iter().flat_map(|record| {
            if self.with_sessions {
                vec![record]
            } else {
                without_sessions(record, self.now)
            }
        });
        let records = records.flat_map(|record| with_ban(record, self.now));
        Ok(Some(records.collect()))
    }

    /// Writes all records to a store, after those that were read already.
    async fn fill(
        &mut self,
        store: &dyn Store,
        first: Vec<ExportRecord>,
    ) -> anyhow::Result<RecordCounts> {
        let mut counts = RecordCounts::default();
        let (mut next, mut reported) = (Some(first), 0);
        while let Some(records) = next {
            for record in &records {
                counts.add(record);
            }
            store.restore(records).await?;
            if counts.users - reported >= PROGRESS_INTERVAL {
                reported = counts.users;
                writeln!(io::stderr(), "{} users imported", counts.users)?;
            }
            next = self.records()?;
        }
        Ok(counts)
    }
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
            unknown,
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
                    unknown,
                },
                ExportRecord::Revocation(entry),
            ]
        }
        ExportRecord::User(mut user) => {
            for openid in &mut user.openids {
                openid.session_key = None;
                openid.previous_session_key = None;
            }
            vec![ExportRecord::User(user)]
        }
        // Of a line that cannot be read nothing is left to reject: no earlier token of ours is accepted.
        ExportRecord::Session(_)
        | ExportRecord::EndedSession { .. }
        | ExportRecord::UnreadableRevocation { .. } => Vec::new(),
        ExportRecord::Revocation(entry) => match entry.target {
            RevocationTarget::User { .. } => vec![ExportRecord::Revocation(entry)],
            RevocationTarget::Session(_) | RevocationTarget::Everything { .. } => Vec::new(),
        },
        kept @ (ExportRecord::Root(_)
        | ExportRecord::SigningKey { .. }
        | ExportRecord::Tombstone { .. }
        | ExportRecord::IdentityFields { .. }
        | ExportRecord::Event { .. }
        | ExportRecord::NewerEvent { .. }) => {
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
            unknown: UnknownFields::default(),
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
