//! `menshen export`: everything in the store, sealed, into a file.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{
    command_error::CommandResult,
    console::Console,
    operator::{self, Operator},
};
use crate::{
    app,
    crypto::Key,
    store::{Access, ExportRecord, backup::Decryptor},
};

/// Bytes between two lines of progress.
const PROGRESS_INTERVAL: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to create, or `-` for standard output
    file: PathBuf,
    /// Leave out records that cannot be read; the log names each. Otherwise one of them ends the export
    #[arg(long)]
    without_damaged: bool,
}

/// The number of records of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordCounts {
    pub(super) users: u64,
    pub(super) sessions: u64,
    pub(super) keys: u64,
}

impl fmt::Display for RecordCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            users,
            sessions,
            keys,
        } = self;
        write!(f, "{users} users, {sessions} sessions, {keys} signing keys")
    }
}

impl RecordCounts {
    pub(super) fn add(&mut self, thing: &ExportRecord) {
        match thing {
            ExportRecord::User(_) => self.users += 1,
            ExportRecord::Session(session) if session.ended_at.is_some() => {}
            ExportRecord::Session(_) => self.sessions += 1,
            ExportRecord::SigningKey { .. } => self.keys += 1,
            ExportRecord::Counters { .. }
            | ExportRecord::Root(_)
            | ExportRecord::Tombstone { .. }
            | ExportRecord::EndedSession { .. }
            | ExportRecord::IdentityFields { .. }
            | ExportRecord::Revocation(_)
            | ExportRecord::UnreadableRevocation { .. }
            | ExportRecord::Event { .. }
            | ExportRecord::NewerEvent { .. } => {}
        }
    }
}

pub(super) fn run(console: &mut Console<'_>, args: &Args) -> CommandResult {
    let config = console.load()?;
    let key = app::export_key(&config);
    let out = &mut *console.out;
    operator::with_operator_for(config, Access::ReadOnly, async |operator| {
        if args.file.as_os_str() == "-" {
            return Ok(operator
                .download(args.target(), |bytes| out.write_all(bytes))
                .await?);
        }
        let key = key?.context("this store has no key of its own (store.encryption_key_file), so it cannot be exported")?;
        let part = PathBuf::from(format!("{}.part", args.file.display()));
        if args.file.exists() {
            bail!("{} is there already", args.file.display());
        }
        let written = save(operator, args.target(), &part)
            .await
            .and_then(|()| verify(&part, &key))
            .and_then(|counts| {
                fs::rename(&part, &args.file)?;
                Ok(counts)
            });
        if written.is_err() {
            // It may not exist.
            drop(fs::remove_file(&part));
        }
        Ok(writeln!(out, "{}; read again and found whole", written?)?)
    })
}

impl Args {
    const fn target(&self) -> &'static str {
        if self.without_damaged {
            "/admin/store/export?without_damaged=true"
        } else {
            "/admin/store/export"
        }
    }
}

async fn save(operator: &Operator, target: &str, part: &Path) -> anyhow::Result<()> {
    // A leftover of an interrupted export may be readable for others, or be a link: it is replaced.
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", part.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part);
    let mut file = opened.with_context(|| format!("cannot make {}", part.display()))?;
    let (mut written, mut reported) = (0, 0);
    let downloaded = operator
        .download(target, |bytes| {
            file.write_all(bytes)?;
            written += bytes.len() as u64;
            if written - reported >= PROGRESS_INTERVAL {
                reported = written;
                writeln!(io::stderr(), "{} MiB written", written >> 20)?;
            }
            Ok(())
        })
        .await;
    downloaded
        .context("the export broke off: the line of the log `an export was broken off` says why")?;
    Ok(file.sync_all()?)
}

/// Reads the export again, with the key that a restore will use.
fn verify(part: &Path, key: &Key) -> anyhow::Result<RecordCounts> {
    let mut decryptor = Decryptor::begin(BufReader::new(File::open(part)?), key)?;
    let mut counts = RecordCounts::default();
    while let Some(things) = decryptor.chunk()? {
        for thing in &things {
            counts.add(thing);
        }
    }
    Ok(counts)
}
